//! Statistics of the fault filter (`http.<prefix>.fault.`).

use crate::observe::metrics::stats;

stats! {
    kind "fault";
    counters {
        ABORTS_INJECTED = "aborts_injected",
        DELAYS_INJECTED = "delays_injected",
        FAULTS_OVERFLOW = "faults_overflow",
        RESPONSE_RL_INJECTED = "response_rl_injected",
    }
    gauges {
        ACTIVE_FAULTS = "active_faults",
    }
    histograms {}
    codes None;
}
