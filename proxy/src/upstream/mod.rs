//! From a cluster's name to a connection: hosts, balancing, limits, pools, outlier detection.

pub mod cell;
pub mod hash;
pub mod hosts;
pub mod lb;
pub mod lease;
pub mod origin;
pub mod outlier;
pub mod pool;
pub mod session;
pub mod stats;
pub mod stream;
pub mod watch;
pub mod worker;

pub use cell::ClusterCell;
pub use lease::{ConnectError, Lease};
pub use stream::Upstream;
pub use worker::Worker;
