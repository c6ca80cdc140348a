//! `weirctl check`: every mistake in a set of files, in one run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use weir_config::diag::{Severity, render_json, render_sarif, render_text, sort};
use weir_config::world::{MeshOptions, read_paths};
use weir_proxy::boot::check_mesh;

/// Arguments of `weirctl check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Files, and folders whose *.yaml, *.yml and *.json are read with all below them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Form of the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Warnings count as errors.
    #[arg(long)]
    strict: bool,
    /// Leaves notes out of the report.
    #[arg(long)]
    no_notes: bool,
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    domain: String,
    /// Takes only Ingresses of this class.
    #[arg(long)]
    ingress_class: Option<String>,
}

/// Forms of a report.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
}

impl Check {
    /// Reads, checks, reports. 1 if there is an error.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        for path in &self.paths {
            std::fs::metadata(path)
                .with_context(|| format!("{}: cannot be read; check the path", path.display()))?;
        }
        let read = read_paths(&self.paths);
        let mesh =
            MeshOptions { domain: self.domain, ingress_class: self.ingress_class, ..MeshOptions::default() };
        let (world, mut diagnostics) = read.world(mesh);
        diagnostics.extend(check_mesh(&world));
        diagnostics.retain(|diagnostic| !self.no_notes || diagnostic.severity != Severity::Note);
        sort(&mut diagnostics);
        let report = match self.format {
            Format::Text => render_text(&diagnostics),
            Format::Json => render_json(&diagnostics),
            Format::Sarif => render_sarif(&diagnostics, "weirctl", env!("CARGO_PKG_VERSION")),
        };
        crate::print(&report)?;
        let limit = if self.strict { Severity::Warning } else { Severity::Error };
        let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity >= limit);
        Ok(ExitCode::from(u8::from(failed)))
    }
}
