//! `/runtime` and `/runtime_modify`

use super::Endpoint;
use super::call::Reply;
use hyper::StatusCode;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/runtime",
    changes: false,
    help: "print runtime values",
    params: &[],
    answer: |call| Reply::json(&call.state.runtime()),
};

pub(super) const MODIFY: Endpoint = Endpoint {
    path: "/runtime_modify",
    changes: true,
    help: "change runtime values (there is no admin layer: always refused)",
    params: &[],
    answer: |_| Reply::refused(StatusCode::SERVICE_UNAVAILABLE, "No admin layer specified\n"),
};
