//! Which HTTP version a cluster speaks.

use std::collections::HashMap;

use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::extensions::upstreams::http::v3 as upstream;
use weir_proto::google::protobuf as pb;

use super::super::context::Context;
use super::super::node::NodeKind;
use super::super::policy::Policy;
use super::super::protocol::Protocol;
use super::super::wire;
use crate::kinds::destination_rule::H2UpgradePolicy;

/// Key of the HTTP options among a cluster's typed options.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Which HTTP version a cluster speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upstream {
    /// HTTP/1.1, Envoy's default.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// What the client speaks.
    AsDownstream,
}

impl Upstream {
    /// The version for a port. Whether the client's version is kept for an undeclared port depends on the side:
    /// a gateway does not keep it.
    pub(super) fn of(ctx: &Context<'_>, protocol: Protocol, policy: &Policy<'_>, outbound: bool) -> Self {
        let http = policy.pool.and_then(|pool| pool.http.as_ref());
        let keep = http.and_then(|http| http.use_client_protocol.as_ref()).is_some_and(|keep| keep.value);
        if outbound && keep {
            return Self::AsDownstream;
        }
        let upgrade = http.and_then(|http| http.h2_upgrade_policy.as_ref()).map(|policy| policy.value);
        if protocol.is_http2() || (protocol.is_http() && upgrade == Some(H2UpgradePolicy::Upgrade)) {
            return Self::Http2;
        }
        if protocol == Protocol::Auto && ctx.node.kind == NodeKind::Sidecar {
            return Self::AsDownstream;
        }
        Self::Http1
    }

    /// The options that say so. For HTTP/1.1 they are the default, and said only beside other options.
    pub(super) fn message(self) -> upstream::HttpProtocolOptions {
        use upstream::http_protocol_options::explicit_http_config::ProtocolConfig;
        use upstream::http_protocol_options::{
            ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
        };
        let explicit = |config| {
            UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
        };
        let options = match self {
            Self::Http1 => {
                explicit(ProtocolConfig::HttpProtocolOptions(core::Http1ProtocolOptions::default()))
            }
            Self::Http2 => {
                explicit(ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions::default()))
            }
            Self::AsDownstream => {
                UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                    http_protocol_options: Some(core::Http1ProtocolOptions::default()),
                    http2_protocol_options: Some(core::Http2ProtocolOptions::default()),
                    ..UseDownstreamHttpConfig::default()
                })
            }
        };
        upstream::HttpProtocolOptions {
            upstream_protocol_options: Some(options),
            ..upstream::HttpProtocolOptions::default()
        }
    }
}

/// The options as a cluster holds them.
pub(super) fn options(http: &upstream::HttpProtocolOptions) -> HashMap<String, pb::Any> {
    HashMap::from([(HTTP_OPTIONS.to_owned(), wire::any(http))])
}
