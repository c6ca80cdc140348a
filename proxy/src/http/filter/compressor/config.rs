//! The compressor's configuration, of the chain and of routes.

use super::library::{Brotli, Library, Mode, Zstd};
use crate::base::headers::HeaderBlock;
use crate::base::ledger::At;
use crate::base::names::Id;
use crate::http::filter::decode;
use crate::model::matcher::StringMatch;
use crate::model::plugin::{Compile, RouteFilterConfig};
use crate::observe::metrics::sanitized;
use prost::Message;
use std::any::Any;
use std::sync::Arc;
use weir_proto::any;
use weir_proto::envoy::config::core::v3::{RuntimeFeatureFlag, TypedExtensionConfig};
use weir_proto::envoy::extensions::compression::brotli::compressor::v3::{Brotli as BrotliProto, brotli};
use weir_proto::envoy::extensions::compression::gzip::compressor::v3::{Gzip as GzipProto, gzip};
use weir_proto::envoy::extensions::compression::zstd::compressor::v3::{Zstd as ZstdProto, zstd};
use weir_proto::envoy::extensions::filters::http::compressor::v3 as proto;
use weir_proto::envoy::extensions::filters::http::compressor::v3::compressor_per_route::Override;
use weir_proto::google::protobuf::{BoolValue, UInt32Value};

/// Least length of a body that is compressed, when none is configured.
const DEFAULT_MIN_LENGTH: u64 = 30;

/// Content types that are compressed, when none are configured.
const DEFAULT_TYPES: [&str; 20] = [
    "text/html",
    "text/plain",
    "text/css",
    "application/javascript",
    "application/x-javascript",
    "text/javascript",
    "text/x-javascript",
    "text/ecmascript",
    "text/js",
    "text/jscript",
    "text/x-js",
    "application/ecmascript",
    "application/x-json",
    "application/xml",
    "application/json",
    "image/svg+xml",
    "text/xml",
    "application/xhtml+xml",
    "application/grpc-web",
    "application/grpc-web+proto",
];

/// Which content types are compressed.
#[derive(Clone, Debug)]
enum Types {
    Named(Box<[Box<str>]>),
    Matching(Box<[StringMatch]>),
}

/// What holds for one direction.
#[derive(Clone, Debug)]
pub(super) struct Direction {
    pub(super) enabled: bool,
    pub(super) min_length: u64,
    types: Types,
}

impl Direction {
    /// Is content of this type compressed? What has no type is.
    pub(super) fn takes_type(&self, headers: &HeaderBlock) -> bool {
        let Some(value) = headers.get(Id::ContentType) else { return true };
        let kind = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        match &self.types {
            Types::Named(names) => names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(kind)),
            Types::Matching(tests) => tests.iter().any(|test| test.matches(kind)),
        }
    }
}

/// The filter's configuration.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// `compressor.<library>.<kind>.` in statistics.
    pub(super) prefix: Box<str>,
    /// Behind it, for responses.
    pub(super) response_prefix: &'static str,
    pub(super) library: Library,
    /// None: requests pass as they are.
    pub(super) request: Option<Direction>,
    pub(super) response: Direction,
    pub(super) disable_on_etag: bool,
    pub(super) weaken_etag: bool,
    pub(super) remove_accept_encoding: bool,
    /// Status codes of responses that are never compressed.
    pub(super) not_these: Box<[u32]>,
    pub(super) choose_first: bool,
}

/// What a route says.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteConfig {
    pub(super) response: Option<bool>,
    pub(super) remove_accept_encoding: Option<bool>,
    pub(super) library: Option<Library>,
}

pub(super) fn compile(cx: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    let message = &decode::<proto::Compressor>(at, bytes)?;
    crate::ledger!(at, message => proto::Compressor { content_length, content_type, disable_on_etag_header,
        remove_accept_encoding_header, runtime_enabled, compressor_library, request_direction_config,
        response_direction_config, choose_first });
    let library = at.required("compressor_library", compressor_library.as_ref());
    let library = library.and_then(|message| named_library(&at.field("compressor_library"), message));
    let request = match request_direction_config {
        Some(message) => {
            let here = at.field("request_direction_config");
            crate::ledger!(here, message => proto::compressor::RequestDirectionConfig { common_config });
            Some(direction(cx, &here, common_config.as_ref())?)
        }
        None => None,
    };
    let old = proto::compressor::ResponseDirectionConfig {
        common_config: Some(common(runtime_enabled.clone(), *content_length, content_type.clone())),
        disable_on_etag_header: *disable_on_etag_header,
        remove_accept_encoding_header: *remove_accept_encoding_header,
        ..Default::default()
    };
    // The older fields count for nothing beside the newer message.
    let (message, response_prefix) = match response_direction_config {
        Some(message) => (message, "response."),
        None => (&old, ""),
    };
    let here = at.field("response_direction_config");
    crate::ledger!(here, message => proto::compressor::ResponseDirectionConfig { common_config,
        disable_on_etag_header, weaken_etag_on_compress, remove_accept_encoding_header,
        uncompressible_response_codes } refuse { status_header_enabled });
    for (i, code) in uncompressible_response_codes.iter().enumerate() {
        if !(200..600).contains(code) {
            here.item("uncompressible_response_codes", i)
                .error(format!("is {code}, must be between 200 and 599"));
        }
    }
    let response = direction(cx, &here, common_config.as_ref())?;
    let (name, library) = library?;
    Some(Arc::new(Config {
        prefix: format!("compressor.{}.{}.", sanitized(name), library.stat_name()).into(),
        response_prefix,
        library,
        request,
        response,
        disable_on_etag: *disable_on_etag_header,
        weaken_etag: *weaken_etag_on_compress,
        remove_accept_encoding: *remove_accept_encoding_header,
        not_these: uncompressible_response_codes.clone().into(),
        choose_first: *choose_first,
    }))
}

#[allow(deprecated)]
fn common(
    enabled: Option<RuntimeFeatureFlag>,
    min_content_length: Option<UInt32Value>,
    content_type: Vec<String>,
) -> proto::compressor::CommonDirectionConfig {
    let content_type_matcher = Vec::new();
    proto::compressor::CommonDirectionConfig {
        enabled,
        min_content_length,
        content_type,
        content_type_matcher,
    }
}

fn direction(
    cx: &dyn Compile,
    at: &At<'_>,
    message: Option<&proto::compressor::CommonDirectionConfig>,
) -> Option<Direction> {
    let (at, absent) = (&at.field("common_config"), common(None, None, Vec::new()));
    let message = message.unwrap_or(&absent);
    crate::ledger!(at, message => proto::compressor::CommonDirectionConfig { enabled, min_content_length,
        content_type, content_type_matcher });
    let enabled = match enabled {
        Some(flag) => cx.runtime_flag(&at.field("enabled"), &flag.encode_to_vec())?,
        None => true,
    };
    let names = |list: &mut dyn Iterator<Item = &str>| Types::Named(list.map(Box::from).collect());
    let tests = content_type_matcher.iter().enumerate();
    let tests = tests
        .filter_map(|(i, test)| cx.string_match(&at.item("content_type_matcher", i), &test.encode_to_vec()));
    let types = match (content_type_matcher.is_empty(), content_type.is_empty()) {
        (false, _) => Types::Matching(tests.collect()),
        (true, false) => names(&mut content_type.iter().map(String::as_str)),
        (true, true) => names(&mut DEFAULT_TYPES.into_iter()),
    };
    let least = min_content_length.as_ref().map(|v| u64::from(v.value)).filter(|least| *least > 0);
    Some(Direction { enabled, min_length: least.unwrap_or(DEFAULT_MIN_LENGTH), types })
}

pub(super) fn compile_route(_: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<RouteFilterConfig> {
    let message = &decode::<proto::CompressorPerRoute>(at, bytes)?;
    crate::ledger!(at, message => proto::CompressorPerRoute { r#override });
    let message = match at.required("override", r#override.as_ref())? {
        Override::Disabled(disabled) => {
            if !disabled {
                at.bad("disabled", "must be true");
            }
            return Some(Arc::new(RouteConfig { response: Some(false), ..RouteConfig::default() }));
        }
        Override::Overrides(message) => message,
    };
    let at = &at.field("overrides");
    crate::ledger!(at, message => proto::CompressorOverrides { response_direction_config, compressor_library });
    let mut found = RouteConfig::default();
    if let Some(message) = response_direction_config {
        crate::ledger!(at, message => proto::ResponseDirectionOverrides { remove_accept_encoding_header });
        found.response = Some(true);
        found.remove_accept_encoding = remove_accept_encoding_header.as_ref().map(|v: &BoolValue| v.value);
    }
    if let Some(message) = compressor_library {
        found.library = Some(named_library(&at.field("compressor_library"), message)?.1);
    }
    Some(Arc::new(found))
}

fn named_library<'m>(at: &At<'_>, message: &'m TypedExtensionConfig) -> Option<(&'m str, Library)> {
    crate::ledger!(at, message => TypedExtensionConfig { name, typed_config });
    let name = at.non_empty("name", name)?;
    let config = at.required("typed_config", typed_config.as_ref())?;
    let here = at.field("typed_config");
    let library = match any::type_name(config) {
        "envoy.extensions.compression.gzip.compressor.v3.Gzip" => gzip(&here, &config.value)?,
        "envoy.extensions.compression.brotli.compressor.v3.Brotli" => brotli(&here, &config.value)?,
        "envoy.extensions.compression.zstd.compressor.v3.Zstd" => zstd(&here, &config.value)?,
        other => {
            here.unsupported(&format!("the compressor library of type '{other}'"));
            return None;
        }
    };
    Some((name, library))
}

/// A number inside `low..=high`.
fn number(at: &At<'_>, field: &str, value: &Option<UInt32Value>, default: u32, low: u32, high: u32) -> u32 {
    let value = value.as_ref().map_or(default, |v| v.value);
    if !(low..=high).contains(&value) {
        at.bad(field, format!("is {value}, must be between {low} and {high}"));
    }
    value
}

fn known<E: TryFrom<i32>>(at: &At<'_>, field: &str, value: i32) -> Option<E> {
    let found = E::try_from(value).ok();
    if found.is_none() {
        at.bad(field, format!("unknown enum value {value}"));
    }
    found
}

fn gzip(at: &At<'_>, bytes: &[u8]) -> Option<Library> {
    let message = &decode::<GzipProto>(at, bytes)?;
    crate::ledger!(at, message => GzipProto { memory_level, compression_level, compression_strategy, window_bits,
        chunk_size });
    number(at, "memory_level", memory_level, 5, 1, 9);
    number(at, "chunk_size", chunk_size, 4096, 4096, 65_536);
    known::<gzip::CompressionStrategy>(at, "compression_strategy", *compression_strategy)?;
    let level = known::<gzip::CompressionLevel>(at, "compression_level", *compression_level)?;
    let window = number(at, "window_bits", window_bits, 12, 9, 15);
    let level = u32::try_from(level as i32).ok().filter(|level| *level > 0);
    u8::try_from(window).ok().filter(|bits| (9..=15).contains(bits)).map(|bits| Library::Gzip(level, bits))
}

fn brotli(at: &At<'_>, bytes: &[u8]) -> Option<Library> {
    let message = &decode::<BrotliProto>(at, bytes)?;
    crate::ledger!(at, message => BrotliProto { quality, encoder_mode, window_bits, input_block_bits, chunk_size,
        disable_literal_context_modeling });
    number(at, "chunk_size", chunk_size, 4096, 4096, 65_536);
    Some(Library::Brotli(Brotli {
        quality: number(at, "quality", quality, 3, 0, 11),
        mode: match known::<brotli::EncoderMode>(at, "encoder_mode", *encoder_mode)? {
            brotli::EncoderMode::Default | brotli::EncoderMode::Generic => Mode::Generic,
            brotli::EncoderMode::Text => Mode::Text,
            brotli::EncoderMode::Font => Mode::Font,
        },
        window_bits: number(at, "window_bits", window_bits, 18, 10, 24),
        block_bits: number(at, "input_block_bits", input_block_bits, 24, 16, 24),
        plain_literals: *disable_literal_context_modeling,
    }))
}

fn zstd(at: &At<'_>, bytes: &[u8]) -> Option<Library> {
    let message = &decode::<ZstdProto>(at, bytes)?;
    crate::ledger!(at, message => ZstdProto { compression_level, enable_checksum, strategy, chunk_size }
        refuse { dictionary });
    number(at, "chunk_size", chunk_size, 4096, 4096, 65_536);
    let level = number(at, "compression_level", compression_level, 3, 1, 22);
    let strategy = known::<zstd::Strategy>(at, "strategy", *strategy)?;
    Some(Library::Zstd(Zstd {
        level: i32::try_from(level).ok()?,
        checksum: *enable_checksum,
        strategy: u8::try_from(strategy as i32).ok()?,
    }))
}
