//! What is counted of subscriptions and listeners, as the real Envoy does.

use std::net::TcpListener;

use anyhow::ensure;
use weir_xds::{LISTENER, ROUTE};

use super::{Bench, Case, InMode, Mode};
use crate::plane::{listener, route, unpacked};
use crate::ports::free;
use crate::reload::backend;

const EDGE: &str = "listener_manager.";

/// Listeners that are put elsewhere, changed in place, and cannot listen.
fn listeners(mode: Mode) -> anyhow::Result<()> {
    let mut bench = Bench::serving(mode, backend("a")?)?;
    let of = |name: &str| format!("{EDGE}listener_{name}");
    let created = bench.stat(&of("create_success"))?;
    bench.listen = free()?;
    let (name, elsewhere) = listener("edge", bench.listen, "routes")?;
    bench.plane.put(&LISTENER, vec![(name.clone(), elsewhere.clone())]);
    bench.answers("/", 200, b"a")?;
    bench.shows(&of("create_success"), |n| n == created * 2)?;
    ensure!(bench.stat(&of("in_place_updated"))? == 0, "its address is another one");
    let mut chains: weir_proto::envoy::config::listener::v3::Listener = unpacked(&elsewhere)?;
    chains.filter_chains.iter_mut().for_each(|chain| chain.name = "renamed".to_owned());
    bench.plane.put(&LISTENER, vec![(name, crate::plane::any(&chains))]);
    bench.shows(&of("in_place_updated"), |n| n == 1)?;
    bench.shows(&of("create_success"), |n| n == created * 3)?;
    let held = TcpListener::bind("127.0.0.1:0")?;
    let taken = held.local_addr()?.port();
    bench.plane.put(&LISTENER, vec![listener("taken", taken, "routes")?]);
    bench.plane.wait("a NACK", |told| !told.nacks.is_empty())?;
    bench.shows(&of("create_failure"), |n| n >= 1)?;
    let failed = bench.stat(&of("create_failure"))?;
    // An address that another listener has is not tried.
    bench.plane.put(&LISTENER, vec![listener("taken", bench.listen, "routes")?]);
    bench
        .plane
        .wait("another NACK", |told| told.nacks.iter().any(|(_, why)| why.contains("duplicate address")))?;
    ensure!(bench.stat(&of("create_failure"))? == failed, "a duplicate address");
    bench.done()
}

/// Reloads of routes, a stream that is lost, and counters that are reset.
fn subscriptions(mode: Mode) -> anyhow::Result<()> {
    let mut bench = Bench::serving(mode, backend("a")?)?;
    let rds = |name: &str| format!("http.edge.rds.routes.{name}");
    bench.shows(&rds("config_reload"), |n| n == 1)?;
    bench.shows(&rds("config_reload_time_ms"), |n| n > 0)?;
    bench.plane.put(&ROUTE, vec![route("routes", &[("/b", "a"), ("/", "a")])?]);
    bench.shows(&rds("config_reload"), |n| n == 2)?;
    ensure!(bench.stats()?.contains_key(&rds("version_text")), "the routes' version");
    bench.plane.down();
    for name in [
        rds("update_failure"),
        "cluster.a.update_failure".into(),
        "cluster_manager.cds.update_failure".into(),
    ] {
        bench.shows(&name, |n| n >= 1)?;
    }
    bench.posts("/reset_counters")?;
    for name in [
        "cluster_manager.cds.update_success",
        "listener_manager.lds.update_success",
        "cluster.a.update_success",
    ] {
        ensure!(bench.stat(name)? == 0, "{name} is not reset");
    }
    bench.done()
}

/// The cases.
pub const CASES: [Case<InMode>; 2] =
    [("counted-listeners", listeners), ("counted-subscriptions", subscriptions)];
