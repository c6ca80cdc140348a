//! `OverloadManager`: the limit of downstream connections is obeyed; monitors of memory and processor with what they
//! trigger are judged and noted.

use super::wkt;
use crate::base::ledger::At;
use weir_proto::any;
use weir_proto::envoy::config::overload::v3 as proto;
use weir_proto::envoy::config::overload::v3::resource_monitor::ConfigType;
use weir_proto::envoy::config::overload::v3::trigger::TriggerOneof;
use weir_proto::envoy::extensions::resource_monitors::cgroup_memory::v3::CgroupMemoryConfig;
use weir_proto::envoy::extensions::resource_monitors::cpu_utilization::v3::CpuUtilizationConfig;
use weir_proto::envoy::extensions::resource_monitors::downstream_connections::v3::DownstreamConnectionsConfig;
use weir_proto::envoy::extensions::resource_monitors::fixed_heap::v3::FixedHeapConfig;
use weir_proto::envoy::extensions::resource_monitors::injected_resource::v3::InjectedResourceConfig;

/// The limit of downstream connections, if one is set.
pub fn overload(at: &At<'_>, message: &proto::OverloadManager) -> Option<u64> {
    crate::ledger!(at, message => proto::OverloadManager { resource_monitors, actions, loadshed_points }
        note { buffer_factory_config } ignore { refresh_interval });
    let mut limit = None;
    let mut known: Vec<&str> = Vec::new();
    for (i, message) in resource_monitors.iter().enumerate() {
        let here = at.item("resource_monitors", i);
        crate::ledger!(here, message => proto::ResourceMonitor { name, config_type });
        here.non_empty("name", name);
        if known.contains(&name.as_str()) {
            here.bad("name", format!("Duplicate resource monitor {name}"));
        }
        known.push(name);
        let config = here.required("typed_config", config_type.as_ref());
        if let Some(ConfigType::TypedConfig(config)) = config {
            limit = monitor(&here, config).or(limit);
        }
    }
    triggered(at, "actions", actions.iter().map(|a| (a.name.as_str(), a.triggers.as_slice())), &known);
    let points = loadshed_points.iter().map(|p| (p.name.as_str(), p.triggers.as_slice()));
    triggered(at, "loadshed_points", points, &known);
    limit
}

fn monitor(at: &At<'_>, config: &weir_proto::google::protobuf::Any) -> Option<u64> {
    let here = at.field("typed_config");
    if wkt::is::<DownstreamConnectionsConfig>(config) {
        let DownstreamConnectionsConfig { max_active_downstream_connections: most } =
            wkt::unpack::<DownstreamConnectionsConfig>(&here, config)?;
        let most = u64::try_from(most).ok().filter(|most| *most > 0);
        if most.is_none() {
            here.bad("max_active_downstream_connections", "must be greater than 0");
        }
        return most;
    }
    let known = wkt::is::<FixedHeapConfig>(config)
        || wkt::is::<CgroupMemoryConfig>(config)
        || wkt::is::<CpuUtilizationConfig>(config)
        || wkt::is::<InjectedResourceConfig>(config);
    if known {
        at.not_obeyed("typed_config", true);
    } else {
        here.unsupported(&format!("the resource monitor '{}'", any::type_name(config)));
    }
    None
}

/// What monitors trigger.
fn triggered<'m>(
    at: &At<'_>,
    field: &str,
    all: impl Iterator<Item = (&'m str, &'m [proto::Trigger])>,
    known: &[&str],
) {
    let mut names: Vec<&str> = Vec::new();
    for (i, (name, triggers)) in all.enumerate() {
        let here = at.item(field, i);
        here.non_empty("name", name);
        if names.contains(&name) {
            here.bad("name", format!("Duplicate overload action {name}"));
        }
        names.push(name);
        let mut by: Vec<&str> = Vec::new();
        for (j, message) in triggers.iter().enumerate() {
            let here = here.item("triggers", j);
            let proto::Trigger { name: resource, trigger_oneof } = message;
            if !known.contains(&resource.as_str()) {
                here.bad("name", format!("Unknown trigger resource {resource} for overload action {name}"));
            }
            if by.contains(&resource.as_str()) {
                here.bad("name", format!("Duplicate trigger resource for overload action {name}"));
            }
            by.push(resource);
            if let Some(TriggerOneof::Scaled(scaled)) = trigger_oneof
                && scaled.scaling_threshold >= scaled.saturation_threshold
            {
                here.bad("scaled", "scaling_threshold must be less than saturation_threshold");
            }
        }
    }
    at.not_obeyed(field, !names.is_empty());
}
