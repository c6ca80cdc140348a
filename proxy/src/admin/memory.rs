//! `/memory`

use super::Endpoint;
use super::call::{Call, Reply};
use super::state::Memory;
use serde::Serialize;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/memory",
    changes: false,
    help: "print current allocation/heap usage",
    params: &[],
    answer,
};

/// Envoy's fields; numbers are strings as in every proto3 JSON of 64 bits.
#[derive(Serialize)]
struct Shown {
    allocated: String,
    heap_size: String,
    pageheap_unmapped: String,
    pageheap_free: String,
    total_thread_cache: String,
    total_physical_bytes: String,
}

fn answer(call: &Call<'_>) -> Reply {
    let memory = call.state.memory();
    Reply::json(&Shown {
        allocated: memory.allocated.to_string(),
        heap_size: memory.heap_size.to_string(),
        pageheap_unmapped: "0".into(),
        pageheap_free: "0".into(),
        total_thread_cache: "0".into(),
        total_physical_bytes: memory.physical.to_string(),
    })
}

/// What `/proc/self/status` tells: anonymous resident memory, data segment, resident memory.
pub(super) fn of_the_kernel() -> Memory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: Option<u64> =
            line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok());
        kib.unwrap_or(0).saturating_mul(1024)
    };
    Memory { allocated: bytes("RssAnon:"), heap_size: bytes("VmData:"), physical: bytes("VmRSS:") }
}
