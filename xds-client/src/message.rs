//! The messages of both dialects, and the codec that puts them on a gRPC stream.

use crate::piece::{Fields, text};
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use weir_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

/// The two dialects of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Only what changes is sent (`DELTA_GRPC`).
    Delta,
    /// State of the world: a response holds all that a type has (`GRPC`).
    World,
}

/// What the client sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// In the delta dialect.
    Delta(Box<DeltaDiscoveryRequest>),
    /// In state of the world. Every request repeats all names: they are encoded once, and the message lacks them.
    World(Box<DiscoveryRequest>, Bytes),
}

/// What the server sends, taken apart as far as the stream goes: its resources are pieces of the message as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// Type of its resources.
    pub type_url: String,
    /// The server's version.
    pub version: String,
    /// To be answered with.
    pub nonce: String,
    /// Encoded resources: a `Resource` each in the delta dialect, an `Any` each in state of the world.
    pub resources: Vec<Bytes>,
    /// Names that are gone (delta).
    pub removed: Vec<Box<str>>,
}

impl Response {
    /// Takes a message apart. (Both dialects have the same fields but for the removed names.)
    ///
    /// # Errors
    /// It is no such message.
    pub fn read(dialect: Dialect, message: &Bytes) -> Result<Response, String> {
        let mut response = Response::default();
        for field in Fields::of(message) {
            match field? {
                (1, value) => text(value)?.clone_into(&mut response.version),
                (2, value) => response.resources.push(message.slice_ref(value)),
                (4, value) => text(value)?.clone_into(&mut response.type_url),
                (5, value) => text(value)?.clone_into(&mut response.nonce),
                (6, value) if dialect == Dialect::Delta => response.removed.push(text(value)?.into()),
                _ => {}
            }
        }
        Ok(response)
    }
}

/// Codec of a stream in one dialect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire(pub(crate) Dialect);

impl Codec for Wire {
    type Encode = Request;
    type Decode = Response;
    type Encoder = Wire;
    type Decoder = Wire;

    fn encoder(&mut self) -> Wire {
        *self
    }

    fn decoder(&mut self) -> Wire {
        *self
    }
}

impl Encoder for Wire {
    type Item = Request;
    type Error = Status;

    fn encode(&mut self, item: Request, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let done = match item {
            Request::Delta(message) => message.encode(into),
            Request::World(mut message, names) => {
                // As an encoder writes the whole message: fields in the order of their numbers.
                let first = DiscoveryRequest {
                    version_info: std::mem::take(&mut message.version_info),
                    node: message.node.take(),
                    ..DiscoveryRequest::default()
                };
                first.encode(into).and_then(|()| {
                    into.put_slice(&names);
                    message.encode(into)
                })
            }
        };
        done.map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Wire {
    type Item = Response;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Response>, Status> {
        let message = from.copy_to_bytes(from.remaining());
        let read = Response::read(self.0, &message);
        read.map(Some).map_err(|error| Status::internal(format!("a response cannot be decoded: {error}")))
    }
}
