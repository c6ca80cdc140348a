//! HTTP sessions over a transport: one face (`downstream`, `upstream` streams) for HTTP/1 and HTTP/2.

pub mod h1;
pub mod h2;
pub mod message;
pub mod stream;
