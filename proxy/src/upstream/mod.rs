//! From a cluster's name to a connection: hosts, balancing, limits, outlier detection.

pub mod hash;
pub mod hosts;
pub mod lb;
pub mod outlier;
