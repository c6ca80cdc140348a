//! `weir`: the data plane program.
#![forbid(unsafe_code)]
fn main() {}
