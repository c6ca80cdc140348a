//! Load balancing: one file for each policy, one table, and the pick.

mod least_request;
mod pick;
mod random;
mod round_robin;

#[cfg(test)]
pub(crate) mod bench;

pub use crate::live::balance::{Cursor, PickContext};
pub use pick::pick;

use crate::live::balance::SharedPolicy;
use crate::model::cluster::LbPolicy;
use std::sync::Arc;

/// The table: the policy that configuration names.
pub fn policy(lb: &LbPolicy) -> SharedPolicy {
    match lb {
        LbPolicy::RoundRobin => Arc::new(round_robin::RoundRobin),
        LbPolicy::LeastRequest { choices, bias, full_scan } => {
            Arc::new(least_request::LeastRequest { choices: *choices, bias: *bias, full_scan: *full_scan })
        }
        LbPolicy::Random => Arc::new(random::Random),
        LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } | LbPolicy::ClusterProvided => {
            Arc::new(random::Random)
        }
    }
}
