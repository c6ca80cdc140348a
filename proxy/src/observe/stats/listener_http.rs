//! Statistics of a connection manager on one listener (`listener.<address>.http.<prefix>.`).

use crate::observe::metrics::{CodeTable, stats};

stats! {
    kind "listener_http";
    counters {}
    gauges {}
    histograms {}
    codes Some(CodeTable { stem: "downstream_rq_", each: false, fixed: true, scopes: &[""] });
}
