//! Proof of weir from outside: real processes, real sockets, hostile bytes, the real Envoy as oracle, and
//! the laws of the house.
#![forbid(unsafe_code)]

pub mod agent;
pub mod attack;
pub mod beside;
pub mod bootstrap;
pub mod corpora;
pub mod delivery;
pub mod grpc;
pub mod law;
pub mod load;
pub mod namespace;
pub mod open;
pub mod oracle;
pub mod plane;
pub mod ports;
pub mod process;
pub mod reload;
pub mod replay;
pub mod restart;
pub mod scripted;
pub mod seeds;
pub mod served;
pub mod simulation;
pub mod streams;
pub mod suite;
pub mod vectors;
pub mod verdicts;
pub mod wire;
pub mod xds;
