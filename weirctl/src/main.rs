//! `weirctl`: the operator's program.
#![forbid(unsafe_code)]
fn main() {}
