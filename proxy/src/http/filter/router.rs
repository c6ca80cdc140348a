//! `envoy.filters.http.router`: the end of the chain; forwarding itself is in `http/forward`.

use super::{Factory, decode};
use crate::base::ledger::At;
use crate::model::plugin::Compile;
use std::any::Any;
use std::sync::Arc;
use weir_proto::envoy::extensions::filters::http::router::v3::Router;

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "envoy.extensions.filters.http.router.v3.Router",
    name: "envoy.filters.http.router",
    terminal: true,
    config: compile,
    route_config: None,
    run: None,
};

/// The router's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterConfig {
    /// No `x-envoy-*` headers of the router's own.
    pub suppress_envoy_headers: bool,
    /// Take `x-envoy-expected-rq-timeout-ms` of the request as the timeout.
    pub respect_expected_rq_timeout: bool,
}

fn compile(_: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    let message = &decode::<Router>(at, bytes)?;
    crate::ledger!(at, message => Router { suppress_envoy_headers, respect_expected_rq_timeout,
        reject_connect_request_early_data }
        refuse { upstream_log, upstream_log_options, strict_check_headers, upstream_http_filters }
        ignore { dynamic_stats, start_child_span, suppress_grpc_request_failure_code_stats });
    at.refuse(
        "reject_connect_request_early_data",
        reject_connect_request_early_data.as_ref().is_some_and(|v| v.value),
    );
    Some(Arc::new(RouterConfig {
        suppress_envoy_headers: *suppress_envoy_headers,
        respect_expected_rq_timeout: *respect_expected_rq_timeout,
    }))
}
