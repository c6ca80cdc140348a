//! `/last_good`: the state that is kept on disk, and whether it is in force (weir's own).

use super::Endpoint;
use super::call::Reply;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/last_good",
    changes: false,
    help: "print the state that is kept on disk, and whether it is in force",
    params: &[],
    answer: |call| Reply::json(&call.state.last_good()),
};
