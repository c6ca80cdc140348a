//! The control thread's work: messages in, compiled snapshots out.

pub mod compile;
pub mod dns;

use crate::base::Name;
use crate::live::cluster::ClusterLive;
use std::sync::Arc;

/// The live part of a cluster name.
fn live_part(name: &Name) -> Arc<ClusterLive> {
    crate::live::clusters().get_or_make(name)
}
