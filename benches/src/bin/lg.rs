//! The bench's load generator. Usage: `lg PORT PATH CONNECTIONS RATE WARM_S WINDOW_S [HOST]` (rate 0: closed loop).
//!
//! Writes `START` and `END` to standard error at the edges of the counted window, so that the runner reads the
//! proxy's CPU clock there, and one JSON object to standard output.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use weir_benches::load::{Plan, run};

fn argument<T: FromStr>(arguments: &[String], index: usize, what: &str) -> Result<T, String> {
    let text = arguments.get(index).ok_or(format!("{what} is missing"))?;
    text.parse().map_err(|_| format!("'{text}' is not a valid {what}"))
}

fn seconds(arguments: &[String], index: usize, what: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(argument(arguments, index, what)?).map_err(|error| format!("{what}: {error}"))
}

fn plan(arguments: &[String]) -> Result<Plan, String> {
    Ok(Plan {
        port: argument(arguments, 0, "port")?,
        path: argument(arguments, 1, "path")?,
        host: arguments.get(6).map_or("svc.mesh.local", String::as_str).into(),
        connections: argument(arguments, 2, "number of connections")?,
        rate: argument(arguments, 3, "rate")?,
        warm: seconds(arguments, 4, "warm-up time")?,
        window: seconds(arguments, 5, "window")?,
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plan = match plan(&arguments) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("lg: {error}\nusage: lg PORT PATH CONNECTIONS RATE WARM_S WINDOW_S [HOST]");
            return ExitCode::from(2);
        }
    };
    match run(&plan, |begins| eprintln!("{}", if begins { "START" } else { "END" })) {
        Ok(outcome) => {
            let seconds = plan.window.as_secs_f64();
            println!(
                "{{\"requests\":{},\"rps\":{:.1},\"p50_us\":{:.1},\"p99_us\":{:.1},\"mb_per_s\":{:.1},\"errors\":{}}}",
                outcome.latency.total(),
                outcome.latency.total() as f64 / seconds,
                outcome.latency.quantile_us(0.5),
                outcome.latency.quantile_us(0.99),
                outcome.bytes as f64 / seconds / 1e6,
                outcome.bad,
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("lg: {error}");
            ExitCode::FAILURE
        }
    }
}
