//! Smaller options of the connection manager.

use super::{Cx, action_parts, wkt};
use crate::base::ledger::At;
use crate::model::http::ClientCert;
use weir_proto::envoy::config::core::v3::SchemeHeaderTransformation;
use weir_proto::envoy::config::core::v3::scheme_header_transformation::Transformation;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3 as proto;
use weir_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as inner;
use weir_proto::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;

/// A runtime guard (`envoy.reloadable_features.<name>`).
pub fn guard(cx: &Cx<'_>, name: &str, default: bool) -> bool {
    match cx.runtime(&format!("envoy.reloadable_features.{name}")) {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        _ => default,
    }
}

/// Trace headers pass untouched; spans are not made, so that a provider cannot be obeyed.
pub fn tracing(at: &At<'_>, message: &Option<inner::Tracing>) {
    let Some(message) = message else { return };
    let at = &at.field("tracing");
    crate::ledger!(at, message => inner::Tracing { provider }
        ignore { client_sampling, random_sampling, overall_sampling, verbose, max_path_tag_length, custom_tags,
            spawn_upstream_span, operation, upstream_operation, no_context_propagation });
    if provider.is_some() {
        at.field("provider").unsupported("a tracing provider");
    }
}

/// Log lines are written at the end of a stream only.
pub fn access_log_options(at: &At<'_>, message: &Option<inner::HcmAccessLogOptions>) {
    let Some(message) = message else { return };
    let at = &at.field("access_log_options");
    crate::ledger!(at, message => inner::HcmAccessLogOptions {}
        refuse { access_log_flush_interval, flush_access_log_on_new_request,
            flush_log_on_tunnel_successfully_established });
}

/// Request ids are UUIDs.
pub fn request_id_extension(at: &At<'_>, message: &Option<proto::RequestIdExtension>) -> Option<()> {
    let message = message.as_ref()?;
    let at = &at.field("request_id_extension");
    crate::ledger!(at, message => proto::RequestIdExtension { typed_config });
    let any = at.required("typed_config", typed_config.as_ref())?;
    let here = at.field("typed_config");
    let config = &wkt::unpack::<UuidRequestIdConfig>(&here, any)?;
    crate::ledger!(here, config => UuidRequestIdConfig {}
        ignore { pack_trace_reason, use_request_id_for_trace_sampling });
    Some(())
}

/// Treatment of the client certificate header.
pub fn client_cert(at: &At<'_>, value: i32) -> Option<ClientCert> {
    use inner::ForwardClientCertDetails as Details;
    Some(match wkt::enumeration(at, "forward_client_cert_details", value)? {
        Details::Sanitize => ClientCert::Sanitize,
        Details::ForwardOnly => ClientCert::ForwardOnly,
        Details::AppendForward => ClientCert::AppendForward,
        Details::SanitizeSet => ClientCert::SanitizeSet,
        Details::AlwaysForwardOnly => ClientCert::AlwaysForwardOnly,
    })
}

/// `http` or `https` in place of the received scheme.
pub fn scheme(at: &At<'_>, message: &SchemeHeaderTransformation) -> Option<Box<str>> {
    crate::ledger!(at, message => SchemeHeaderTransformation { transformation } refuse { match_upstream });
    let Transformation::SchemeToOverwrite(scheme) = transformation.as_ref()?;
    if scheme != "http" && scheme != "https" {
        at.bad("scheme_to_overwrite", format!("is '{scheme}', must be 'http' or 'https'"));
        return None;
    }
    Some(scheme.as_str().into())
}

/// Upgrade types.
pub fn upgrades(at: &At<'_>, list: &[inner::UpgradeConfig]) -> Box<[(Box<str>, bool)]> {
    let one = |(i, message): (usize, &inner::UpgradeConfig)| {
        let here = at.item("upgrade_configs", i);
        crate::ledger!(here, message => inner::UpgradeConfig { upgrade_type, enabled } refuse { filters });
        action_parts::upgrade(&here, upgrade_type, wkt::flag(enabled, true))
    };
    action_parts::unique(at, list.iter().enumerate().filter_map(one).collect())
}
