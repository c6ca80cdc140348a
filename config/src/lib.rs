//! Part of weir.
#![forbid(unsafe_code)]
