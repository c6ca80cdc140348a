//! `weirctl demo`: a small mesh of real processes on this machine, steered by the YAML of `deploy/demo`.
//!
//! | file | what it is |
//! |---|---|
//! | `apps` | the applications: small HTTP and gRPC servers |
//! | `mesh` | the processes: a control plane, a gateway and a sidecar per pod |
//! | `plane` | the control plane: `weirctl serve`, and what its pages tell |
//! | `node` | the bootstrap of a proxy |
//! | `load` | the callers and what they saw |
//! | `steps` | the steps, each with its condition |
//! | `table` | what a person watches |

mod apps;
mod load;
mod mesh;
mod node;
mod plane;
mod steps;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use mesh::Mesh;
use steps::{Finding, STEPS, Stage};
use table::{Board, Style};

/// Arguments of `weirctl demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Ends after the last step instead of running on until Ctrl-C; exit code 1 if a step did not hold.
    #[arg(long)]
    once: bool,
    /// The report as JSON, with every figure.
    #[arg(long)]
    json: bool,
}

/// How the walk through the steps came to its end.
enum End {
    Walked(bool),
    Interrupted,
}

impl Demo {
    /// Starts everything, walks through the steps, ends everything.
    ///
    /// # Errors
    /// weir is not there or does not start.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let weir = mesh::weir()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let end = runtime.block_on(async {
            let (mut interrupt, mut terminate) =
                (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            // Whatever ends first, the mesh is dropped with it, and its processes with the mesh.
            tokio::select! {
                held = self.play(&weir) => held.map(End::Walked),
                _ = interrupt.recv() => Ok(End::Interrupted),
                _ = terminate.recv() => Ok(End::Interrupted),
            }
        })?;
        Ok(match end {
            End::Walked(true) => ExitCode::SUCCESS,
            End::Walked(false) => ExitCode::from(1),
            // As a shell reports a program that Ctrl-C ended; without --once that is how the demo ends.
            End::Interrupted => ExitCode::from(if self.once { 130 } else { 0 }),
        })
    }

    async fn play(&self, weir: &std::path::Path) -> anyhow::Result<bool> {
        let begun = Instant::now();
        let mesh = Mesh::start(weir).await?;
        let board = Board::new(Style::of(self.json));
        let stage = Stage { mesh: &mesh, board: &board };
        let findings = tokio::select! {
            findings = walk(&stage) => findings,
            () = board.show() => Vec::new(),
        };
        board.draw();
        let held = findings.len() == STEPS.len() && findings.iter().all(|finding| finding.held);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report(&findings, held, begun))?);
        } else {
            print!("{}", summary(&findings, held, begun, &mesh)?);
        }
        if !self.once {
            mesh.apply(mesh::ALL_TO_V1).await?;
            std::future::pending::<()>().await;
        }
        Ok(held)
    }
}

async fn walk(stage: &Stage<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        stage.board.begin(index);
        let finding = step.walk(stage).await;
        stage.board.end(&finding);
        findings.push(finding);
    }
    findings
}

fn report(findings: &[Finding], held: bool, begun: Instant) -> serde_json::Value {
    let steps = STEPS.iter().zip(findings).map(|(step, finding)| {
        json!({
            "name": step.name,
            "condition": step.condition,
            "held": finding.held,
            "measured": finding.measured,
            "figures": finding.figures,
        })
    });
    json!({ "held": held, "seconds": begun.elapsed().as_secs_f64(), "steps": steps.collect::<Vec<_>>() })
}

/// What was shown, and what to try by hand.
fn summary(findings: &[Finding], held: bool, begun: Instant, mesh: &Mesh) -> anyhow::Result<String> {
    let mut lines = vec![String::new(), "What was shown:".to_owned()];
    for (step, finding) in STEPS.iter().zip(findings) {
        let word = if finding.held { "held" } else { "DID NOT HOLD" };
        lines.push(format!("  {}: {word}\n    wanted:   {}", step.name, step.condition));
        lines.push(format!("    measured: {}", finding.measured.replace('\n', "\n      ")));
    }
    let good = findings.iter().filter(|finding| finding.held).count();
    let seconds = begun.elapsed().as_secs_f64();
    lines.push(format!(
        "\n{good} of {} steps held, in {seconds:.0} s{}",
        STEPS.len(),
        if held { "." } else { "!" }
    ));
    let (gateway, folder) = (mesh.gateway()?, mesh.folder.display());
    lines.push("\nTo try by hand while it runs (Ctrl-C ends everything):".to_owned());
    lines.push(format!("  curl -H 'host: greeter.demo' http://127.0.0.1:{}/", gateway.port));
    lines
        .push(format!("  $EDITOR {folder}/rules.yaml          # a saved change is in force within a second"));
    lines.push(format!("  cp deploy/demo/steps/canary-50.yaml {folder}/rules.yaml"));
    lines.push(format!("  weirctl check {folder}               # mistakes with file:line:column and remedy"));
    lines.push(format!(
        "  weirctl render {folder} --node sidecar~127.31.1.1~greeter-v1.default~default.svc.cluster.local"
    ));
    lines.push(format!(
        "  curl http://127.0.0.1:{}/clusters     # the gateway's admin listener",
        gateway.admin
    ));
    lines.push(format!(
        "  curl http://127.0.0.1:{}/debug/syncz  # what the control plane knows of every proxy",
        mesh.plane()?.pages
    ));
    for proxy in mesh.proxies.iter().skip(1) {
        lines.push(format!("  curl http://127.0.0.1:{}/stats        # of {}", proxy.admin, proxy.name));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}
