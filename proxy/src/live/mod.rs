//! State that outlives configuration, found by key: hosts, permits, health, drain.

pub mod balance;
pub mod cluster;
pub mod drain;
pub mod edf;
pub mod host;
pub mod hostset;
pub mod limit;
pub mod load;
pub mod permit;
pub mod registry;
pub mod stay;
pub mod wait;
pub mod wake;
pub mod worker;

pub use cluster::ClusterLive;
pub use host::Host;
pub use hostset::HostSet;
pub use registry::clusters;
