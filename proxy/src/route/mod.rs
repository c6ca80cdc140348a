//! Pure choice of the virtual host and the route of a request (Envoy's rules: first match in list order).

pub mod choose;
pub mod index;

pub use choose::{is_grpc, route, virtual_host};
