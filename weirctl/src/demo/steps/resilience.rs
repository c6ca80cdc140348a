//! What keeps clients from a backend's troubles: retries, circuit breaker, outlier ejection; and mirroring.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Finding, Stage};
use crate::demo::apps::App;
use crate::demo::load::Plan;

/// Requests of a step.
const REQUESTS: u64 = 900;
/// Callers at once against a limit of two connections and one waiting request.
const CROWD: usize = 20;
/// The ejection time of `ejection.yaml`, and until when the pod must be back.
const EJECTED_FOR: Duration = Duration::from_secs(2);
const BACK_WITHIN: Duration = Duration::from_secs(4);
/// Failures in a row that eject.
const FAILURES: u64 = 5;
/// Callers that may be under way to the pod while it is ejected.
const CALLERS: u64 = 4;
/// Mirrored requests arrive within this time of the last answer.
const COPIES_WITHIN: Duration = Duration::from_secs(2);

/// A pod that answers nothing but 503 as long as this lives.
struct Down<'a>(&'a App);

impl<'a> Down<'a> {
    fn new(app: &'a App) -> Self {
        app.break_down(true);
        Self(app)
    }
}

impl Drop for Down<'_> {
    fn drop(&mut self) {
        self.0.break_down(false);
    }
}

pub(super) async fn retries(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(include_str!("../../../../deploy/demo/steps/retries.yaml")).await?;
    let app = stage.mesh.app("greeter", "v3")?;
    let before = app.failed();
    let retried = stage.mesh.sum("gateway", ".upstream_rq_retry")?;
    let down = Down::new(app);
    let seen = stage.send(REQUESTS).await?;
    drop(down);
    let failures = app.failed().saturating_sub(before);
    let retried = stage.mesh.sum("gateway", ".upstream_rq_retry")?.saturating_sub(retried);
    Ok(Finding {
        held: failures > 0 && seen.failed() == 0 && seen.version("v3") == 0 && retried >= failures,
        measured: format!(
            "v3 failed {failures} times, {retried} retries, {} of {} requests failed",
            seen.failed(),
            seen.requests
        ),
        figures: json!({
            "requests": seen.requests, "failures_of_v3": failures, "retries": retried, "failed": seen.failed(),
        }),
    })
}

pub(super) async fn breaker(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(include_str!("../../../../deploy/demo/steps/breaker.yaml")).await?;
    let overflows = || -> anyhow::Result<u64> {
        let statistics = [".upstream_rq_pending_overflow", ".upstream_rq_overflow"];
        let sums = ["gateway", "greeter-v1"]
            .iter()
            .flat_map(|proxy| statistics.map(|name| stage.mesh.sum(proxy, name)));
        sums.sum()
    };
    let before = overflows()?;
    let plan = Plan {
        requests: Some(200),
        connections: CROWD,
        headers: vec![("x-delay-ms", "100", 1)],
        gap: Duration::from_millis(20),
        ..stage.plan()?
    };
    let seen = stage.start(plan).finish().await;
    let counted = overflows()?.saturating_sub(before);
    let (served, refused) = (seen.status(200), seen.status(503));
    Ok(Finding {
        held: refused > 0
            && served > 0
            && served + refused == seen.requests
            && seen.overloaded == refused
            && counted == refused,
        measured: format!(
            "{served} served, {refused} refused with 503, {} of them marked x-envoy-overloaded, {counted} counted as overflow (UO)",
            seen.overloaded
        ),
        figures: json!({
            "requests": seen.requests, "served": served, "refused": refused,
            "overloaded_header": seen.overloaded, "overflow_counted": counted,
        }),
    })
}

pub(super) async fn ejection(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(include_str!("../../../../deploy/demo/steps/ejection.yaml")).await?;
    let app = stage.mesh.app("greeter", "v3")?;
    let down = Down::new(app);
    let before = app.seen();
    let gap = Duration::from_millis(5);
    let plan = Plan { connections: usize::try_from(CALLERS)?, gap, ..stage.plan()? };
    let running = stage.start(plan);
    let begun = Instant::now();
    while stage.mesh.sum("gateway", ".outlier_detection.ejections_active")? == 0 {
        anyhow::ensure!(begun.elapsed() < BACK_WITHIN, "v3 was not ejected within {BACK_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let out_since = Instant::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let failed = running.restart().failed();
    let until_out = app.seen();
    // Most of the ejection: nobody asks v3, everybody is served.
    tokio::time::sleep(EJECTED_FOR * 3 / 4).await;
    let meanwhile = running.restart();
    let asked = app.seen().saturating_sub(until_out);
    drop(down);
    while app.seen() == until_out && out_since.elapsed() < BACK_WITHIN * 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let back = out_since.elapsed();
    running.reach(200).await;
    let after = running.stop().await;
    let failures = until_out.saturating_sub(before);
    // Detection looked a little later than it happened.
    let slack = Duration::from_millis(250);
    Ok(Finding {
        held: (FAILURES..=FAILURES + CALLERS).contains(&failures)
            && asked == 0
            && meanwhile.failed() == 0
            && meanwhile.requests > 0
            && back + slack >= EJECTED_FOR
            && back <= BACK_WITHIN
            && after.version("v3") > 0
            && after.failed() == 0,
        measured: format!(
            "out after {failures} failures, then {asked} of {} requests, back after {:.1} s, {} failed since it was out",
            meanwhile.requests,
            back.as_secs_f64(),
            meanwhile.failed() + after.failed()
        ),
        figures: json!({
            "failures_until_ejected": failures, "failed_until_ejected": failed,
            "requests_while_ejected": meanwhile.requests, "of_them_at_v3": asked,
            "failed_while_ejected": meanwhile.failed(), "back_after_ms": back.as_millis(),
            "at_v3_after": after.version("v3"), "failed_after": after.failed(),
        }),
    })
}

pub(super) async fn mirror(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(include_str!("../../../../deploy/demo/steps/mirror.yaml")).await?;
    // No route leads to v2 in this step: whatever it sees is a copy.
    let app = stage.mesh.app("greeter", "v2")?;
    let before = app.seen();
    let seen = stage.send(REQUESTS).await?;
    let end = Instant::now() + COPIES_WITHIN;
    while app.seen().saturating_sub(before) < REQUESTS && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (copies, v1) = (app.seen().saturating_sub(before), seen.version("v1"));
    Ok(Finding {
        held: copies == REQUESTS && v1 == REQUESTS,
        measured: format!("{v1} requests answered by v1, {copies} copies at v2, {} failed", seen.failed()),
        figures: json!({ "requests": seen.requests, "v1": v1, "copies_at_v2": copies, "failed": seen.failed() }),
    })
}
