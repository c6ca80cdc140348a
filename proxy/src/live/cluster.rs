//! The live part of a cluster.

/// Hosts, permits and counters of one cluster name.
#[derive(Debug)]
pub struct ClusterLive {}
