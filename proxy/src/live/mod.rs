//! State that outlives configuration, found by key: hosts, permits, health, drain.

pub mod cluster;
