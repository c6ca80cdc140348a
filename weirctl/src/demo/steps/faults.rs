//! Faults that the mesh itself injects, and the time limit.

use std::time::Duration;

use serde_json::json;

use super::{Finding, SIGMAS, Stage, percent, sigmas};
use crate::demo::load::Plan;

/// The delay of `delay.yaml`.
const DELAY: Duration = Duration::from_millis(300);
/// What the rest of the way may add to the median.
const ADDED: Duration = Duration::from_millis(100);
/// The share of `abort.yaml`.
const ABORTED: f64 = 0.25;
/// Requests of the steps that wait.
const SLOW: u64 = 120;
/// Requests of the abort step.
const REQUESTS: u64 = 2_000;

pub(super) async fn delay(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(include_str!("../../../../deploy/demo/steps/delay.yaml")).await?;
    let plan = Plan { requests: Some(SLOW), connections: 20, ..stage.plan()? };
    let seen = stage.start(plan).finish().await;
    let (least, half) = (seen.quantile(0.0), seen.quantile(0.5));
    Ok(Finding {
        held: least >= DELAY && half <= DELAY + ADDED && seen.failed() == 0,
        measured: format!("{least:.0?} at least, p50 {half:.0?}, {} failed", seen.failed()),
        figures: json!({
            "requests": seen.requests, "least_ms": least.as_millis(), "p50_ms": half.as_millis(), "failed": seen.failed(),
        }),
    })
}

pub(super) async fn abort(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(include_str!("../../../../deploy/demo/steps/abort.yaml")).await?;
    let app = stage.mesh.app("greeter", "v1")?;
    let before = app.seen();
    let seen = stage.send(REQUESTS).await?;
    let (aborted, arrived) = (seen.status(418), app.seen().saturating_sub(before));
    let away = sigmas(aborted, seen.requests, ABORTED);
    let complete = aborted + seen.status(200) == REQUESTS && arrived == seen.status(200);
    Ok(Finding {
        held: away <= SIGMAS && complete,
        measured: format!(
            "{} aborted ({away:.1} sigma), {arrived} of {} reached the pod",
            percent(aborted, seen.requests),
            seen.requests
        ),
        figures: json!({ "requests": seen.requests, "aborted": aborted, "sigmas": away, "reached_pod": arrived }),
    })
}

pub(super) async fn timeout(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(include_str!("../../../../deploy/demo/steps/timeout.yaml")).await?;
    let plan = Plan {
        requests: Some(SLOW),
        connections: 8,
        headers: vec![("x-delay-ms", "600", 4)],
        ..stage.plan()?
    };
    let seen = stage.start(plan).finish().await;
    let (late, fine) = (seen.status(504), seen.status(200));
    Ok(Finding {
        held: late == SLOW / 4 && fine == SLOW - SLOW / 4,
        measured: format!(
            "{late} x 504 for {} slow requests, {fine} x 200, p99 {:.0?}",
            SLOW / 4,
            seen.quantile(0.99)
        ),
        figures: json!({
            "requests": seen.requests, "slow": SLOW / 4, "status_504": late, "status_200": fine,
            "p99_ms": seen.quantile(0.99).as_millis(),
        }),
    })
}
