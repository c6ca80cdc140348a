//! Istio and Kubernetes YAML: read into typed resources that know where they were written, checked as one
//! world, and reported on with diagnostics.
//!
//! The way in is [`world::World::read`]; the checks over a whole world are in [`check`].
#![forbid(unsafe_code)]

#[macro_use]
pub mod read;

pub mod check;
pub mod compile;
pub mod diag;
pub mod kinds;
pub mod world;
pub mod yaml;

pub use diag::{Diagnostic, Severity};
pub use read::{Field, Matcher, Reader, StringMatch};
pub use world::World;
pub use yaml::{Span, Spanned};
