//! The xDS protocol from the client's side: a state machine that does no I/O, and the one loop that drives it.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`ResourceType`] | the types, their method names, and whether a response tells all there is |
//! | [`Session`] | what is subscribed, known and owed to the server: subscriptions, versions, nonces, ACK, NACK, TTL |
//! | [`Request`], [`Response`] | the messages of both dialects |
//! | [`Backoff`] | time between attempts |
//! | [`drive`] | a session over gRPC, again and again, for a [`Sink`] |
//! | [`agent`] | who the client says it is |
//!
//! The connector is handed in as a `tower::Service`: this crate knows no address, socket or TLS.

#![forbid(unsafe_code)]

mod agent;
mod backoff;
mod drive;
mod message;
mod nack;
mod piece;
mod session;
mod topic;
mod types;

pub use agent::{CLIENT_FEATURES, agent};
pub use backoff::Backoff;
pub use drive::{Call, Event, MAX_MESSAGE, Sink, Wanted, drive};
pub use message::{Dialect, Request, Response};
pub use nack::{MAX_NACK, Refusal};
pub use session::{Incoming, MAX_REQUEST, Received, Session};
pub use types::{ALL, CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTE, RUNTIME, ResourceType, SECRET};
