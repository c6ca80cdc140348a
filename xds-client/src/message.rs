//! The messages of both dialects, and the codec that puts them on a gRPC stream.

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use weir_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};

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
    /// In state of the world.
    World(Box<DiscoveryRequest>),
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// In the delta dialect.
    Delta(Box<DeltaDiscoveryResponse>),
    /// In state of the world.
    World(Box<DiscoveryResponse>),
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
            Request::World(message) => message.encode(into),
        };
        done.map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Wire {
    type Item = Response;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Response>, Status> {
        let decoded = match self.0 {
            Dialect::Delta => DeltaDiscoveryResponse::decode(from).map(|m| Response::Delta(Box::new(m))),
            Dialect::World => DiscoveryResponse::decode(from).map(|m| Response::World(Box::new(m))),
        };
        decoded.map(Some).map_err(|error| Status::internal(format!("a response cannot be decoded: {error}")))
    }
}
