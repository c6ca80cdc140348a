//! One exchange through a compressor.

use super::accept::{self, Choice, Offer};
use super::config::{Config, Direction, RouteConfig};
use super::library::{Encoder, Library};
use crate::base::headers::HeaderBlock;
use crate::base::names::{HeaderName, Id};
use crate::codec::h1::framing::is_upgrade;
use crate::codec::message::{Data, Part};
use crate::failure::Failure;
use crate::http::filter::hooks::{HttpFilter, RequestContext, ResponseContext, Step};
use crate::model::plugin::{PluginConfig, RouteFilterConfig};
use crate::observe::metrics::{self, Cells, Schema};
use crate::observe::stats::{compressor as stat, compressor_accept as accepted};
use std::any::Any;
use std::sync::Arc;

/// The compressors of a chain know each other: the one that sees the response first chooses for all.
#[derive(Default)]
struct Compressors {
    all: Vec<(Arc<dyn Any + Send + Sync>, Library)>,
    choice: Option<Choice>,
}

/// An encoder at work, and where its bytes are counted.
struct Work {
    encoder: Encoder,
    stats: Cells,
}

struct Running {
    config: Arc<dyn Any + Send + Sync>,
    /// The request's `accept-encoding`.
    accept: Option<Vec<u8>>,
    request: Option<Work>,
    response: Option<Work>,
}

pub(super) fn run(slot: &PluginConfig) -> Option<Box<dyn HttpFilter>> {
    let running = Running { config: slot.config.clone(), accept: None, request: None, response: None };
    slot.config.is::<Config>().then(|| Box::new(running) as _)
}

fn of_route(config: Option<&RouteFilterConfig>) -> Option<&RouteConfig> {
    config.and_then(|config| config.downcast_ref())
}

/// What a compressor counts below `http.<prefix>.compressor.`.
fn cells(schema: &'static Schema, config: &Config, manager: &str, below: &str) -> Cells {
    let prefix = format!("http.{manager}.{}{below}", config.prefix);
    metrics::at_hand(schema, &prefix, || prefix.clone())
}

/// The told length of a body.
fn length(headers: &HeaderBlock) -> Option<u64> {
    headers.get_str(Id::ContentLength).and_then(|text| text.parse().ok())
}

/// Is the body long enough? One of unknown length is.
fn is_long(direction: &Direction, headers: &HeaderBlock, stats: &Cells) -> bool {
    let long = !headers.has(Id::ContentLength) || length(headers).is_some_and(|n| n >= direction.min_length);
    if !long {
        stats.inc(stat::CONTENT_LENGTH_TOO_SMALL);
    }
    long
}

/// The head of a message whose body is going to be compressed.
fn begin(library: Library, headers: &mut HeaderBlock, stats: &Cells) -> Option<Work> {
    let Some(encoder) = library.encoder(length(headers)) else {
        stats.inc(stat::WEIR_OVER_BUDGET);
        return None;
    };
    headers.remove_id(Id::ContentLength);
    headers.set_id(Id::ContentEncoding, library.encoding().as_bytes());
    Some(Work { encoder, stats: stats.clone() })
}

impl Running {
    /// Did the client choose this compressor's encoding?
    fn is_chosen(&self, config: &Config, library: Library, cx: &mut ResponseContext<'_>) -> bool {
        let stats = cells(&accepted::SCHEMA, config, cx.stat_prefix, "");
        let Some(header) = &self.accept else {
            stats.inc(accepted::NO_ACCEPT_HEADER);
            return false;
        };
        let Some(chain) = cx.shared.of::<Compressors>() else { return false };
        let headers = &cx.response.headers;
        let choice = *chain.choice.get_or_insert_with(|| {
            let offers = chain.all.iter().filter_map(|(config, library)| {
                let config = config.downcast_ref::<Config>()?;
                let offer = Offer { encoding: library.encoding(), first: config.choose_first };
                config.response.takes_type(headers).then_some(offer)
            });
            accept::choose(header, offers)
        });
        let chosen = choice.encoding() == Some(library.encoding());
        stats.inc(match choice {
            Choice::Named(_) if chosen => accepted::HEADER_COMPRESSOR_USED,
            Choice::Named(_) => accepted::HEADER_COMPRESSOR_OVERSHADOWED,
            Choice::Any(_) => accepted::HEADER_WILDCARD,
            Choice::Identity => accepted::HEADER_IDENTITY,
            Choice::Nothing => accepted::HEADER_NOT_VALID,
        });
        chosen
    }
}

/// May this response be compressed for some client?
fn is_compressible(config: &Config, cx: &ResponseContext<'_>) -> bool {
    let headers = &cx.response.headers;
    let mut controls = headers.all_of(Id::CacheControl).flat_map(|value| value.split(|b| *b == b','));
    let fits = !is_upgrade(headers)
        && config.response.takes_type(headers)
        && !controls.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"));
    if !fits {
        return false;
    }
    if config.disable_on_etag && !config.weaken_etag && headers.has(Id::Etag) {
        cells(&accepted::SCHEMA, config, cx.stat_prefix, "").inc(accepted::NOT_COMPRESSED_ETAG);
        return false;
    }
    !headers.has(Id::ContentEncoding) && !config.not_these.contains(&u32::from(cx.response.status))
}

/// The tag of the content as it is does not hold for its compressed form, unless it is a weak one.
fn retag(config: &Config, headers: &mut HeaderBlock) {
    let Some(tag) = headers.get(Id::Etag) else { return };
    let weak = tag.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"w/"));
    if weak {
        return;
    }
    if config.weaken_etag {
        let weakened = [b"W/", tag].concat();
        headers.set_id(Id::Etag, &weakened);
    } else {
        headers.remove_id(Id::Etag);
    }
}

/// Caches must know that the client's header matters.
fn vary(headers: &mut HeaderBlock) {
    const NAME: &[u8] = b"Accept-Encoding";
    let told = headers.joined(&HeaderName::Known(Id::Vary), b",");
    match told {
        Some(told) if told.split(|b| *b == b',').any(|name| name.trim_ascii() == NAME) => {}
        Some(told) => headers.set_id(Id::Vary, &[&told, &b", "[..], NAME].concat()),
        None => headers.set_id(Id::Vary, NAME),
    }
}

/// Compresses a part. A library that fails ends the stream as one that was cut.
fn compress(work: &mut Option<Work>, part: &mut Part<'_>) -> Result<(), Failure> {
    let Some(Work { encoder, stats }) = work else { return Ok(()) };
    let bytes = part.data.as_slice();
    let out = encoder.part(bytes, part.end).ok_or(Failure::Internal)?;
    stats.add(stat::TOTAL_UNCOMPRESSED_BYTES, bytes.len() as u64);
    stats.add(stat::TOTAL_COMPRESSED_BYTES, out.len() as u64);
    part.data = Data::Shared(out.into());
    if part.end {
        *work = None;
    }
    Ok(())
}

impl HttpFilter for Running {
    fn request(&mut self, cx: &mut RequestContext<'_>) -> Step {
        let Some(config) = self.config.downcast_ref::<Config>() else { return Step::Continue };
        let route = of_route(cx.route_config);
        let library = route.and_then(|route| route.library).unwrap_or(config.library);
        if let Some(chain) = cx.shared.of::<Compressors>() {
            chain.all.push((self.config.clone(), library));
        }
        let headers = &mut cx.request.headers;
        self.accept = headers.joined(&HeaderName::Known(Id::AcceptEncoding), b",");
        let enabled = route.and_then(|route| route.response).unwrap_or(config.response.enabled);
        let remove = route.and_then(|route| route.remove_accept_encoding);
        if enabled && remove.unwrap_or(config.remove_accept_encoding) {
            headers.remove_id(Id::AcceptEncoding);
        }
        let stats = cells(&stat::SCHEMA, config, cx.stat_prefix, "request.");
        let fits = |direction: &&Direction| {
            !cx.request.end
                && direction.enabled
                && !is_upgrade(headers)
                && is_long(direction, headers, &stats)
                && direction.takes_type(headers)
                && !headers.has(Id::ContentEncoding)
        };
        if config.request.as_ref().filter(fits).is_some() {
            self.request = begin(library, headers, &stats);
        }
        stats.inc(if self.request.is_some() { stat::COMPRESSED } else { stat::NOT_COMPRESSED });
        Step::Continue
    }

    fn response(&mut self, cx: &mut ResponseContext<'_>) {
        let Some(config) = self.config.downcast_ref::<Config>() else { return };
        let route = of_route(cx.route_config);
        let library = route.and_then(|route| route.library).unwrap_or(config.library);
        let stats = cells(&stat::SCHEMA, config, cx.stat_prefix, config.response_prefix);
        let enabled = route.and_then(|route| route.response).unwrap_or(config.response.enabled);
        let matters = enabled && is_long(&config.response, &cx.response.headers, &stats);
        let fits = matters && is_compressible(config, cx);
        if !cx.response.end && matters && self.is_chosen(config, library, cx) && fits {
            self.response = begin(library, &mut cx.response.headers, &stats);
        }
        if self.response.is_some() {
            retag(config, &mut cx.response.headers);
        }
        stats.inc(if self.response.is_some() { stat::COMPRESSED } else { stat::NOT_COMPRESSED });
        if fits {
            vary(&mut cx.response.headers);
        }
    }

    fn changes_request(&self) -> bool {
        self.request.is_some()
    }

    fn changes_response(&self) -> bool {
        self.response.is_some()
    }

    fn change_request(&mut self, part: &mut Part<'_>) -> Result<(), Failure> {
        compress(&mut self.request, part)
    }

    fn change_response(&mut self, part: &mut Part<'_>) -> Result<(), Failure> {
        compress(&mut self.response, part)
    }
}
