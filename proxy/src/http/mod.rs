//! HTTP: the exchange and everything around it. Read `exchange.rs` first.

pub mod chosen;
pub mod connection;
pub mod deadlines;
pub mod exchange;
pub mod filter;
pub mod forward;
pub mod manager;
pub mod prepare;
pub mod reply;
pub mod respond;
pub mod route_reply;
mod served;
mod streams;
pub mod throttle;
