//! Words everyone uses: header block, names, addresses, clock, random source, hashing.

pub mod addr;
pub mod clock;
pub mod headers;
pub mod ledger;
pub mod names;
pub mod rng;

/// A shared, cheap-to-clone name (listener, cluster, route, ...).
pub type Name = std::sync::Arc<str>;
