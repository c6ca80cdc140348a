//! Load balancing: one file for each policy, one table, and the pick.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`pick`] | the pick: priority, panic, locality, then the policy |
//! | `round_robin`, `least_request`, `random` | policies that need no hash |
//! | `ring_hash`, `maglev` | policies that choose by a hash |
//! | `original_dst` | hosts made on demand |
//! | `hashing`, `murmur`, `twister` | what the hashing policies stand on |

mod hashing;
mod least_request;
mod maglev;
mod murmur;
pub mod original_dst;
mod pick;
mod random;
mod ring_hash;
mod round_robin;
mod slow_start;
mod twister;

#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod golden;

pub use crate::live::balance::{Cursor, PickContext};
pub use pick::pick;

use crate::live::balance::SharedPolicy;
use crate::model::cluster::{LbPolicy, SlowStart};
use std::sync::Arc;

/// The table: the policy that configuration names.
pub fn policy(lb: &LbPolicy, slow_start: Option<SlowStart>) -> SharedPolicy {
    if let Some(slow) = slow_start.and_then(|settings| slow_start::around(lb, settings)) {
        return slow;
    }
    match lb {
        LbPolicy::RoundRobin => Arc::new(round_robin::RoundRobin),
        LbPolicy::LeastRequest { choices, bias, full_scan } => {
            Arc::new(least_request::LeastRequest { choices: *choices, bias: *bias, full_scan: *full_scan })
        }
        LbPolicy::Random => Arc::new(random::Random),
        LbPolicy::RingHash { min, max, murmur, use_hostname, balance_factor } => {
            Arc::new(ring_hash::RingHash {
                min: *min,
                max: *max,
                murmur: *murmur,
                use_hostname: *use_hostname,
                balance_factor: *balance_factor,
            })
        }
        LbPolicy::Maglev { table, use_hostname, balance_factor } => Arc::new(maglev::Maglev {
            table: *table,
            use_hostname: *use_hostname,
            balance_factor: *balance_factor,
        }),
        // Original destinations have no list; the policy is never asked.
        LbPolicy::ClusterProvided => Arc::new(random::Random),
    }
}
