//! The xDS v3 message types, and what reading and writing them as JSON or YAML takes.
//!
//! The messages are those of the `envoy-types` crate, under their proto path: `weir_proto::envoy::config::listener::v3::Listener`.
//! What it lacks (`TypedStruct`, a few matchers, Istio's own messages) stands in `protos/`, and appears here beside the rest.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`Pool`] | descriptors, loaded on demand; everything below hangs on it |
//! | [`parse`] | YAML or JSON text to message, every mistake with its place |
//! | [`Pool::violations`] | the rules that a message breaks (protoc-gen-validate) |
//! | [`Pool::to_json`], [`Pool::any_to_json`] | message to JSON, secrets redacted |
//! | [`Pool::unknown_fields`] | what is on the wire and not in our protos |
//! | [`any`] | `Any`, durations, wrappers |

#![forbid(unsafe_code)]

pub mod any;
pub mod base64;
mod dump;
mod encode;
mod error;
mod parse;
mod path;
mod pool;
pub mod re2;
mod read;
mod suggest;
mod text;
mod types;
mod unknown;
mod validate;

pub use dump::{DumpError, REDACTED, Secrets};
pub use error::{MAX_PROBLEMS, ParseError, Problem};
pub use parse::{Format, ParseOptions, Parsed, locate, parse};
pub use path::{FieldPath, Step};
pub use pool::{Pool, PoolError};
pub use text::{MAX_DEPTH, MAX_NODES, MAX_TEXT_BYTES};
pub use types::{cel, envoy, google, io, istio, opentelemetry, ratelimit, stats, udpa, xds};
pub use unknown::UnknownField;
pub use validate::Violation;
