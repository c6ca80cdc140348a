//! The control thread: the single writer. Messages come in from every source through one interface, are compiled one
//! by one, and come out as a published snapshot and open sockets.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`Control`] | the handle: start, apply an update, dump |
//! | [`Update`], [`Verdict`] | what a source brings, and what became of each resource |
//! | [`Workers`] | what the workers are told |
//! | [`compile`] | messages to the compiled model |
//! | [`dns`] | the thread that looks names up |
//! | `dump` | `/config_dump` |
//! | `endpoints_now` | endpoints in the dump as they are |
//! | `force`, `gaps` | what is in force, what waits to be, and for what |
//! | `interest` | what is wanted by name |
//! | `last_good` | the state that is kept on disk |
//! | `listening` | a listener is accepted when it can listen |
//! | `pending` | what an update changes, on its way into force |
//! | `sockets` | listening sockets, opened and handed on |
//! | `state`, `store` | what is in force, and the bytes it came from |
//! | `stats` | how many of what are in force |
//! | `subscriptions` | statistics of what control planes send |
//! | `surroundings` | what other resources are compiled with: secrets, filters' configurations, runtime layers |
//! | `thread` | the thread and its handle |
//! | `update` | what a source brings |
//! | `workers` | the workers' port |
//! | `xds` | streams to control planes |

pub mod compile;
pub mod dns;
mod dump;
mod endpoints_now;
mod force;
mod gaps;
mod interest;
mod last_good;
mod listening;
mod pending;
mod sockets;
mod state;
mod stats;
mod store;
mod subscriptions;
mod surroundings;
mod thread;
mod update;
mod workers;
mod xds;

pub use dump::Options as DumpOptions;
pub use last_good::StateDir;
pub use sockets::{Bound, Opened, Socket};
pub use thread::{Control, Judge, Start, validate};
pub use update::{Change, Kind, Outcome, Resource, StartError, Update, Verdict};
pub use workers::Workers;

#[cfg(test)]
mod tests;
