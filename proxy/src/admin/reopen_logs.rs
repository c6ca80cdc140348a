//! `/reopen_logs`

use super::Endpoint;
use super::call::Reply;
use crate::observe::log;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/reopen_logs",
    changes: true,
    help: "reopen access logs",
    params: &[],
    answer: |_| {
        log::reopen_all();
        Reply::ok()
    },
};
