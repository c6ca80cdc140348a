//! The steps of the demo, in order. A step is one function; each has its line in [`STEPS`].

mod faults;
mod grpc;
mod reload;
mod resilience;
mod routing;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

use super::load::{self, Plan, Running, Tally};
use super::mesh::Mesh;
use super::table::Board;

/// Standard deviations that a random share may be away from its mean: one run in 150,000 is further away.
pub const SIGMAS: f64 = 4.5;
/// Connections of a usual load.
const CONNECTIONS: usize = 6;

/// What a step found.
pub struct Finding {
    /// Whether its condition held.
    pub held: bool,
    /// What was measured, for people.
    pub measured: String,
    /// The same for programs.
    pub figures: Value,
}

/// A step that runs.
pub type Walk<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Finding>> + 'a>>;

/// One step.
pub struct Step {
    /// Its name in the report.
    pub name: &'static str,
    /// What has to hold, with numbers.
    pub condition: &'static str,
    run: for<'a> fn(&'a Stage<'a>) -> Walk<'a>,
}

/// All steps. A step leaves the rules as it likes: each puts its own in force.
pub const STEPS: &[Step] = &[
    Step { name: "all to v1", condition: "100 % v1, 0 failed", run: |s| Box::pin(routing::all_to_v1(s)) },
    Step {
        name: "testers to v2",
        condition: "100 % of those with `end-user: tester` at v2, 100 % of the others at v1, 0 failed",
        run: |s| Box::pin(routing::testers(s)),
    },
    Step {
        name: "canary 95/5, 50/50, 0/100",
        condition: "v2's share within 4.5 sigma of 5, 50 and 100 %, changed under traffic, 0 failed",
        run: |s| Box::pin(routing::canary(s)),
    },
    Step {
        name: "delay fault",
        condition: "every request takes 300 ms or more, p50 at most 400 ms",
        run: |s| Box::pin(faults::delay(s)),
    },
    Step {
        name: "abort fault",
        condition: "418 within 4.5 sigma of 25 %, and no aborted request reaches the pod",
        run: |s| Box::pin(faults::abort(s)),
    },
    Step {
        name: "timeout",
        condition: "504 for exactly the slow quarter of the requests (600 ms against a limit of 250 ms)",
        run: |s| Box::pin(faults::timeout(s)),
    },
    Step {
        name: "retries",
        condition: "v3 fails every time, clients see 0 failed requests",
        run: |s| Box::pin(resilience::retries(s)),
    },
    Step {
        name: "circuit breaker",
        condition: "more than 0 refused; each a 503 with x-envoy-overloaded and counted as overflow",
        run: |s| Box::pin(resilience::breaker(s)),
    },
    Step {
        name: "outlier ejection",
        condition: "v3 ejected after 5 failures, 0 requests while it is out, back after 2 s (4 s at most)",
        run: |s| Box::pin(resilience::ejection(s)),
    },
    Step {
        name: "mirroring",
        condition: "v2 gets a copy of every request, clients see v1 alone, 0 failed",
        run: |s| Box::pin(resilience::mirror(s)),
    },
    Step {
        name: "gRPC between pods",
        condition: "shares of hello within 4.5 sigma of 60/30/10 %, every grpc-status 0",
        run: |s| Box::pin(grpc::between_pods(s)),
    },
    Step {
        name: "broken file",
        condition: "refused with file:line:column and remedy; 0 failed, 100 % still at v1",
        run: |s| Box::pin(reload::broken_file(s)),
    },
];

impl Step {
    /// Runs the step; one that cannot be carried out has not held.
    pub async fn walk<'a>(&self, stage: &'a Stage<'a>) -> Finding {
        (self.run)(stage).await.unwrap_or_else(|error| Finding {
            held: false,
            measured: format!("{error:#}"),
            figures: serde_json::json!({ "error": format!("{error:#}") }),
        })
    }
}

/// What the steps act on.
pub struct Stage<'a> {
    /// The processes.
    pub mesh: &'a Mesh,
    /// Where the table looks.
    pub board: &'a Board,
}

impl Stage<'_> {
    /// GETs for greeter through the gateway.
    fn plan(&self) -> anyhow::Result<Plan> {
        Ok(Plan {
            port: self.mesh.gateway()?.port,
            host: "greeter.demo",
            headers: Vec::new(),
            connections: CONNECTIONS,
            requests: None,
            gap: Duration::ZERO,
            grpc: false,
        })
    }

    /// Starts a load that the table shows.
    fn start(&self, plan: Plan) -> Running {
        load::start(plan, self.board.new_load())
    }

    /// So many GETs for greeter.
    async fn send(&self, requests: u64) -> anyhow::Result<Tally> {
        let plan = Plan { requests: Some(requests), ..self.plan()? };
        Ok(self.start(plan).finish().await)
    }
}

/// A share as a number between 0 and 1.
#[allow(clippy::cast_precision_loss)]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// How many standard deviations a binomial share is away from its mean; where there is no deviation, 0 or infinity.
#[allow(clippy::cast_precision_loss)]
fn sigmas(part: u64, whole: u64, mean: f64) -> f64 {
    let away = (share(part, whole) - mean).abs();
    let one = (mean * (1.0 - mean) / whole.max(1) as f64).sqrt();
    match (away > 0.0, one > 0.0) {
        (_, true) => away / one,
        (true, false) => f64::INFINITY,
        (false, false) => 0.0,
    }
}

/// A share in percent, for people.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.2} %", share(part, whole) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmas_of_a_binomial_share() {
        // 10,000 requests at 50 %: one sigma is 0.5 %.
        assert!((sigmas(5_100, 10_000, 0.5) - 2.0).abs() < 1e-9);
        assert!(sigmas(99, 100, 1.0).is_infinite());
        assert!(sigmas(100, 100, 1.0) < f64::EPSILON);
        assert!(sigmas(0, 0, 0.5) > 0.0);
    }
}
