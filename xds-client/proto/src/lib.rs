//! The xDS v3 message types, and what reading and writing them as JSON or YAML takes.
//!
//! The messages are those of the `envoy-types` crate, under their proto path: `weir_proto::envoy::config::listener::v3::Listener`.
//! What it lacks (`TypedStruct`, a few matchers, Istio's own messages) stands in `protos/`, and appears here beside the rest.

#![forbid(unsafe_code)]

pub mod any;
mod types;

pub use types::{cel, envoy, google, io, istio, opentelemetry, ratelimit, stats, udpa, validate, xds};
