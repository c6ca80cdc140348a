//! From Envoy's v3 messages to the compiled model. One file per family of messages; every function takes its message
//! apart field by field ([`crate::ledger!`]), reports each mistake with its path, and goes on to find the next.

pub mod access_log;
pub mod action_parts;
pub mod address;
pub mod balancing;
pub mod bootstrap;
pub mod chain;
pub mod cluster;
pub mod context;
pub mod discovered;
pub mod discovery;
pub mod endpoints;
pub mod extensions;
pub mod format;
pub mod hcm;
pub mod hcm_options;
pub mod header_ops;
pub mod http_filters;
pub mod listener;
pub mod listener_filters;
pub mod local_reply;
pub mod matcher;
pub mod metadata;
pub mod network_filters;
pub mod outlier;
pub mod overload;
pub mod overrides;
pub mod protocol;
pub mod retry;
pub mod route_action;
pub mod route_config;
pub mod route_match;
pub mod runtime;
pub mod secret;
pub mod source;
pub mod stats;
pub mod tcp_proxy;
pub mod tls;
pub mod transport;
pub mod typed_struct;
pub mod upstream_http;
pub mod virtual_host;
pub mod wkt;

pub use context::{Cx, Node, Runtime};

#[cfg(test)]
mod tests;
