//! Access logs: sinks, formats, and the filters that say what is logged.

use super::{Cx, format, matcher, metadata, wkt};
use crate::base::ledger::At;
use crate::failure::FLAGS;
use crate::model::http::{ReplyTest, StatusTest};
use crate::observe::format::{DEFAULT, Format, FormatError};
use crate::observe::log::{AccessLog, Compare, Filter, HeaderPredicate, Sink};
use std::path::Path;
use std::sync::Arc;
use weir_proto::any;
use weir_proto::envoy::config::accesslog::v3 as proto;
use weir_proto::envoy::config::accesslog::v3::access_log::ConfigType;
use weir_proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use weir_proto::envoy::config::accesslog::v3::comparison_filter::Op;
use weir_proto::envoy::config::accesslog::v3::extension_filter::ConfigType as ExtensionConfig;
use weir_proto::envoy::config::core::v3::{RuntimeUInt32, SubstitutionFormatString};
use weir_proto::envoy::extensions::access_loggers::file::v3 as file;
use weir_proto::envoy::extensions::access_loggers::file::v3::file_access_log::AccessLogFormat as FileFormat;
use weir_proto::envoy::extensions::access_loggers::stream::v3 as stream;
use weir_proto::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};

/// The access logs of one place.
pub fn logs(cx: &Cx<'_>, at: &At<'_>, field: &str, list: &[proto::AccessLog]) -> Box<[Arc<AccessLog>]> {
    list.iter().enumerate().filter_map(|(i, message)| log(cx, &at.item(field, i), message)).collect()
}

fn log(cx: &Cx<'_>, at: &At<'_>, message: &proto::AccessLog) -> Option<Arc<AccessLog>> {
    crate::ledger!(at, message => proto::AccessLog { name, filter, config_type });
    let filter = match filter {
        Some(message) => Some(log_filter(cx, &at.field("filter"), message)?),
        None => None,
    };
    let ConfigType::TypedConfig(config) = at.required("typed_config", config_type.as_ref())?;
    let here = at.field("typed_config");
    let (sink, format) = if wkt::is::<file::FileAccessLog>(config) {
        file_log(&here, &wkt::unpack(&here, config)?)?
    } else if wkt::is::<stream::StdoutAccessLog>(config) {
        let stream::StdoutAccessLog { access_log_format } = wkt::unpack(&here, config)?;
        let stream::stdout_access_log::AccessLogFormat::LogFormat(message) =
            access_log_format.unwrap_or_else(default_out);
        (Sink::stdout(), stream_format(&here, &message)?)
    } else if wkt::is::<stream::StderrAccessLog>(config) {
        let stream::StderrAccessLog { access_log_format } = wkt::unpack(&here, config)?;
        let stream::stderr_access_log::AccessLogFormat::LogFormat(message) =
            access_log_format.unwrap_or_else(default_err);
        (Sink::stderr(), stream_format(&here, &message)?)
    } else {
        here.unsupported(&format!("the access log '{name}' of type '{}'", any::type_name(config)));
        return None;
    };
    Some(Arc::new(AccessLog::new(sink, format, filter)))
}

fn default_out() -> stream::stdout_access_log::AccessLogFormat {
    stream::stdout_access_log::AccessLogFormat::LogFormat(SubstitutionFormatString::default())
}

fn default_err() -> stream::stderr_access_log::AccessLogFormat {
    stream::stderr_access_log::AccessLogFormat::LogFormat(SubstitutionFormatString::default())
}

/// An empty message stands for Envoy's default line.
fn stream_format(at: &At<'_>, message: &SubstitutionFormatString) -> Option<Format> {
    if message.format.is_none() {
        return reported(at, Format::parse(DEFAULT));
    }
    format::line(&at.field("log_format"), message)
}

fn file_log(at: &At<'_>, message: &file::FileAccessLog) -> Option<(Arc<Sink>, Format)> {
    crate::ledger!(at, message => file::FileAccessLog { path, access_log_format });
    let path = at.non_empty("path", path)?;
    #[allow(deprecated)]
    let format = match access_log_format {
        None => reported(at, Format::parse(DEFAULT))?,
        Some(FileFormat::Format(text)) if text.is_empty() => reported(at, Format::parse(DEFAULT))?,
        Some(FileFormat::Format(text)) => reported(&at.field("format"), Format::parse(text))?,
        Some(FileFormat::JsonFormat(message)) => {
            reported(&at.field("json_format"), Format::parse_json(&metadata::structure(message)))?
        }
        Some(FileFormat::TypedJsonFormat(message)) => {
            reported(&at.field("typed_json_format"), Format::parse_json(&metadata::structure(message)))?
        }
        Some(FileFormat::LogFormat(message)) => format::line(&at.field("log_format"), message)?,
    };
    let sink = match path {
        "/dev/stdout" => Sink::stdout(),
        "/dev/stderr" => Sink::stderr(),
        path => match Sink::file(Path::new(path)) {
            Ok(sink) => sink,
            Err(error) => {
                at.bad("path", format!("unable to open file '{path}': {error}"));
                return None;
            }
        },
    };
    Some((sink, format))
}

fn reported(at: &At<'_>, result: Result<Format, FormatError>) -> Option<Format> {
    result.map_err(|error| at.error(error.to_string())).ok()
}

/// Which records are written.
fn log_filter(cx: &Cx<'_>, at: &At<'_>, message: &proto::AccessLogFilter) -> Option<Filter> {
    crate::ledger!(at, message => proto::AccessLogFilter { filter_specifier });
    let all = |field: &str, filters: &[proto::AccessLogFilter]| -> Option<Box<[Filter]>> {
        let here = at.field(field);
        if filters.len() < 2 {
            here.bad("filters", "must have at least two entries");
        }
        filters.iter().enumerate().map(|(i, m)| log_filter(cx, &here.item("filters", i), m)).collect()
    };
    Some(match at.required("filter_specifier", filter_specifier.as_ref())? {
        FilterSpecifier::StatusCodeFilter(proto::StatusCodeFilter { comparison }) => {
            let (compare, value) = compared(cx, &at.field("status_code_filter"), comparison.as_ref())?;
            Filter::Status(compare, u16::try_from(value).unwrap_or(u16::MAX))
        }
        FilterSpecifier::DurationFilter(proto::DurationFilter { comparison }) => {
            let (compare, value) = compared(cx, &at.field("duration_filter"), comparison.as_ref())?;
            Filter::Duration(compare, u64::from(value))
        }
        FilterSpecifier::NotHealthCheckFilter(_) => Filter::NotHealthCheck,
        FilterSpecifier::ResponseFlagFilter(proto::ResponseFlagFilter { flags: names }) => {
            Filter::ResponseFlags(flags(&at.field("response_flag_filter"), names))
        }
        FilterSpecifier::HeaderFilter(proto::HeaderFilter { header }) => {
            let here = at.field("header_filter");
            let header = here.required("header", header.as_ref())?;
            let test = matcher::header(cx, &here.field("header"), header)?;
            Filter::Header(HeaderPredicate::new(move |headers| test.matches(headers)))
        }
        FilterSpecifier::RuntimeFilter(message) => sampled(cx, &at.field("runtime_filter"), message)?,
        FilterSpecifier::GrpcStatusFilter(proto::GrpcStatusFilter { statuses, exclude }) => {
            let all = statuses.iter().map(|status| u32::try_from(*status).unwrap_or(u32::MAX));
            Filter::GrpcStatus { statuses: all.collect(), exclude: *exclude }
        }
        FilterSpecifier::AndFilter(proto::AndFilter { filters }) => Filter::And(all("and_filter", filters)?),
        FilterSpecifier::OrFilter(proto::OrFilter { filters }) => Filter::Or(all("or_filter", filters)?),
        FilterSpecifier::ExtensionFilter(message) => {
            let kind = match &message.config_type {
                Some(ExtensionConfig::TypedConfig(config)) => any::type_name(config),
                None => message.name.as_str(),
            };
            at.field("extension_filter").unsupported(&format!("the access log filter '{kind}'"));
            return None;
        }
        other => {
            at.field(kind(other)).unsupported("this access log filter");
            return None;
        }
    })
}

fn compared(cx: &Cx<'_>, at: &At<'_>, message: Option<&proto::ComparisonFilter>) -> Option<(Compare, u32)> {
    let message = at.required("comparison", message)?;
    let (test, value) = comparison_of(cx, &at.field("comparison"), message)?;
    let compare = match test {
        StatusTest::Equal => Compare::Equal,
        StatusTest::AtLeast => Compare::AtLeast,
        StatusTest::AtMost => Compare::AtMost,
        StatusTest::NotEqual => Compare::NotEqual,
    };
    Some((compare, value))
}

/// A share of the records; a runtime key replaces the numerator.
fn sampled(cx: &Cx<'_>, at: &At<'_>, message: &proto::RuntimeFilter) -> Option<Filter> {
    crate::ledger!(at, message => proto::RuntimeFilter { runtime_key, percent_sampled, use_independent_randomness });
    let key = at.non_empty("runtime_key", runtime_key)?;
    let FractionalPercent { numerator, denominator } = percent_sampled.unwrap_or_default();
    let denominator = match wkt::enumeration(&at.field("percent_sampled"), "denominator", denominator)? {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    let by_runtime = cx.runtime_u64(key).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let numerator = by_runtime.unwrap_or(numerator);
    Some(Filter::Fraction { numerator, denominator, independent: *use_independent_randomness })
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
        FilterSpecifier::AndFilter(proto::AndFilter { filters }) => {
            ReplyTest::And(all("and_filter", filters)?)
        }
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
pub fn comparison_of(
    cx: &Cx<'_>,
    at: &At<'_>,
    message: &proto::ComparisonFilter,
) -> Option<(StatusTest, u32)> {
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
