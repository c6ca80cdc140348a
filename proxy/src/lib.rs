//! weir: the data plane.
#![forbid(unsafe_code)]
