//! A file with a mistake, saved under traffic.

use std::time::Duration;

use serde_json::json;

use super::{Finding, Stage};
use crate::demo::mesh::ALL_TO_V1;
use crate::demo::plane::Verdict;

/// Requests after the refusal.
const REQUESTS: u64 = 600;
/// Where the mistake of `broken.yaml` is.
const PLACE: &str = "rules.yaml:20:44";

pub(super) async fn broken_file(stage: &Stage<'_>) -> anyhow::Result<Finding> {
    stage.mesh.apply(ALL_TO_V1).await?;
    let running = stage.start(stage.plan()?);
    let (took, verdict) = stage.mesh.offer(include_str!("../../../../deploy/demo/steps/broken.yaml")).await?;
    let sent = crate::demo::load::look(&running.live).requests;
    running.reach(sent + REQUESTS).await;
    let seen = running.stop().await;
    stage.mesh.apply(ALL_TO_V1).await?;
    let Verdict::Refused(text) = verdict else { anyhow::bail!("the broken file was put in force") };
    let helpful = text.contains(PLACE) && text.contains("help:");
    Ok(Finding {
        held: helpful
            && seen.failed() == 0
            && seen.version("v1") == seen.requests
            && took <= Duration::from_secs(1),
        measured: format!(
            "refused, {} of {} requests at v1, {} failed:\n{text}",
            seen.version("v1"),
            seen.requests,
            seen.failed()
        ),
        figures: json!({
            "requests": seen.requests, "v1": seen.version("v1"), "failed": seen.failed(),
            "refused_after_ms": took.as_millis(), "said": text,
        }),
    })
}
