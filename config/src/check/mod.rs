//! Checks over a whole world: one file each, one line each in [`CHECKS`].
//!
//! What stands in one resource alone and is read wrongly was reported by the reader; here is what only several
//! resources together, or several fields, can show. Resources that were read with errors are left alone where a
//! finding could be a consequence of what is missing.

mod compiled;
mod delegates;
mod destination_rules;
mod destinations;
mod duplicates;
mod findings;
mod gateways;
mod headers;
mod hosts;
mod ingresses;
mod load_balancers;
mod not_obeyed;
mod registry;
mod services;
mod shadow;
mod shadow_cover;
mod sidecars;
mod subsets;
mod tls;
mod virtual_service;
mod weights;

use crate::diag::{self, Diagnostic};
use crate::world::World;

pub use compiled::{Judge, MAX_PROXIES};
pub use findings::Findings;
pub use registry::{Known, Registry};
pub use shadow::MAX_COMPARISONS;

/// A check: its name and what it does.
pub type Check = (&'static str, fn(&World, &Registry<'_>, &mut Findings<'_>));

/// All checks.
pub static CHECKS: &[Check] = &[
    ("duplicates", duplicates::check),
    ("virtual-service", virtual_service::check),
    ("headers", headers::check),
    ("hosts", hosts::check),
    ("destinations", destinations::check),
    ("weights", weights::check),
    ("shadow", shadow::check),
    ("delegates", delegates::check),
    ("gateways", gateways::check),
    ("destination-rules", destination_rules::check),
    ("subsets", subsets::check),
    ("load-balancers", load_balancers::check),
    ("services", services::check),
    ("ingresses", ingresses::check),
    ("sidecars", sidecars::check),
    ("tls", tls::check),
    ("not-obeyed", not_obeyed::check),
];

/// Runs all checks, and the compiler for what only it can tell.
#[must_use]
pub fn check(world: &World) -> Vec<Diagnostic> {
    check_with(world, &mut |_| Vec::new())
}

/// The same with a judge who is shown what is compiled for each proxy that is looked at.
pub fn check_with(world: &World, judge: &mut Judge<'_>) -> Vec<Diagnostic> {
    let registry = Registry::new(world);
    let mut findings = Findings::new(&world.sources);
    for (_, check) in CHECKS {
        check(world, &registry, &mut findings);
    }
    let mut diagnostics = findings.into_diagnostics();
    diagnostics.extend(compiled::findings(world, &diagnostics, judge));
    diag::sort(&mut diagnostics);
    diagnostics
}
