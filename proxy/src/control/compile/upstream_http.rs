//! HTTP options towards the upstream: the extension `HttpProtocolOptions`, and the deprecated fields of the cluster.

use super::protocol::{self, Common};
use super::wkt;
use crate::base::ledger::At;
use crate::model::cluster::{UpstreamHttp, UpstreamProtocol};
use crate::model::http::{Http1Options, Http2Options};
use std::collections::HashMap;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::extensions::upstreams::http::v3 as proto;
use weir_proto::envoy::extensions::upstreams::http::v3::http_protocol_options as inner;
use weir_proto::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use weir_proto::google::protobuf::Any;

/// The key of the options in `typed_extension_protocol_options`.
const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Envoy's default response head limits.
const RESPONSE_HEAD_H1: usize = 80 * 1024;
const RESPONSE_HEAD: usize = 60 * 1024;

/// The deprecated fields of a cluster.
pub struct Deprecated<'a> {
    /// `common_http_protocol_options`
    pub common: &'a Option<core::HttpProtocolOptions>,
    /// `http_protocol_options`
    pub http1: &'a Option<core::Http1ProtocolOptions>,
    /// `http2_protocol_options`
    pub http2: &'a Option<core::Http2ProtocolOptions>,
    /// `upstream_http_protocol_options`
    pub upstream: &'a Option<core::UpstreamHttpProtocolOptions>,
    /// `protocol_selection` is USE_DOWNSTREAM_PROTOCOL.
    pub use_downstream: bool,
    /// `max_requests_per_connection`
    pub max_requests: Option<u32>,
}

/// The options of a cluster.
pub fn options(at: &At<'_>, extensions: &HashMap<String, Any>, old: &Deprecated<'_>) -> Option<UpstreamHttp> {
    let mut found = None;
    for (name, config) in extensions {
        let here = at.key("typed_extension_protocol_options", name);
        if name == KEY || wkt::is::<proto::HttpProtocolOptions>(config) {
            found = wkt::unpack::<proto::HttpProtocolOptions>(&here, config);
        } else {
            here.unsupported(&format!("the protocol options '{name}'"));
        }
    }
    match found {
        Some(message) => {
            let deprecated = old.common.is_some() || old.http1.is_some() || old.http2.is_some();
            if deprecated || old.use_downstream {
                at.key("typed_extension_protocol_options", KEY)
                    .error("may not be set together with the deprecated protocol fields of the cluster");
            }
            extension(&at.key("typed_extension_protocol_options", KEY), &message, old.max_requests)
        }
        None => Some(deprecated(at, old)),
    }
}

fn deprecated(at: &At<'_>, old: &Deprecated<'_>) -> UpstreamHttp {
    no_auto_sni(&at.field("upstream_http_protocol_options"), old.upstream);
    let protocol = if old.use_downstream {
        UpstreamProtocol::Downstream
    } else if old.http2.is_some() {
        UpstreamProtocol::Http2
    } else {
        UpstreamProtocol::Http1
    };
    let common = protocol::common(&at.field("common_http_protocol_options"), old.common);
    let http1 = protocol::http1(&at.field("http_protocol_options"), old.http1, false);
    let http2 = protocol::http2(&at.field("http2_protocol_options"), old.http2);
    build(protocol, &common, http1, http2, old.max_requests)
}

fn extension(
    at: &At<'_>,
    message: &proto::HttpProtocolOptions,
    max_requests: Option<u32>,
) -> Option<UpstreamHttp> {
    crate::ledger!(at, message => proto::HttpProtocolOptions { common_http_protocol_options,
        upstream_http_protocol_options, upstream_protocol_options }
        refuse { http_filters, header_validation_config, outlier_detection, request_mirror_policies, hash_policy,
            retry_policy });
    no_auto_sni(&at.field("upstream_http_protocol_options"), upstream_http_protocol_options);
    let common = protocol::common(&at.field("common_http_protocol_options"), common_http_protocol_options);
    let options = at.required("upstream_protocol_options", upstream_protocol_options.as_ref())?;
    let (protocol, http1, http2) = match options {
        inner::UpstreamProtocolOptions::ExplicitHttpConfig(message) => {
            explicit(&at.field("explicit_http_config"), message)?
        }
        inner::UpstreamProtocolOptions::UseDownstreamProtocolConfig(message) => {
            let here = at.field("use_downstream_protocol_config");
            crate::ledger!(here, message => inner::UseDownstreamHttpConfig { http_protocol_options,
                http2_protocol_options } refuse { http3_protocol_options });
            let http1 = protocol::http1(&here.field("http_protocol_options"), http_protocol_options, false);
            let http2 = protocol::http2(&here.field("http2_protocol_options"), http2_protocol_options);
            (UpstreamProtocol::Downstream, http1, http2)
        }
        inner::UpstreamProtocolOptions::AutoConfig(_) => {
            at.field("auto_config").lacks(
                "is not supported by this release (it needs TLS with ALPN)",
                "use explicit_http_config",
            );
            return None;
        }
    };
    Some(build(protocol, &common, http1, http2, common.max_requests.or(max_requests)))
}

fn explicit(
    at: &At<'_>,
    message: &inner::ExplicitHttpConfig,
) -> Option<(UpstreamProtocol, Http1Options, Http2Options)> {
    crate::ledger!(at, message => inner::ExplicitHttpConfig { protocol_config });
    match at.required("protocol_config", protocol_config.as_ref())? {
        ProtocolConfig::HttpProtocolOptions(message) => {
            let http1 = protocol::http1(&at.field("http_protocol_options"), &Some(message.clone()), false);
            Some((UpstreamProtocol::Http1, http1, Http2Options::default()))
        }
        ProtocolConfig::Http2ProtocolOptions(message) => {
            let http2 = protocol::http2(&at.field("http2_protocol_options"), &Some(message.clone()));
            Some((UpstreamProtocol::Http2, Http1Options::default(), http2))
        }
        ProtocolConfig::Http3ProtocolOptions(_) => {
            at.field("http3_protocol_options").unsupported("HTTP/3");
            None
        }
    }
}

fn build(
    protocol: UpstreamProtocol,
    common: &Common,
    http1: Http1Options,
    http2: Http2Options,
    max_requests: Option<u32>,
) -> UpstreamHttp {
    let head = if protocol == UpstreamProtocol::Http1 { RESPONSE_HEAD_H1 } else { RESPONSE_HEAD };
    UpstreamHttp {
        protocol,
        idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        max_requests_per_connection: common.max_requests.or(max_requests),
        max_stream_duration: common.max_stream_duration,
        max_headers_count: common.max_headers_count,
        max_response_headers: common.max_response_headers.unwrap_or(head),
        http1,
        http2,
    }
}

/// SNI and SAN from Host mean something with TLS only.
fn no_auto_sni(at: &At<'_>, message: &Option<core::UpstreamHttpProtocolOptions>) {
    let Some(message) = message else { return };
    crate::ledger!(at, message => core::UpstreamHttpProtocolOptions {}
        ignore { auto_sni, auto_san_validation, override_auto_sni_header });
}
