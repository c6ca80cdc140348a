//! The command line as `/server_info` shows it (`envoy.admin.v3.CommandLineOptions`).

use super::flags::{Flags, Mode};
use crate::observe::log;
use serde_json::{Value, json};
use std::time::Duration;

/// A duration in protobuf's JSON form.
fn seconds(of: Duration) -> String {
    match of.subsec_millis() {
        0 => format!("{}s", of.as_secs()),
        millis => format!("{}.{millis:03}s", of.as_secs()),
    }
}

/// Every option with its value or Envoy's default.
pub fn shown(flags: &Flags, workers: usize) -> Value {
    let given = |name: &str| flags.given.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let text = |name: &str, default: &str| given(name).unwrap_or(default).to_owned();
    let on = |name: &str| given(name).is_some();
    let number = |name: &str, default: u64| given(name).and_then(|v| v.parse().ok()).unwrap_or(default);
    let or_empty = |value: &Option<String>| value.clone().unwrap_or_default();
    let tags: Vec<String> = flags.stats_tags.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let extensions: Vec<&str> = given("disable_extensions").into_iter().flat_map(|v| v.split(',')).collect();
    json!({
        "base_id": number("base_id", 0).to_string(),
        "use_dynamic_base_id": on("use_dynamic_base_id"),
        "base_id_path": text("base_id_path", ""),
        "concurrency": workers,
        "config_path": or_empty(&flags.config_path),
        "config_yaml": or_empty(&flags.config_yaml),
        "allow_unknown_static_fields": flags.allow_unknown,
        "reject_unknown_dynamic_fields": on("reject_unknown_dynamic_fields"),
        "ignore_unknown_dynamic_fields": on("ignore_unknown_dynamic_fields"),
        "admin_address_path": or_empty(&flags.admin_address_path),
        "local_address_ip_version": text("local_address_ip_version", "v4"),
        "log_level": flags.log_level,
        "component_log_level": or_empty(&flags.component_log_level),
        "log_format": text("log_format", ""),
        "log_format_escaped": on("log_format_escaped"),
        "log_stacktrace_single_entry": on("log_stacktrace_single_entry"),
        "log_path": or_empty(&flags.log_path),
        "service_cluster": or_empty(&flags.service_cluster),
        "service_node": or_empty(&flags.service_node),
        "service_zone": or_empty(&flags.service_zone),
        "file_flush_interval": seconds(log::flush_interval()),
        "file_flush_min_size": number("file_flush_min_size_kb", 0),
        "drain_time": seconds(flags.drain_time),
        "drain_strategy": if flags.immediate_drain { "Immediate" } else { "Gradual" },
        "parent_shutdown_time": format!("{}s", number("parent_shutdown_time_s", 900)),
        "mode": match flags.mode { Mode::Serve => "Serve", Mode::Validate => "Validate" },
        "disable_hot_restart": on("disable_hot_restart"),
        "restart_epoch": number("restart_epoch", 0),
        "skip_hot_restart_on_no_parent": on("skip_hot_restart_on_no_parent"),
        "skip_hot_restart_parent_stats": on("skip_hot_restart_parent_stats"),
        "socket_path": text("socket_path", "@envoy_domain_socket"),
        "socket_mode": given("socket_mode").and_then(|v| u32::from_str_radix(v, 8).ok()).unwrap_or(0),
        "cpuset_threads": on("cpuset_threads"),
        "disabled_extensions": extensions,
        "enable_mutex_tracing": on("enable_mutex_tracing"),
        "enable_fine_grain_logging": on("enable_fine_grain_logging"),
        "enable_core_dump": on("enable_core_dump"),
        "skip_deprecated_logs": on("skip_deprecated_logs"),
        "stats_tag": tags,
    })
}
