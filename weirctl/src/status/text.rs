//! The report for people.

use std::fmt::{self, Write};

use serde_json::Value;

use super::Report;

/// Names of a list that are written; of more their number is.
const MOST_NAMES: usize = 20;

/// Writes it.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(report, &mut out);
    out
}

fn write(report: &Report, out: &mut String) -> fmt::Result {
    let Report { node, version, state, ready, uptime, connected, last_good, resources, busiest } = report;
    let node = if node.is_empty() { "(no node id)" } else { node };
    writeln!(out, "{node}\n{version}, {state}{}, up {uptime}", if *ready { "" } else { " (not ready)" })?;
    writeln!(
        out,
        "control plane: {}",
        match connected {
            None => "none",
            Some(true) => "connected",
            Some(false) => "NOT CONNECTED; what it sent before stays in force",
        }
    )?;
    if let Some(state) = last_good.get("in_force").and_then(Value::as_str) {
        let folder = last_good.get("state_dir").and_then(Value::as_str).unwrap_or_default();
        let state = if state == "last_good" { "LAST GOOD, not yet confirmed" } else { "the control plane's" };
        writeln!(out, "state in force: {state} (kept in {folder})")?;
        for trouble in ["ignored", "not_saved"] {
            if let Some(why) = last_good.get(trouble).and_then(Value::as_str) {
                writeln!(out, "  {}: {why}", trouble.replace('_', " "))?;
            }
        }
    }
    writeln!(out, "\n{:12}{:>10}{:>10}{:>10}", "", "IN FORCE", "WARMING", "REJECTED")?;
    for kind in resources {
        let (warming, rejected) = (kind.warming.len(), kind.rejected.len());
        writeln!(out, "{:12}{:>10}{warming:>10}{rejected:>10}", kind.kind, kind.in_force)?;
    }
    for kind in resources.iter().filter(|kind| !kind.warming.is_empty()) {
        writeln!(out, "\nwarming {}: {}", kind.kind, names(&kind.warming))?;
    }
    for kind in resources.iter().filter(|kind| !kind.rejected.is_empty()) {
        writeln!(out, "\nrejected {}:", kind.kind)?;
        for one in &kind.rejected {
            let serving = match &one.serving {
                Some(version) => format!("version {version} serves"),
                None => "nothing serves".to_owned(),
            };
            writeln!(out, "  {}  since {}; {serving}\n    {}", one.name, one.since, one.details)?;
        }
    }
    if !busiest.is_empty() {
        writeln!(out, "\nbusiest clusters (requests):")?;
        for (name, requests) in busiest {
            writeln!(out, "{requests:>12}  {name}")?;
        }
    }
    Ok(())
}

fn names(all: &[String]) -> String {
    let shown = all.get(..MOST_NAMES.min(all.len())).unwrap_or_default().join(", ");
    match all.len().saturating_sub(MOST_NAMES) {
        0 => shown,
        rest => format!("{shown} and {rest} more"),
    }
}
