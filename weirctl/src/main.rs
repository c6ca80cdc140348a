//! `weirctl`: the operator's program. One file a subcommand, one line each in [`Command`] and [`run`].
#![forbid(unsafe_code)]

mod admin;
mod check;
mod demo;
mod render;
mod serve;
mod status;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything a person runs around the data plane `weir`.
#[derive(Debug, Parser)]
#[command(name = "weirctl", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a small mesh on this machine and walks through what steers it, with a figure for every step.
    Demo(demo::Demo),
    /// Reads Istio and Kubernetes YAML and reports every mistake; exit code 1 if there is an error.
    Check(check::Check),
    /// Prints the xDS resources that a proxy would get, as JSON.
    Render(Box<render::Render>),
    /// A control plane for a fleet of proxies: the folder's resources over xDS, whatever changes pushed.
    Serve(serve::Serve),
    /// What is in force in a proxy, what it refused and why; exit code 1 if it is not ready or refused something.
    Status(status::Status),
}

fn main() -> ExitCode {
    let result = run(Arguments::parse().command);
    result.unwrap_or_else(|error| {
        // Nobody may be listening any more; the exit code remains.
        let _ = writeln!(io::stderr(), "weirctl: {error:#}");
        ExitCode::from(2)
    })
}

/// Writes to standard output. A reader that has closed the pipe has seen enough.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Exit codes: 0 fine, 1 the answer is no, 2 the command could not be carried out.
fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(demo) => demo.run(),
        Command::Check(check) => check.run(),
        Command::Render(render) => render.run(),
        Command::Serve(serve) => serve.run(),
        Command::Status(status) => status.run(),
    }
}
