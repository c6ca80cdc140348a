//! The HTTP connection manager of a chain.

use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::config::listener::v3 as listener;
use weir_proto::envoy::config::route::v3::RouteConfiguration;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use weir_proto::google::protobuf as pb;

use super::super::context::Context;
use super::super::route::{CORS, FAULT};
use super::super::target::Part;
use super::super::wire;
use super::access_log;
use hcm::http_connection_manager as manager;

/// Which side of the mesh a connection manager is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// From the pod to services.
    Outbound,
    /// From others to the pod.
    Inbound,
    /// At the edge.
    Gateway,
}

/// Where its routes come from.
pub(super) enum Routes {
    /// By name, from RDS.
    Named(String),
    /// Its own.
    Inline(Box<RouteConfiguration>),
}

/// Name that Istio's proxies answer with in the `server` header.
const SERVER_NAME: &str = "istio-envoy";

/// The filter.
pub(super) fn manager(ctx: &Context<'_>, side: Side, stat_prefix: &str, routes: Routes) -> listener::Filter {
    let route_specifier = match routes {
        Routes::Named(name) => manager::RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(wire::ads()),
            route_config_name: name,
        }),
        Routes::Inline(configuration) => manager::RouteSpecifier::RouteConfig(*configuration),
    };
    let mut built = hcm::HttpConnectionManager {
        // The statistics of one listener end where the next name begins.
        stat_prefix: format!("{stat_prefix};"),
        http_filters: filters(ctx, side),
        access_log: access_log::of_traffic(ctx),
        use_remote_address: Some(wire::boolv(side == Side::Gateway)),
        proxy_100_continue: true,
        upgrade_configs: vec![manager::UpgradeConfig {
            upgrade_type: "websocket".to_owned(),
            ..manager::UpgradeConfig::default()
        }],
        stream_idle_timeout: Some(pb::Duration::default()),
        normalize_path: Some(wire::boolv(true)),
        path_with_escaped_slashes_action: manager::PathWithEscapedSlashesAction::KeepUnchanged.into(),
        route_specifier: Some(route_specifier),
        ..hcm::HttpConnectionManager::default()
    };
    if side != Side::Outbound {
        SERVER_NAME.clone_into(&mut built.server_name);
    }
    if side == Side::Gateway {
        built.http_protocol_options = Some(core::Http1ProtocolOptions::default());
    }
    if ctx.target.has(Part::ClientCertificates) {
        client_certificates(&mut built, side);
    }
    if ctx.target.has(Part::RequestIdExtension) {
        let config = weir_proto::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig {
            use_request_id_for_trace_sampling: Some(wire::boolv(true)),
            ..Default::default()
        };
        built.request_id_extension = Some(hcm::RequestIdExtension { typed_config: Some(wire::any(&config)) });
    }
    super::filter("envoy.filters.network.http_connection_manager", wire::any(&built))
}

/// What is said of the client's certificate in `x-forwarded-client-cert`.
fn client_certificates(built: &mut hcm::HttpConnectionManager, side: Side) {
    let mut details = manager::SetCurrentClientCertDetails {
        subject: Some(wire::boolv(true)),
        dns: true,
        uri: true,
        ..manager::SetCurrentClientCertDetails::default()
    };
    match side {
        Side::Outbound => return,
        Side::Inbound => {
            built.forward_client_cert_details = manager::ForwardClientCertDetails::AppendForward.into();
        }
        Side::Gateway => {
            built.forward_client_cert_details = manager::ForwardClientCertDetails::SanitizeSet.into();
            details.cert = true;
        }
    }
    built.set_current_client_cert_details = Some(details);
}

/// The HTTP filters in Istio's order.
fn filters(ctx: &Context<'_>, side: Side) -> Vec<hcm::HttpFilter> {
    let one = |name: &str, config: pb::Any| hcm::HttpFilter {
        name: name.to_owned(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..hcm::HttpFilter::default()
    };
    let mut filters = Vec::new();
    if ctx.target.has(Part::PeerMetadata) {
        filters.push(one("istio.metadata_exchange", peer_metadata(side)));
    }
    if ctx.target.has(Part::GrpcStats) {
        let stats = weir_proto::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig {
            emit_filter_state: true,
            per_method_stat_specifier: Some(
                weir_proto::envoy::extensions::filters::http::grpc_stats::v3::filter_config::PerMethodStatSpecifier::StatsForAllMethods(
                    wire::boolv(false),
                ),
            ),
            ..Default::default()
        };
        filters.push(one("envoy.filters.http.grpc_stats", wire::any(&stats)));
    }
    if side != Side::Inbound && ctx.target.has(Part::IstioAlpn) {
        filters.push(one("istio.alpn", wire::any(&alpn())));
    }
    filters.push(one(FAULT, wire::any_empty("envoy.extensions.filters.http.fault.v3.HTTPFault")));
    filters.push(one(CORS, wire::any_empty("envoy.extensions.filters.http.cors.v3.Cors")));
    if ctx.target.has(Part::IstioStats) {
        let config = weir_proto::stats::PluginConfig {
            // Clients choose the name that the mesh is asked by: it must not become a label.
            disable_host_header_fallback: side != Side::Outbound,
            ..Default::default()
        };
        filters.push(one("istio.stats", wire::any(&config)));
    }
    filters.push(one(
        "envoy.filters.http.router",
        wire::any_empty("envoy.extensions.filters.http.router.v3.Router"),
    ));
    filters
}

fn peer_metadata(side: Side) -> pb::Any {
    let empty = || wire::object([]);
    let discovery = wire::list(vec![
        wire::object([("istio_headers", empty())]),
        wire::object([("workload_discovery", empty())]),
    ]);
    let propagation = wire::list(vec![wire::object([("istio_headers", empty())])]);
    let (discover, propagate) = match side {
        Side::Inbound => ("downstream_discovery", "downstream_propagation"),
        Side::Outbound | Side::Gateway => ("upstream_discovery", "upstream_propagation"),
    };
    let config = wire::structure([(discover, discovery), (propagate, propagation)]);
    wire::typed_struct("io.istio.http.peer_metadata.Config", &config)
}

/// By which ALPN the sidecar of the other side is told what is spoken.
fn alpn() -> weir_proto::istio::envoy::config::filter::http::alpn::v2alpha1::FilterConfig {
    use weir_proto::istio::envoy::config::filter::http::alpn::v2alpha1 as config;
    let names = ["http/1.0", "http/1.1", "h2"];
    let overrides = names.iter().enumerate().map(|(index, name)| config::filter_config::AlpnOverride {
        upstream_protocol: i32::try_from(index).unwrap_or(0),
        alpn_override: vec![format!("istio-{name}"), "istio".to_owned(), (*name).to_owned()],
    });
    config::FilterConfig { alpn_override: overrides.collect() }
}
