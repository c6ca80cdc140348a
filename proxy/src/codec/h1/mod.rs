//! HTTP/1.1 on both sides. Head bytes are forwarded without re-encoding; a message whose length RFC 9112 section 6.3
//! does not define is refused.

pub mod body;
pub mod client;
pub mod framing;
pub mod head;
pub mod reader;
pub mod server;
pub mod write;
pub mod writer;
