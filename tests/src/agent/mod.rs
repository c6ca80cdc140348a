//! pilot-agent's part towards the proxy that it starts: its files and its sockets, the questions by which it finds out
//! whether the proxy is ready, the drain, the end.

mod child;
mod kept;
mod probe;
mod rotation;
mod sds;
mod secrets;
mod start;

pub use child::{ADMIN, Agent, HEALTH, METRICS, WITHIN, page, post};
pub use kept::Kept;
pub use probe::{ACTIVE, Probe, active, health};
pub use rotation::rotates;
pub use sds::{Heard, Sds, Told};
pub use secrets::{Identity, OWN, ROOT};
pub use start::Start;
