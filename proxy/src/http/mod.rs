//! HTTP: the exchange, forwarding, the filters.

pub mod filter;
