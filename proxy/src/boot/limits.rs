//! What the machine gives: processors within the cgroup's limit, file descriptors.

/// Workers by default, as Envoy counts: the least of processors, affinity and the cgroup's quota (rounded down, at
/// least 1). `ENVOY_CGROUP_CPU_DETECTION=false` leaves the cgroup out.
pub fn cpus() -> usize {
    if std::env::var("ENVOY_CGROUP_CPU_DETECTION").is_ok_and(|v| v == "false") {
        return weir_sys::affinity().unwrap_or(1).max(1);
    }
    // The standard library counts affinity and the quotas of cgroup versions 1 and 2.
    std::thread::available_parallelism().map_or(1, usize::from).clamp(1, crate::live::worker::MAX_WORKERS)
}

/// Raises the soft limit of descriptors to the hard one.
pub fn raise_descriptors() {
    match weir_sys::raise_descriptor_limit() {
        Ok((from, to)) if from != to => tracing::debug!(from, to, "descriptor limit raised"),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the descriptor limit cannot be raised"),
    }
}
