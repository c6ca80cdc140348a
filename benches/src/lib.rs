//! The two programs of the load bench: a backend (`be`) and a load generator (`lg`).
//!
//! Both are one thread over edge-triggered epoll, so that the proxy between them is what is measured: a proxy's
//! figure is its CPU time per request, and neither end may be the bottleneck that hides it.
#![forbid(unsafe_code)]

pub mod backend;
pub mod histogram;
pub mod load;
pub mod poll;
