//! `/ready`

use super::Endpoint;
use super::call::{Call, Reply};
use super::state::ServerState;
use hyper::StatusCode;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/ready",
    changes: false,
    help: "print server state, return 200 if LIVE, otherwise return 503",
    params: &[],
    answer,
};

fn answer(call: &Call<'_>) -> Reply {
    let state = call.state.state();
    let status = if state == ServerState::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::refused(status, format!("{}\n", state.as_str()))
}
