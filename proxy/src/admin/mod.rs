//! The admin interface: an HTTP API on a thread of its own, under Envoy's paths (spec 6.1).
//!
//! An endpoint is one file and one line in [`ENDPOINTS`]. Endpoints read the process through [`AdminState`], which
//! boot implements, and the statistics through the registry.
//!
//! | beside the endpoints | what it does |
//! | --- | --- |
//! | `call`, `server`, `state`, `fixed` | one call, the thread, the port to the rest, answers that never change |
//! | `connections` | which connections stay open, and which give way |
//! | `stats_query`, `sums`, `tags` | parameters of `/stats`, sums over the workers' cells, names to tags |
//! | `histograms` | histograms as text and JSON |
//! | `memory` | what the kernel says of memory |

mod call;
mod clusters;
mod config_dump;
mod connections;
mod drain_listeners;
mod fixed;
mod healthcheck;
mod help;
mod histograms;
mod home;
mod last_good;
mod listeners;
mod logging;
mod memory;
mod prometheus;
mod ready;
mod reopen_logs;
mod reset_counters;
mod runtime;
mod server;
mod server_info;
mod state;
mod stats;
mod stats_query;
mod sums;
mod tags;

pub use call::{Call, Query, Reply};
pub use connections::MAX_CONNECTIONS;
pub use server::{Admin, Listening, Options, bind, start};
pub use state::*;
pub use tags::Tags;

/// One endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its path, matched exactly.
    pub path: &'static str,
    /// Does it change something? Then only POST is allowed.
    pub changes: bool,
    /// One line for `/help`.
    pub help: &'static str,
    /// Its query parameters, for `/help`.
    pub params: &'static [(&'static str, &'static str)],
    /// Answers a call.
    pub answer: fn(&Call<'_>) -> Reply,
}

/// Every endpoint, in the order of `/help`.
pub static ENDPOINTS: &[Endpoint] = &[
    home::ENDPOINT,
    fixed::CERTS,
    clusters::ENDPOINT,
    config_dump::ENDPOINT,
    drain_listeners::ENDPOINT,
    healthcheck::FAIL,
    healthcheck::OK,
    help::ENDPOINT,
    fixed::HOT_RESTART_VERSION,
    fixed::INIT_DUMP,
    last_good::ENDPOINT,
    listeners::ENDPOINT,
    logging::ENDPOINT,
    memory::ENDPOINT,
    fixed::QUITQUITQUIT,
    ready::ENDPOINT,
    reopen_logs::ENDPOINT,
    reset_counters::ENDPOINT,
    runtime::ENDPOINT,
    runtime::MODIFY,
    server_info::ENDPOINT,
    stats::ENDPOINT,
    prometheus::ENDPOINT,
];

#[cfg(test)]
mod tests;
