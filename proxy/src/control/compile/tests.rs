//! Whole bootstraps, good and bad.

use super::bootstrap::Settings;
use super::{Cx, bootstrap, cluster, listener};
use crate::base::ledger::{CompileError, Sink};
use crate::model::cluster::Cluster;
use crate::model::listener::{Listener, Terminal};
use std::sync::Arc;
use weir_proto::envoy::config::bootstrap::v3::Bootstrap;
use weir_proto::{Format, ParseOptions};

mod bad;
mod bad_routes;
mod good;
mod ledger;

/// What a text compiles to.
struct Compiled {
    settings: Settings,
    listeners: Vec<Arc<Listener>>,
    clusters: Vec<Arc<Cluster>>,
}

/// Compiles a bootstrap; the proto's own rules are left out, so that the compiler's are seen.
fn compile(text: &str) -> Result<Compiled, Vec<CompileError>> {
    let options = ParseOptions { format: Format::Yaml, skip_rules: true, ..ParseOptions::default() };
    let message =
        weir_proto::parse::<Bootstrap>(text, &options).unwrap_or_else(|e| panic!("{e}\n{text}")).message;
    let sink = Sink::new();
    let at = sink.root("");
    let settings = bootstrap::settings(&at, &message);
    let resources = message.static_resources.unwrap_or_default();
    let known = |name: &str| resources.clusters.iter().any(|c| c.name == name);
    let live = |name: &crate::base::Name| crate::live::clusters().get_or_make(name);
    let cx = Cx::new(&settings.node, &settings.runtime, &known, &live);
    let here = at.field("static_resources");
    let clusters: Vec<_> = resources
        .clusters
        .iter()
        .enumerate()
        .filter_map(|(i, m)| cluster::cluster(&cx, &here.item("clusters", i), m))
        .collect();
    let listeners: Vec<_> = resources
        .listeners
        .iter()
        .enumerate()
        .filter_map(|(i, m)| listener::listener(&cx, &here.item("listeners", i), m, "unnamed"))
        .collect();
    drop(cx);
    let errors = sink.into_errors();
    if errors.is_empty() { Ok(Compiled { settings, listeners, clusters }) } else { Err(errors) }
}
