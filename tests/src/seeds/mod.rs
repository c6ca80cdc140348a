//! The seed examples as a running mesh: their YAML in a folder, versions of a service behind it, clients before it.
//!
//! | file | what it holds |
//! |---|---|
//! | `mesh.rs` | the folder, the endpoints that the test adds, the proxy in front |
//! | `grpc.rs` | a gRPC backend and client over cleartext HTTP/2 |
//! | `client.rs` | a keep-alive client that keeps the answers |
//! | `log.rs` | the fields of an access-log line and what kind each is |

mod client;
mod grpc;
mod log;
mod mesh;

pub use client::Client;
pub use grpc::{backend, call};
pub use log::{Kind, fields, kind};
pub use mesh::{Folder, Listening, SIDECAR, Version, endpoints};
