//! The kinds of resource: one file each, one line each in [`table::KINDS`].

pub mod destination;
pub mod destination_rule;
pub mod endpoint;
pub mod gateway;
pub mod http_route;
pub mod ingress;
pub mod load_balancer;
pub mod meta;
pub mod service;
pub mod service_entry;
pub mod sidecar;
pub mod table;
pub mod virtual_service;

pub use meta::{DEFAULT_NAMESPACE, Meta, Resource};
