//! Statistics of gRPC calls (`cluster.<name>.grpc.` and `cluster.<name>.grpc.<service>.<method>.`).

use crate::observe::metrics::{Counter, stats};

stats! {
    kind "grpc";
    counters {
        OK = "0",
        CANCELLED = "1",
        UNKNOWN = "2",
        INVALID_ARGUMENT = "3",
        DEADLINE_EXCEEDED = "4",
        NOT_FOUND = "5",
        ALREADY_EXISTS = "6",
        PERMISSION_DENIED = "7",
        RESOURCE_EXHAUSTED = "8",
        FAILED_PRECONDITION = "9",
        ABORTED = "10",
        OUT_OF_RANGE = "11",
        UNIMPLEMENTED = "12",
        INTERNAL = "13",
        UNAVAILABLE = "14",
        DATA_LOSS = "15",
        UNAUTHENTICATED = "16",
        FAILURE = "failure",
        REQUEST_MESSAGE_COUNT = "request_message_count",
        RESPONSE_MESSAGE_COUNT = "response_message_count",
        SUCCESS = "success",
        TOTAL = "total",
    }
    gauges {}
    histograms {}
    codes None;
}

/// The counter of a status; none for a number that is none.
pub fn status(status: u32) -> Option<Counter> {
    u16::try_from(status).ok().filter(|n| *n <= UNAUTHENTICATED.0).map(Counter)
}
