//! `/server_info`

use super::Endpoint;
use super::call::{Call, Reply};
use serde::Serialize;
use serde_json::Value;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/server_info",
    changes: false,
    help: "print server version/status information",
    params: &[],
    answer,
};

/// `envoy.admin.v3.ServerInfo` in its order.
#[derive(Serialize)]
struct Shown<'a> {
    version: &'a str,
    state: &'a str,
    uptime_current_epoch: String,
    uptime_all_epochs: String,
    hot_restart_version: &'a str,
    command_line_options: &'a Value,
    node: &'a Value,
}

fn answer(call: &Call<'_>) -> Reply {
    let server = call.state.server_info();
    Reply::json(&Shown {
        version: &server.version,
        state: call.state.state().as_str(),
        uptime_current_epoch: format!("{}s", server.uptime.as_secs()),
        uptime_all_epochs: format!("{}s", server.uptime_all.as_secs()),
        hot_restart_version: &server.hot_restart_version,
        command_line_options: &server.command_line_options,
        node: &server.node,
    })
}
