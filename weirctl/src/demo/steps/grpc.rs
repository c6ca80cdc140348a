//! gRPC from pod to pod: the call of greeter's application to hello, through the sidecar beside it.

use anyhow::Context;
use serde_json::json;

use super::{Finding, SIGMAS, Stage, percent, sigmas};
use crate::demo::load::Plan;

/// Calls.
const CALLS: u64 = 2_000;
/// The weights in `subsets.yaml`.
const SHARES: [(&str, f64); 3] = [("v1", 0.6), ("v2", 0.3), ("v3", 0.1)];

pub(super) async fn between_pods(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    let sidecar =
        stage.mesh.proxies.iter().find(|proxy| proxy.name == "greeter-v1").context("greeter-v1 runs")?;
    let plan = Plan {
        port: sidecar.port,
        host: "hello.default.svc.cluster.local",
        requests: Some(CALLS),
        grpc: true,
        ..stage.plan()?
    };
    let seen = stage.start(plan).finish().await;
    let away = SHARES.map(|(version, mean)| sigmas(seen.version(version), seen.requests, mean));
    let shares = SHARES.map(|(version, _)| percent(seen.version(version), seen.requests));
    Ok(Finding {
        held: seen.failed() == 0 && seen.requests == CALLS && away.iter().all(|sigmas| *sigmas <= SIGMAS),
        measured: format!("{} of {} calls, {} failed", shares.join(" / "), seen.requests, seen.failed()),
        figures: json!({ "calls": seen.requests, "by_version": seen.versions, "sigmas": away, "failed": seen.failed() }),
    })
}
