//! How a cluster finds its hosts: type, DNS settings, original destination.

use super::{address, cluster, wkt};
use crate::base::Name;
use crate::base::ledger::At;
use crate::base::names::HeaderName;
use crate::model::cluster::{Discovery, Dns, DnsFamily};
use std::net::SocketAddr;
use std::time::Duration;
use weir_proto::any;
use weir_proto::envoy::config::cluster::v3::cluster as inner;
use weir_proto::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbConfig};
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as NewFamily;
use weir_proto::envoy::extensions::clusters::dns::v3::{DnsCluster, dns_cluster};
use weir_proto::envoy::extensions::clusters::original_dst::v3::OriginalDstCluster;
use weir_proto::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use weir_proto::google::protobuf::{Any, Duration as ProtoDuration};

/// Envoy's default of `dns_refresh_rate` and of `cleanup_interval`.
const REFRESH: Duration = Duration::from_secs(5);
/// Header that names the destination, unless another is configured.
const DST_HEADER: &str = "x-envoy-original-dst-host";

/// The fields of a cluster that say how it finds hosts.
pub struct Kind<'a> {
    /// `type` or `cluster_type`.
    pub specifier: Option<&'a ClusterDiscoveryType>,
    /// `eds_cluster_config`
    pub eds: Option<&'a inner::EdsClusterConfig>,
    /// `cleanup_interval`
    pub cleanup: &'a Option<ProtoDuration>,
    /// `lb_config` (`original_dst_lb_config` in it)
    pub lb_config: Option<&'a LbConfig>,
}

/// The DNS fields of a cluster.
pub struct DnsFields<'a> {
    /// `dns_refresh_rate`
    pub refresh: &'a Option<ProtoDuration>,
    /// `dns_jitter`
    pub jitter: &'a Option<ProtoDuration>,
    /// `dns_failure_refresh_rate`
    pub failure: &'a Option<inner::RefreshRate>,
    /// `respect_dns_ttl`
    pub respect_ttl: bool,
    /// `dns_lookup_family`
    pub family: i32,
    /// `dns_resolvers`
    pub resolvers: &'a [core::Address],
    /// `dns_resolution_config`
    pub resolution: &'a Option<core::DnsResolutionConfig>,
    /// `typed_dns_resolver_config`
    pub typed: &'a Option<core::TypedExtensionConfig>,
}

/// How the cluster finds its hosts.
pub fn discovery(at: &At<'_>, name: &Name, kind: &Kind<'_>, dns: &DnsFields<'_>) -> Option<Discovery> {
    let found = match kind.specifier {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(value)) => wkt::enumeration(at, "type", *value)?,
        Some(ClusterDiscoveryType::ClusterType(message)) => return custom(at, message, kind),
    };
    if found != DiscoveryType::Eds && kind.eds.is_some() {
        at.bad("eds_cluster_config", "cannot be set in a non-EDS cluster");
    }
    match found {
        DiscoveryType::Static => Some(Discovery::Static),
        DiscoveryType::Eds => Some(Discovery::Eds(cluster::eds_service(at, name, kind.eds)?)),
        DiscoveryType::StrictDns => Some(Discovery::Dns(dns_settings(at, dns, false))),
        DiscoveryType::LogicalDns => Some(Discovery::Dns(dns_settings(at, dns, true))),
        DiscoveryType::OriginalDst => original_dst(at, kind),
    }
}

fn family(at: &At<'_>, value: i32) -> DnsFamily {
    use inner::DnsLookupFamily as F;
    match wkt::enumeration(at, "dns_lookup_family", value) {
        Some(F::V4Only) => DnsFamily::V4Only,
        Some(F::V6Only) => DnsFamily::V6Only,
        Some(F::V4Preferred) => DnsFamily::V4Preferred,
        Some(F::All) => DnsFamily::All,
        Some(F::Auto) | None => DnsFamily::Auto,
    }
}

fn dns_settings(at: &At<'_>, fields: &DnsFields<'_>, logical: bool) -> Dns {
    let failure = fields.failure.as_ref().and_then(|message| {
        let here = at.field("dns_failure_refresh_rate");
        crate::ledger!(here, message => inner::RefreshRate { base_interval, max_interval });
        failure_rate(&here, base_interval, max_interval)
    });
    let resolvers = match (fields.typed, fields.resolution) {
        (Some(message), _) => typed_resolver(&at.field("typed_dns_resolver_config"), message),
        (None, Some(message)) => {
            let here = at.field("dns_resolution_config");
            crate::ledger!(here, message => core::DnsResolutionConfig { resolvers } refuse { dns_resolver_options });
            address::resolvers(&here, "resolvers", resolvers)
        }
        (None, None) => address::resolvers(at, "dns_resolvers", fields.resolvers),
    };
    Dns {
        logical,
        refresh: refresh(at, fields.refresh),
        respect_ttl: fields.respect_ttl,
        jitter: wkt::duration(at, "dns_jitter", fields.jitter).unwrap_or_default(),
        failure_refresh: failure,
        family: family(at, fields.family),
        resolvers,
    }
}

fn refresh(at: &At<'_>, value: &Option<ProtoDuration>) -> Duration {
    let found = wkt::positive(at, "dns_refresh_rate", value).unwrap_or(REFRESH);
    if found < Duration::from_millis(1) {
        at.bad("dns_refresh_rate", "must be greater than 1ms");
    }
    found
}

fn failure_rate(
    at: &At<'_>,
    base: &Option<ProtoDuration>,
    max: &Option<ProtoDuration>,
) -> Option<(Duration, Duration)> {
    let base = at.required("base_interval", wkt::positive(at, "base_interval", base))?;
    let max = wkt::positive(at, "max_interval", max).unwrap_or(base.saturating_mul(10));
    if max < base {
        at.bad("max_interval", "must be greater than or equal to the base_interval");
    }
    Some((base, max))
}

/// Resolver settings: c-ares' list of addresses is obeyed; the rest tunes that library.
pub fn typed_resolver(at: &At<'_>, message: &core::TypedExtensionConfig) -> Box<[SocketAddr]> {
    crate::ledger!(at, message => core::TypedExtensionConfig { typed_config } ignore { name });
    let Some(config) = at.required("typed_config", typed_config.as_ref()) else { return Box::default() };
    let at = &at.field("typed_config");
    if any::type_name(config)
        == "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
    {
        return Box::default(); // The system's resolvers, which are the default here.
    }
    if !wkt::is::<CaresDnsResolverConfig>(config) {
        at.unsupported(&format!("the DNS resolver '{}'", any::type_name(config)));
        return Box::default();
    }
    let Some(message) = wkt::unpack::<CaresDnsResolverConfig>(at, config) else { return Box::default() };
    let message = &message;
    crate::ledger!(at, message => CaresDnsResolverConfig { resolvers, dns_resolver_options, use_resolvers_as_fallback }
        ignore { filter_unroutable_families, udp_max_queries, query_timeout_seconds, query_tries,
            rotate_nameservers, edns0_max_payload_size, max_udp_channel_duration, reinit_channel_on_timeout,
            qcache_max_ttl });
    at.refuse("use_resolvers_as_fallback", *use_resolvers_as_fallback);
    if let Some(options) = dns_resolver_options {
        let here = at.field("dns_resolver_options");
        crate::ledger!(here, options => core::DnsResolverOptions {} refuse { use_tcp_for_dns_lookups }
            ignore { no_default_search_domain });
    }
    address::resolvers(at, "resolvers", resolvers)
}

fn custom(at: &At<'_>, message: &inner::CustomClusterType, kind: &Kind<'_>) -> Option<Discovery> {
    let at = &at.field("cluster_type");
    crate::ledger!(at, message => inner::CustomClusterType { name, typed_config });
    at.non_empty("name", name);
    let config = at.required("typed_config", typed_config.as_ref())?;
    let here = at.field("typed_config");
    if wkt::is::<DnsCluster>(config) {
        return dns_cluster(&here, config);
    }
    if wkt::is::<OriginalDstCluster>(config) {
        let message = &wkt::unpack::<OriginalDstCluster>(&here, config)?;
        crate::ledger!(here, message => OriginalDstCluster { use_http_header, http_header_name,
            upstream_port_override } refuse { metadata_key });
        return Some(Discovery::OriginalDst {
            header: dst_header(&here, *use_http_header, http_header_name)?,
            port: override_port(&here, wkt::u32_opt(upstream_port_override))?,
            cleanup: wkt::positive(at, "cleanup_interval", kind.cleanup).unwrap_or(REFRESH),
        });
    }
    here.unsupported(&format!("the cluster type '{}'", any::type_name(config)));
    None
}

fn dns_cluster(at: &At<'_>, config: &Any) -> Option<Discovery> {
    let message = &wkt::unpack::<DnsCluster>(at, config)?;
    crate::ledger!(at, message => DnsCluster { dns_refresh_rate, dns_failure_refresh_rate, respect_dns_ttl, dns_jitter,
        typed_dns_resolver_config, dns_lookup_family, all_addresses_in_single_endpoint }
        refuse { dns_min_refresh_rate });
    let failure = dns_failure_refresh_rate.as_ref().and_then(|message| {
        let here = at.field("dns_failure_refresh_rate");
        crate::ledger!(here, message => dns_cluster::RefreshRate { base_interval, max_interval });
        failure_rate(&here, base_interval, max_interval)
    });
    let family = match wkt::enumeration(at, "dns_lookup_family", *dns_lookup_family) {
        Some(NewFamily::V4Only) => DnsFamily::V4Only,
        Some(NewFamily::V6Only) => DnsFamily::V6Only,
        Some(NewFamily::V4Preferred) => DnsFamily::V4Preferred,
        Some(NewFamily::All) => DnsFamily::All,
        Some(NewFamily::Unspecified | NewFamily::Auto) | None => DnsFamily::Auto,
    };
    let resolvers = typed_dns_resolver_config.as_ref();
    let resolvers = resolvers.map(|m| typed_resolver(&at.field("typed_dns_resolver_config"), m));
    Some(Discovery::Dns(Dns {
        logical: *all_addresses_in_single_endpoint,
        refresh: refresh(at, dns_refresh_rate),
        respect_ttl: *respect_dns_ttl,
        jitter: wkt::duration(at, "dns_jitter", dns_jitter).unwrap_or_default(),
        failure_refresh: failure,
        family,
        resolvers: resolvers.unwrap_or_default(),
    }))
}

fn original_dst(at: &At<'_>, kind: &Kind<'_>) -> Option<Discovery> {
    let cleanup = wkt::positive(at, "cleanup_interval", kind.cleanup).unwrap_or(REFRESH);
    let Some(LbConfig::OriginalDstLbConfig(message)) = kind.lb_config else {
        return Some(Discovery::OriginalDst { header: None, port: None, cleanup });
    };
    let here = at.field("original_dst_lb_config");
    crate::ledger!(here, message => inner::OriginalDstLbConfig { use_http_header, http_header_name,
        upstream_port_override } refuse { metadata_key });
    let header = dst_header(&here, *use_http_header, http_header_name)?;
    let port = override_port(&here, wkt::u32_opt(upstream_port_override))?;
    Some(Discovery::OriginalDst { header, port, cleanup })
}

fn dst_header(at: &At<'_>, on: bool, name: &str) -> Option<Option<HeaderName>> {
    if !on {
        at.refuse("http_header_name", !name.is_empty());
        return Some(None);
    }
    let name = if name.is_empty() { DST_HEADER } else { name };
    wkt::header_name(at, "http_header_name", name).map(Some)
}

fn override_port(at: &At<'_>, port: Option<u32>) -> Option<Option<u16>> {
    match port {
        None => Some(None),
        Some(port) => wkt::port(at, "upstream_port_override", port).map(Some),
    }
}
