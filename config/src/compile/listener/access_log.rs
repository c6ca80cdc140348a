//! The access log that connection managers and TCP proxies write.

use weir_proto::envoy::config::accesslog::v3 as accesslog;
use weir_proto::envoy::config::core::v3 as core;
use weir_proto::envoy::extensions::access_loggers::file::v3 as file;

use super::super::context::Context;
use super::super::wire;

/// Node metadata that names the file of the access log; empty for none.
const FILE_METADATA: &str = "ACCESS_LOG_FILE";
/// Where it goes when nothing is said.
const DEFAULT_FILE: &str = "/dev/stdout";

/// The fields of Istio's default text format, in order; a space between them, a newline at the end.
const FIELDS: &[&str] = &[
    "[%START_TIME%]",
    "\"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\"",
    "%RESPONSE_CODE%",
    "%RESPONSE_FLAGS%",
    "%RESPONSE_CODE_DETAILS%",
    "%CONNECTION_TERMINATION_DETAILS%",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\"",
    "%BYTES_RECEIVED%",
    "%BYTES_SENT%",
    "%DURATION%",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "\"%REQ(X-FORWARDED-FOR)%\"",
    "\"%REQ(USER-AGENT)%\"",
    "\"%REQ(X-REQUEST-ID)%\"",
    "\"%REQ(:AUTHORITY)%\"",
    "\"%UPSTREAM_HOST%\"",
    "%UPSTREAM_CLUSTER_RAW%",
    "%UPSTREAM_LOCAL_ADDRESS%",
    "%DOWNSTREAM_LOCAL_ADDRESS%",
    "%DOWNSTREAM_REMOTE_ADDRESS%",
    "%REQUESTED_SERVER_NAME%",
    "%ROUTE_NAME%",
];

/// The log of requests and connections.
pub(super) fn of_traffic(ctx: &Context<'_>) -> Vec<accesslog::AccessLog> {
    let path = ctx.node.metadata.get(FILE_METADATA).map_or(DEFAULT_FILE, String::as_str);
    if path.is_empty() {
        return Vec::new();
    }
    let text = format!("{}\n", FIELDS.join(" "));
    let source = core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text)),
        ..core::DataSource::default()
    };
    let format = core::SubstitutionFormatString {
        format: Some(core::substitution_format_string::Format::TextFormatSource(source)),
        ..core::SubstitutionFormatString::default()
    };
    let config = file::FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(file::file_access_log::AccessLogFormat::LogFormat(format)),
    };
    vec![accesslog::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: None,
        config_type: Some(accesslog::access_log::ConfigType::TypedConfig(wire::any(&config))),
    }]
}

/// The log of connections that no chain takes.
pub(super) fn of_listener(ctx: &Context<'_>) -> Vec<accesslog::AccessLog> {
    let flags = accesslog::ResponseFlagFilter { flags: vec!["NR".to_owned()] };
    let mut logs = of_traffic(ctx);
    for log in &mut logs {
        log.filter = Some(accesslog::AccessLogFilter {
            filter_specifier: Some(accesslog::access_log_filter::FilterSpecifier::ResponseFlagFilter(
                flags.clone(),
            )),
        });
    }
    logs
}
