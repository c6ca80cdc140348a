//! `/drain_listeners`

use super::Endpoint;
use super::call::{Call, Reply};
use super::state::DrainRequest;
use hyper::StatusCode;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/drain_listeners",
    changes: true,
    help: "drain listeners",
    params: &[
        ("graceful", "enter a graceful drain period (--drain-time-s) before the listeners stop"),
        ("skip_exit", "with graceful: drain the connections but never stop the listeners"),
        ("inboundonly", "drain only the listeners whose traffic_direction is INBOUND"),
    ],
    answer,
};

fn answer(call: &Call<'_>) -> Reply {
    let request = DrainRequest {
        graceful: call.query.has("graceful"),
        skip_exit: call.query.has("skip_exit"),
        inbound_only: call.query.has("inboundonly"),
    };
    if request.skip_exit && !request.graceful {
        return Reply::refused(StatusCode::BAD_REQUEST, "skip_exit requires graceful\n");
    }
    call.state.drain(request);
    Reply::ok()
}
