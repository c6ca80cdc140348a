//! Compiled configuration: immutable, valid by construction, `Send + Sync`. No protos, no I/O, no locks.

pub mod by_name;
pub mod cluster;
pub mod http;
pub mod istio_stats;
pub mod listener;
pub mod matcher;
pub mod mutation;
pub mod plugin;
pub mod pushed;
pub mod retry;
pub mod route;
pub mod route_action;
pub mod runtime;
pub mod snapshot;
pub mod transport;
