//! `HttpConnectionManager`.

use super::{
    Cx, access_log, hcm_options as options, http_filters, local_reply, protocol, route_config, source, wkt,
};
use crate::base::Name;
use crate::base::ledger::At;
use crate::http::filter::router::RouterConfig;
use crate::model::http::{
    CodecType, ConnectionManager, EscapedSlashes, InternalAddresses, RequestIds, RouteSource, ServerHeader,
};
use crate::model::pushed::Pushed;
use crate::observe::metrics::Registry;
use std::time::Duration;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3 as proto;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as inner;

/// Envoy's default of `stream_idle_timeout`.
const STREAM_IDLE: Duration = Duration::from_secs(300);
/// Envoy's default of `drain_timeout`.
const DRAIN: Duration = Duration::from_secs(5);
/// Envoy's default of `delayed_close_timeout`.
const DELAYED_CLOSE: Duration = Duration::from_secs(1);
/// Envoy's default and largest value of `max_request_headers_kb`.
const HEADERS_KB: (u32, u32) = (60, 8192);

/// A connection manager on the listener with this prefix of statistics.
pub fn connection_manager(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &proto::HttpConnectionManager,
    listener: &Name,
) -> Option<ConnectionManager> {
    judge(at, message);
    let stat_prefix = at.non_empty("stat_prefix", &message.stat_prefix);
    let codec = codec(at, message.codec_type);
    let common =
        protocol::common(&at.field("common_http_protocol_options"), &message.common_http_protocol_options);
    let stream_error = wkt::flag(&message.stream_error_on_invalid_http_message, false);
    let filters = http_filters::chain(cx, at, "http_filters", &message.http_filters);
    let routes = routes(cx, at, message.route_specifier.as_ref());
    let strip_any = strips_any(at, message);
    let router = filters.iter().find_map(|filter| filter.config.downcast_ref::<RouterConfig>());
    let router = router.cloned().unwrap_or_default();
    let timeout = |field: &str, value: &Option<_>, default| wkt::timeout(at, field, value, default);
    let stat_prefix = stat_prefix?;
    Some(ConnectionManager {
        scope: Registry::global().scope(&format!("http.{stat_prefix}.")),
        stat_prefix: stat_prefix.into(),
        listener: listener.clone(),
        codec: codec?,
        routes: routes?,
        suppress_envoy_headers: router.suppress_envoy_headers,
        respect_expected_timeout: router.respect_expected_rq_timeout,
        filters,
        logs: access_log::logs(cx, at, "access_log", &message.access_log),
        use_remote_address: wkt::flag(&message.use_remote_address, false),
        xff_num_trusted_hops: message.xff_num_trusted_hops,
        skip_xff_append: message.skip_xff_append,
        internal: internal(at, &message.internal_address_config),
        via: Some(at.one_line("via", &message.via)).filter(|via| !via.is_empty()).map(Into::into),
        request_ids: RequestIds {
            generate: wkt::flag(&message.generate_request_id, true),
            preserve_external: message.preserve_external_request_id,
            in_response: message.always_set_request_id_in_response,
        },
        server_name: Some(at.one_line("server_name", &message.server_name))
            .filter(|name| !name.is_empty())
            .unwrap_or("envoy")
            .into(),
        server_header: server_header(at, message.server_header_transformation)?,
        add_user_agent: wkt::flag(&message.add_user_agent, false)
            .then(|| (cx.node.id.clone(), cx.node.cluster.clone())),
        client_cert: options::client_cert(at, message.forward_client_cert_details)?,
        append_x_forwarded_port: message.append_x_forwarded_port,
        scheme_override: message
            .scheme_header_transformation
            .as_ref()
            .and_then(|m| options::scheme(&at.field("scheme_header_transformation"), m)),
        normalize_path: message.normalize_path.as_ref().map_or_else(|| by_runtime(cx), |v| v.value),
        merge_slashes: message.merge_slashes,
        escaped_slashes: escaped(at, message.path_with_escaped_slashes_action)?,
        reject_fragment: options::guard(cx, "http_reject_path_with_fragment", true),
        strip_any_host_port: strip_any,
        strip_matching_host_port: message.strip_matching_host_port,
        strip_trailing_host_dot: message.strip_trailing_host_dot,
        underscores: common.underscores,
        proxy_100_continue: message.proxy_100_continue,
        max_request_headers: headers_limit(at, message),
        max_headers_count: common.max_headers_count,
        idle_timeout: common.idle_timeout,
        stream_idle_timeout: timeout("stream_idle_timeout", &message.stream_idle_timeout, Some(STREAM_IDLE)),
        request_timeout: timeout("request_timeout", &message.request_timeout, None),
        request_headers_timeout: timeout("request_headers_timeout", &message.request_headers_timeout, None),
        max_stream_duration: common.max_stream_duration,
        max_connection_duration: common.max_connection_duration,
        drain_timeout: wkt::duration(at, "drain_timeout", &message.drain_timeout).unwrap_or(DRAIN),
        delayed_close_timeout: timeout(
            "delayed_close_timeout",
            &message.delayed_close_timeout,
            Some(DELAYED_CLOSE),
        ),
        max_requests_per_connection: common.max_requests,
        http1: protocol::http1(
            &at.field("http_protocol_options"),
            &message.http_protocol_options,
            stream_error,
        ),
        http2: protocol::http2(&at.field("http2_protocol_options"), &message.http2_protocol_options),
        upgrades: options::upgrades(at, &message.upgrade_configs),
        local_replies: local_reply::config(cx, &at.field("local_reply_config"), &message.local_reply_config),
    })
}

/// Whether any port goes from the host, not only that of the listener.
fn strips_any(at: &At<'_>, message: &proto::HttpConnectionManager) -> bool {
    let any = matches!(&message.strip_port_mode, Some(inner::StripPortMode::StripAnyHostPort(true)));
    if any && message.strip_matching_host_port {
        at.bad("strip_port_mode", "and strip_matching_host_port may not both be set");
    }
    any
}

/// Bytes that the head of a request may have.
fn headers_limit(at: &At<'_>, message: &proto::HttpConnectionManager) -> usize {
    let (default, most) = HEADERS_KB;
    let kb = wkt::u32_in(at, "max_request_headers_kb", &message.max_request_headers_kb, default, 1, most);
    (kb as usize).saturating_mul(1024)
}

/// Every field is named here; those that are used elsewhere are read by [`connection_manager`].
fn judge(at: &At<'_>, message: &proto::HttpConnectionManager) {
    crate::ledger!(at, message => proto::HttpConnectionManager { tracing, access_log_options, request_id_extension, http3_protocol_options }
        elsewhere {
            codec_type, stat_prefix, http_filters, add_user_agent, common_http_protocol_options,
            http_protocol_options, http2_protocol_options, server_name, server_header_transformation,
            scheme_header_transformation, max_request_headers_kb, stream_idle_timeout, request_timeout,
            request_headers_timeout, drain_timeout, delayed_close_timeout, access_log, use_remote_address,
            xff_num_trusted_hops, internal_address_config, skip_xff_append, via, generate_request_id,
            preserve_external_request_id, always_set_request_id_in_response, forward_client_cert_details,
            proxy_100_continue, upgrade_configs, normalize_path, merge_slashes, path_with_escaped_slashes_action,
            local_reply_config, strip_matching_host_port, stream_error_on_invalid_http_message,
            strip_trailing_host_dot, append_x_forwarded_port, route_specifier, strip_port_mode }
        refuse { http1_safe_max_connection_duration, access_log_flush_interval, flush_access_log_on_new_request,
            original_ip_detection_extensions, early_header_mutation_extensions, forward_client_cert_matcher,
            represent_ipv4_remote_address_as_ipv4_mapped_ipv6, path_normalization_options, proxy_status_config,
            typed_header_validation_config, append_local_overload, forward_proto_config, stream_flush_timeout }
        ignore { set_current_client_cert_details, add_proxy_protocol_connection_state, drain_timeout_jitter });
    options::tracing(at, tracing);
    options::access_log_options(at, access_log_options);
    options::request_id_extension(at, request_id_extension);
    protocol::no_http3(at, "http3_protocol_options", http3_protocol_options.is_some());
}

fn by_runtime(cx: &Cx<'_>) -> bool {
    cx.runtime_u64("http_connection_manager.normalize_path").is_some_and(|percent| percent > 0)
}

fn codec(at: &At<'_>, value: i32) -> Option<CodecType> {
    match wkt::enumeration(at, "codec_type", value)? {
        inner::CodecType::Auto => Some(CodecType::Auto),
        inner::CodecType::Http1 => Some(CodecType::Http1),
        inner::CodecType::Http2 => Some(CodecType::Http2),
        inner::CodecType::Http3 => {
            at.field("codec_type").unsupported("HTTP3");
            None
        }
    }
}

fn server_header(at: &At<'_>, value: i32) -> Option<ServerHeader> {
    Some(match wkt::enumeration(at, "server_header_transformation", value)? {
        inner::ServerHeaderTransformation::Overwrite => ServerHeader::Overwrite,
        inner::ServerHeaderTransformation::AppendIfAbsent => ServerHeader::AppendIfAbsent,
        inner::ServerHeaderTransformation::PassThrough => ServerHeader::PassThrough,
    })
}

fn escaped(at: &At<'_>, value: i32) -> Option<EscapedSlashes> {
    use inner::PathWithEscapedSlashesAction as Action;
    Some(match wkt::enumeration(at, "path_with_escaped_slashes_action", value)? {
        Action::ImplementationSpecificDefault | Action::KeepUnchanged => EscapedSlashes::Keep,
        Action::RejectRequest => EscapedSlashes::Reject,
        Action::UnescapeAndRedirect => EscapedSlashes::Redirect,
        Action::UnescapeAndForward => EscapedSlashes::Forward,
    })
}

fn internal(at: &At<'_>, message: &Option<inner::InternalAddressConfig>) -> InternalAddresses {
    let Some(message) = message else { return InternalAddresses::default() };
    let at = &at.field("internal_address_config");
    crate::ledger!(at, message => inner::InternalAddressConfig { unix_sockets, cidr_ranges });
    InternalAddresses {
        unix_sockets: *unix_sockets,
        networks: super::address::networks(at, "cidr_ranges", cidr_ranges),
    }
}

fn routes(cx: &Cx<'_>, at: &At<'_>, specifier: Option<&inner::RouteSpecifier>) -> Option<RouteSource> {
    match at.required("route_specifier", specifier)? {
        inner::RouteSpecifier::RouteConfig(message) => {
            let config = route_config::route_config(cx, &at.field("route_config"), message, true)?;
            Some(RouteSource::Inline(config))
        }
        inner::RouteSpecifier::Rds(message) => {
            let at = &at.field("rds");
            crate::ledger!(at, message => proto::Rds { config_source, route_config_name });
            let (source, fetch) = source::pushed(&at.field("config_source"), config_source.as_ref());
            let name = at.non_empty("route_config_name", route_config_name)?.into();
            Some(RouteSource::Named(Pushed { name, source, fetch }))
        }
        inner::RouteSpecifier::ScopedRoutes(_) => {
            at.field("scoped_routes").unsupported("scoped routes");
            None
        }
    }
}
