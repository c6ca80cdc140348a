//! weir: the data plane. Read `http/exchange.rs` first.
#![forbid(unsafe_code)]

pub mod admin;
pub mod base;
pub mod boot;
pub mod codec;
pub mod control;
pub mod failure;
pub mod http;
pub mod listen;
pub mod live;
pub mod model;
pub mod network;
pub mod observe;
pub mod route;
pub mod tcp;
pub mod transport;
pub mod upstream;
