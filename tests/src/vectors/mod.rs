//! Protocol vectors over live connections, judged by what the upstream receives.

pub mod h1_mutations;
pub mod h2_mutations;
pub mod h2_upstream;
pub mod live;
pub mod recorder;
