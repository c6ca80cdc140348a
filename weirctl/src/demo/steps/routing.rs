//! Where requests go: all to one version, testers by a header, a canary.

use std::time::Duration;

use serde_json::json;

use super::{Finding, SIGMAS, Stage, percent, sigmas};
use crate::demo::load::Plan;
use crate::demo::mesh::ALL_TO_V1;

/// Requests of a step without chance in it.
const REQUESTS: u64 = 600;
/// Requests of each stage of the canary.
const CANARY: u64 = 3_000;
/// What was routed before a change may still be under way so long.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// The stages: v2's share, the rules.
const STAGES: [(f64, &str); 3] = [
    (0.05, include_str!("../../../../deploy/demo/steps/canary-95.yaml")),
    (0.50, include_str!("../../../../deploy/demo/steps/canary-50.yaml")),
    (1.00, include_str!("../../../../deploy/demo/steps/canary-0.yaml")),
];

pub(super) async fn all_to_v1(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    let seen = stage.send(REQUESTS).await?;
    let v1 = seen.version("v1");
    Ok(Finding {
        held: v1 == REQUESTS && seen.requests == REQUESTS,
        measured: format!(
            "{} v1 of {} requests, {} failed",
            percent(v1, seen.requests),
            seen.requests,
            seen.failed()
        ),
        figures: json!({ "requests": seen.requests, "v1": v1, "failed": seen.failed() }),
    })
}

pub(super) async fn testers(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(include_str!("../../../../deploy/demo/steps/testers.yaml")).await?;
    let plan = Plan { requests: Some(REQUESTS), headers: vec![("end-user", "tester", 3)], ..stage.plan()? };
    let seen = stage.start(plan).finish().await;
    let testers: u64 = seen.marked.values().sum();
    let right = seen.marked.get("v2").copied().unwrap_or(0);
    let (v1, v2) = (seen.version("v1"), seen.version("v2"));
    Ok(Finding {
        held: testers == REQUESTS / 3 && right == testers && v2 == testers && v1 == REQUESTS - testers,
        measured: format!(
            "{right} of {testers} testers at v2, {v1} of {} others at v1, {} failed",
            REQUESTS - testers,
            seen.failed()
        ),
        figures: json!({ "testers": testers, "testers_at_v2": right, "v1": v1, "v2": v2, "failed": seen.failed() }),
    })
}

pub(super) async fn canary(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(ALL_TO_V1).await?;
    let running = stage.start(stage.plan()?);
    let (mut held, mut failed, mut sent) = (true, 0_u64, 0_u64);
    let (mut measured, mut stages) = (Vec::new(), Vec::new());
    for (wanted, rules) in STAGES {
        let took = stage.mesh.apply(rules).await?;
        tokio::time::sleep(UNDER_WAY).await;
        // Requests during the change count for failures, not for the share.
        let between = running.restart();
        running.reach(CANARY).await;
        let seen = running.restart();
        for part in [&between, &seen] {
            failed = failed.saturating_add(part.failed());
            sent = sent.saturating_add(part.requests);
        }
        let v2 = seen.version("v2");
        let away = sigmas(v2, seen.requests, wanted);
        held &= away <= SIGMAS && took <= Duration::from_secs(1);
        measured.push(format!("{} ({away:.1} sigma)", percent(v2, seen.requests)));
        stages.push(json!({
            "wanted": wanted, "requests": seen.requests, "v2": v2,
            "sigmas": away.is_finite().then_some(away), "in_force_ms": took.as_millis(),
        }));
    }
    let last = running.stop().await;
    failed = failed.saturating_add(last.failed());
    sent = sent.saturating_add(last.requests);
    Ok(Finding {
        held: held && failed == 0,
        measured: format!("v2 got {}; {failed} of {sent} failed", measured.join(", ")),
        figures: json!({ "stages": stages, "requests": sent, "failed": failed }),
    })
}
