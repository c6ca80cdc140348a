//! `/reset_counters`

use super::Endpoint;
use super::call::Reply;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/reset_counters",
    changes: true,
    help: "reset all counters to zero",
    params: &[],
    answer: |call| {
        call.registry.reset_counters();
        Reply::ok()
    },
};
