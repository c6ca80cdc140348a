//! From a listening socket to a served connection: accept, listener filters, choice of the filter chain.

pub mod accept;
pub mod chain;
pub mod conn;
mod proxy_protocol;

pub use accept::Acceptors;
