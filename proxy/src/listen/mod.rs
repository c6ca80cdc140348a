//! From a listening socket to a served connection: accept, listener filters, choice of the filter chain.

pub mod accept;
pub mod chain;
pub mod conn;
mod http_inspector;
mod peek;
mod proxy_protocol;
mod stays;
mod tls_inspector;

pub use accept::Acceptors;
pub use stays::look;
