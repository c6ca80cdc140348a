//! Access logs: sinks, and the filters that say what is logged.

use super::{Cx, matcher, wkt};
use crate::base::ledger::At;
use crate::failure::FLAGS;
use crate::model::http::{ReplyTest, StatusTest};
use crate::observe::log::AccessLog;
use std::sync::Arc;
use weir_proto::envoy::config::accesslog::v3 as proto;
use weir_proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use weir_proto::envoy::config::accesslog::v3::comparison_filter::Op;
use weir_proto::envoy::config::core::v3::RuntimeUInt32;

/// The access logs of one place.
pub fn logs(_cx: &Cx<'_>, at: &At<'_>, field: &str, list: &[proto::AccessLog]) -> Box<[Arc<AccessLog>]> {
    at.refuse(field, !list.is_empty());
    Box::default()
}

/// A filter of a local reply's mapper.
pub fn reply_test(cx: &Cx<'_>, at: &At<'_>, message: &proto::AccessLogFilter) -> Option<ReplyTest> {
    crate::ledger!(at, message => proto::AccessLogFilter { filter_specifier });
    let all = |field: &str, filters: &[proto::AccessLogFilter]| -> Option<Box<[ReplyTest]>> {
        let here = at.field(field);
        if filters.len() < 2 {
            here.bad("filters", "must have at least two entries");
        }
        filters.iter().enumerate().map(|(i, m)| reply_test(cx, &here.item("filters", i), m)).collect()
    };
    Some(match at.required("filter_specifier", filter_specifier.as_ref())? {
        FilterSpecifier::StatusCodeFilter(message) => {
            let here = at.field("status_code_filter");
            let proto::StatusCodeFilter { comparison } = message;
            let comparison = here.required("comparison", comparison.as_ref())?;
            let (test, value) = comparison_of(cx, &here.field("comparison"), comparison)?;
            ReplyTest::Status(test, u16::try_from(value).unwrap_or(u16::MAX))
        }
        FilterSpecifier::ResponseFlagFilter(proto::ResponseFlagFilter { flags: names }) => {
            ReplyTest::Flags(flags(&at.field("response_flag_filter"), names))
        }
        FilterSpecifier::HeaderFilter(proto::HeaderFilter { header }) => {
            let here = at.field("header_filter");
            let header = here.required("header", header.as_ref())?;
            ReplyTest::Header(matcher::header(cx, &here.field("header"), header)?)
        }
        FilterSpecifier::AndFilter(proto::AndFilter { filters }) => ReplyTest::And(all("and_filter", filters)?),
        FilterSpecifier::OrFilter(proto::OrFilter { filters }) => ReplyTest::Or(all("or_filter", filters)?),
        other => {
            at.unsupported(&format!("a mapper's filter of kind {}", kind(other)));
            return None;
        }
    })
}

fn kind(specifier: &FilterSpecifier) -> &'static str {
    match specifier {
        FilterSpecifier::StatusCodeFilter(_) => "status_code_filter",
        FilterSpecifier::DurationFilter(_) => "duration_filter",
        FilterSpecifier::NotHealthCheckFilter(_) => "not_health_check_filter",
        FilterSpecifier::TraceableFilter(_) => "traceable_filter",
        FilterSpecifier::RuntimeFilter(_) => "runtime_filter",
        FilterSpecifier::AndFilter(_) => "and_filter",
        FilterSpecifier::OrFilter(_) => "or_filter",
        FilterSpecifier::HeaderFilter(_) => "header_filter",
        FilterSpecifier::ResponseFlagFilter(_) => "response_flag_filter",
        FilterSpecifier::GrpcStatusFilter(_) => "grpc_status_filter",
        FilterSpecifier::ExtensionFilter(_) => "extension_filter",
        FilterSpecifier::MetadataFilter(_) => "metadata_filter",
        FilterSpecifier::LogTypeFilter(_) => "log_type_filter",
    }
}

/// A comparison with its value: the runtime's, else the default.
pub fn comparison_of(cx: &Cx<'_>, at: &At<'_>, message: &proto::ComparisonFilter) -> Option<(StatusTest, u32)> {
    crate::ledger!(at, message => proto::ComparisonFilter { op, value });
    let test = match wkt::enumeration::<Op>(at, "op", *op)? {
        Op::Eq => StatusTest::Equal,
        Op::Ge => StatusTest::AtLeast,
        Op::Le => StatusTest::AtMost,
        Op::Ne => StatusTest::NotEqual,
    };
    let RuntimeUInt32 { default_value, runtime_key } = at.required("value", value.as_ref())?;
    if runtime_key.is_empty() {
        at.field("value").bad("runtime_key", "must not be empty");
    }
    let by_runtime = cx.runtime_u64(runtime_key).and_then(|v| u32::try_from(v).ok());
    Some((test, by_runtime.unwrap_or(*default_value)))
}

/// Response flags by their short names.
pub fn flags(at: &At<'_>, names: &[String]) -> Box<[crate::failure::Flag]> {
    let one = |(i, name): (usize, &String)| {
        let found = FLAGS.iter().find(|row| row.1 == name).map(|row| row.0);
        if found.is_none() {
            at.item("flags", i).error(format!("'{name}' is no response flag"));
        }
        found
    };
    names.iter().enumerate().filter_map(one).collect()
}
