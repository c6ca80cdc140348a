//! `istio.alpn`: which protocols are offered to the upstream's TLS, by the version of HTTP that goes there. Without
//! TLS there is nothing to offer: the settings are judged, and the filter does nothing.

use super::{Factory, decode};
use crate::base::ledger::At;
use crate::model::plugin::Compile;
use std::any::Any;
use std::sync::Arc;
use weir_proto::istio::envoy::config::filter::http::alpn::v2alpha1::FilterConfig;
use weir_proto::istio::envoy::config::filter::http::alpn::v2alpha1::filter_config::{AlpnOverride, Protocol};

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
    name: "istio.alpn",
    terminal: false,
    config: compile,
    route_config: None,
    run: None,
};

/// Longest ALPN protocol (RFC 7301 section 3.1).
const MAX_PROTOCOL: usize = 255;

/// Nothing of it is obeyed before there is TLS.
#[derive(Debug)]
struct Config;

fn compile(_: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    let FilterConfig { alpn_override } = &decode::<FilterConfig>(at, bytes)?;
    for (i, message) in alpn_override.iter().enumerate() {
        let here = at.item("alpn_override", i);
        crate::ledger!(here, message => AlpnOverride { upstream_protocol, alpn_override });
        if Protocol::try_from(*upstream_protocol).is_err() {
            here.bad("upstream_protocol", format!("unknown enum value {upstream_protocol}"));
        }
        for (k, protocol) in alpn_override.iter().enumerate() {
            if protocol.is_empty() || protocol.len() > MAX_PROTOCOL {
                here.item("alpn_override", k).error(format!("must have 1 to {MAX_PROTOCOL} bytes"));
            }
        }
    }
    Some(Arc::new(Config))
}
