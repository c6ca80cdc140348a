//! `/healthcheck/fail` and `/healthcheck/ok`

use super::Endpoint;
use super::call::Reply;

pub(super) const FAIL: Endpoint = Endpoint {
    path: "/healthcheck/fail",
    changes: true,
    help: "cause the server to fail health checks",
    params: &[],
    answer: |call| {
        call.state.fail_health_checks(true);
        Reply::ok()
    },
};

pub(super) const OK: Endpoint = Endpoint {
    path: "/healthcheck/ok",
    changes: true,
    help: "cause the server to pass health checks",
    params: &[],
    answer: |call| {
        call.state.fail_health_checks(false);
        Reply::ok()
    },
};
