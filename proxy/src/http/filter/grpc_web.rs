//! `envoy.filters.http.grpc_web`: gRPC for clients that have neither HTTP/2 trailers nor, maybe, binary bodies
//! (gRPC-Web). Trailers become the last frame of the body; the `-text` types are in base64.

use super::hooks::{HttpFilter, RequestContext, ResponseContext, Step};
use super::{Factory, decode};
use crate::base::headers::HeaderBlock;
use crate::base::ledger::At;
use crate::base::names::{HeaderName, Id};
use crate::codec::message::{Data, Part, ResponseHead};
use crate::failure::{Failure, grpc_status};
use crate::http::reply::{is_grpc, percent_encode};
use crate::model::plugin::{Compile, PluginConfig};
use crate::observe::metrics::{self, sanitized};
use crate::observe::record::Record;
use crate::observe::stats::grpc as stat;
use std::any::Any;
use std::sync::Arc;
use weir_proto::base64;
use weir_proto::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    name: "envoy.filters.http.grpc_web",
    terminal: false,
    config: compile,
    route_config: None,
    run: Some(run),
};

const BINARY: [&[u8]; 2] = [b"application/grpc-web", b"application/grpc-web+proto"];
const TEXT: [&[u8]; 2] = [b"application/grpc-web-text", b"application/grpc-web-text+proto"];

/// Most bytes of a plain answer that become `grpc-message`.
const MAX_MESSAGE: usize = 16 << 10;

/// Flag of the frame that holds the trailers.
const TRAILERS: u8 = 0x80;

/// The filter has no settings.
struct Config {
    accept_encoding: HeaderName,
}

fn compile(_: &dyn Compile, at: &At<'_>, bytes: &[u8]) -> Option<Arc<dyn Any + Send + Sync>> {
    let GrpcWeb {} = decode::<GrpcWeb>(at, bytes)?;
    Some(Arc::new(Config { accept_encoding: HeaderName::parse("grpc-accept-encoding").ok()? }))
}

/// Base64 as it comes: what is no group of four yet.
#[derive(Default, Debug)]
struct Decoder(Vec<u8>);

impl Decoder {
    /// The bytes of all whole groups; a group with padding may stand anywhere, for messages are encoded one by one.
    fn part(&mut self, bytes: &[u8], end: bool) -> Result<Vec<u8>, Failure> {
        self.0.extend_from_slice(bytes);
        let rest = self.0.split_off(self.0.len() / 4 * 4);
        let text = std::mem::replace(&mut self.0, rest);
        if end && !self.0.is_empty() {
            return Err(Failure::Base64Size);
        }
        let mut out = Vec::with_capacity(text.len() / 4 * 3);
        let mut text = text.as_slice();
        while !text.is_empty() {
            let padded = memchr::memchr(b'=', text)
                .map_or(text.len(), |at| (at / 4).saturating_add(1).saturating_mul(4));
            let (run, behind) = text.split_at_checked(padded).unwrap_or((text, &[]));
            let standard = std::str::from_utf8(run).ok().filter(|run| !run.contains(['-', '_']));
            let bytes = standard.and_then(|run| base64::decode(run).ok()).ok_or(Failure::Base64Data)?;
            out.extend_from_slice(&bytes);
            text = behind;
        }
        Ok(out)
    }
}

/// Base64 of frames, each with a padding of its own, as they come.
#[derive(Default, Debug)]
struct Encoder {
    /// Bytes of the present frame's head.
    head: [u8; 5],
    seen: usize,
    /// Bytes that are left of its content.
    left: usize,
    /// Bytes that are no group of three yet.
    kept: Vec<u8>,
}

impl Encoder {
    fn part(&mut self, mut bytes: &[u8], end: bool) -> String {
        let mut out = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4).saturating_add(8));
        while !bytes.is_empty() {
            let in_head = self.head.len().saturating_sub(self.seen);
            let most = if in_head > 0 { in_head } else { self.left };
            let (piece, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
            bytes = rest;
            self.kept.extend_from_slice(piece);
            if in_head > 0 {
                let room = self.head.iter_mut().skip(self.seen);
                room.zip(piece).for_each(|(to, from)| *to = *from);
                self.seen = self.seen.saturating_add(piece.len());
                let [_, a, b, c, d] = self.head;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
            } else {
                self.left = self.left.saturating_sub(piece.len());
            }
            let whole = self.seen == self.head.len() && self.left == 0;
            self.write(&mut out, whole);
            if whole {
                self.seen = 0;
            }
        }
        self.write(&mut out, end);
        out
    }

    /// Groups of three, and what is less than one when nothing may be kept.
    fn write(&mut self, out: &mut String, all: bool) {
        let upto = if all { self.kept.len() } else { self.kept.len() / 3 * 3 };
        let rest = self.kept.split_off(upto);
        out.push_str(&base64::encode(&self.kept));
        self.kept = rest;
    }
}

/// One call.
#[derive(Default)]
struct Call {
    /// The request is in base64.
    request: Option<Decoder>,
    /// The response is to be.
    response: Option<Encoder>,
    /// `cluster.<name>.grpc-web.`, and what stands behind it.
    counted: Option<(String, String)>,
    /// The answer is passed as a gRPC answer.
    answers: bool,
    /// The answer's trailers, which are in its body now.
    trailers: Option<HeaderBlock>,
}

impl Call {
    fn count(&self, block: &HeaderBlock) {
        let status = block.get_str(Id::GrpcStatus);
        let (Some((calls, call)), Some(status)) = (&self.counted, status) else { return };
        let status: Option<u32> = status.parse().ok();
        let stats = metrics::at_hand(&stat::SCHEMA, &format!("{calls}{call}"), || calls.clone());
        if let Some(counter) = status.and_then(stat::status) {
            stats.inc(counter);
        }
        stats.inc(if status == Some(0) { stat::SUCCESS } else { stat::FAILURE });
        stats.inc(stat::TOTAL);
    }

    fn frame(&self, trailers: &HeaderBlock) -> Vec<u8> {
        let mut lines = Vec::new();
        for (_, name, value) in trailers.iter() {
            [&name.to_ascii_lowercase(), &b":"[..], value, b"\r\n"]
                .iter()
                .for_each(|part| lines.extend_from_slice(part));
        }
        let length = u32::try_from(lines.len()).unwrap_or(u32::MAX).to_be_bytes();
        let frame = [&[TRAILERS][..], &length, &lines].concat();
        if self.response.is_some() { base64::encode(&frame).into_bytes() } else { frame }
    }
}

struct Running {
    config: Arc<dyn Any + Send + Sync>,
    call: Option<Call>,
}

fn run(slot: &PluginConfig) -> Option<Box<dyn HttpFilter>> {
    let running = Running { config: slot.config.clone(), call: None };
    slot.config.is::<Config>().then(|| Box::new(running) as _)
}

/// Is it an answer of gRPC as it is: with its content type, or a status and nothing more?
fn is_answer(head: &ResponseHead) -> bool {
    if head.end {
        return head.headers.has(Id::GrpcStatus);
    }
    let kind = head.headers.get(Id::ContentType).unwrap_or_default();
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
    head.status == 200
        && (is_grpc(&head.headers) || BINARY.iter().any(|known| known.eq_ignore_ascii_case(kind)))
}

impl HttpFilter for Running {
    fn request(&mut self, cx: &mut RequestContext<'_>) -> Step {
        let Some(config) = self.config.downcast_ref::<Config>() else { return Step::Continue };
        let headers = &mut cx.request.headers;
        let Some(kind) = headers.get(Id::ContentType).filter(|_| headers.has(Id::Path)) else {
            return Step::Continue;
        };
        let text = TEXT.contains(&kind);
        if !text && !BINARY.contains(&kind) {
            return Step::Continue;
        }
        let method = headers.get_str(Id::Path).and_then(super::grpc_stats::method);
        let counted = cx.cluster.zip(method).map(|(cluster, (service, method))| {
            (format!("cluster.{}.grpc-web.", sanitized(cluster)), format!("{service}.{method}."))
        });
        let wants_text = headers.get(Id::Accept).is_some_and(|accept| TEXT.contains(&accept));
        self.call = Some(Call {
            request: text.then(Decoder::default),
            response: wants_text.then(Encoder::default),
            counted,
            ..Call::default()
        });
        headers.remove_id(Id::ContentLength);
        headers.set_id(Id::ContentType, b"application/grpc");
        headers.set_id(Id::Te, b"trailers");
        if headers.find(&config.accept_encoding).is_none() {
            headers.append(&config.accept_encoding, b"identity");
        }
        Step::Continue
    }

    fn gathers(&self, head: &ResponseHead) -> Option<usize> {
        (self.call.is_some() && !is_answer(head)).then_some(MAX_MESSAGE)
    }

    fn response(&mut self, cx: &mut ResponseContext<'_>) {
        let Some(call) = &mut self.call else { return };
        let (status, head) = (cx.response.status, &mut *cx.response);
        call.count(&head.headers);
        call.answers = !head.end;
        head.headers.remove_id(Id::ContentLength);
        let [_, kind] = if call.response.is_some() { TEXT } else { BINARY };
        head.headers.set_id(Id::ContentType, kind);
        if let Some(body) = cx.gathered {
            head.headers.set_id(Id::GrpcMessage, percent_encode(body).as_bytes());
            head.headers.set_id(Id::GrpcStatus, itoa::Buffer::new().format(grpc_status(status)).as_bytes());
            head.headers.set_id(Id::ContentLength, b"0");
        }
    }

    fn changes_request(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.request.is_some())
    }

    fn changes_response(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.answers)
    }

    fn change_request(&mut self, part: &mut Part<'_>) -> Result<(), Failure> {
        if let Some(decoder) = self.call.as_mut().and_then(|call| call.request.as_mut()) {
            part.data = Data::Shared(decoder.part(part.data.as_slice(), part.end)?.into());
        }
        Ok(())
    }

    fn change_response(&mut self, part: &mut Part<'_>) -> Result<(), Failure> {
        let Some(call) = &mut self.call else { return Ok(()) };
        if let Some(encoder) = &mut call.response {
            part.data = Data::Shared(encoder.part(part.data.as_slice(), part.end).into());
        }
        if let Some(trailers) = part.trailers.take() {
            call.count(&trailers);
            let frame = call.frame(&trailers);
            part.data = Data::Shared([part.data.as_slice(), &frame].concat().into());
            call.trailers = Some(trailers);
        }
        Ok(())
    }

    fn finish(&mut self, record: &mut Record) {
        if let Some(trailers) = self.call.as_mut().and_then(|call| call.trailers.take()) {
            record.response_trailers = trailers;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let one = |message: &Vec<u8>| {
            [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
        };
        messages.iter().map(one).collect()
    }

    proptest! {
        #[test]
        fn any_pieces_of_any_messages_are_the_same_text_and_the_same_bytes(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let frames = frames(&messages);
            let (bytes, text) = (frames.concat(), frames.iter().map(|f| base64::encode(f)).collect::<String>());
            let pieces = |whole: &[u8]| -> Vec<Vec<u8>> {
                let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
                places.extend([0, whole.len()]);
                places.sort_unstable();
                places.windows(2).map(|pair| whole[pair[0]..pair[1]].to_vec()).collect()
            };
            let mut encoder = Encoder::default();
            let mut out: String = pieces(&bytes).iter().map(|piece| encoder.part(piece, false)).collect();
            out.push_str(&encoder.part(b"", true));
            prop_assert_eq!(&out, &text);
            let (mut decoder, mut back) = (Decoder::default(), Vec::new());
            for piece in pieces(text.as_bytes()) {
                back.extend(decoder.part(&piece, false).unwrap());
            }
            back.extend(decoder.part(b"", true).unwrap());
            prop_assert_eq!(back, bytes);
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        let of = |text: &str| Decoder::default().part(text.as_bytes(), true);
        assert_eq!(of("aGVsbG8="), Ok(b"hello".to_vec()));
        assert_eq!(of("aGk=aGk="), Ok(b"hihi".to_vec()));
        assert_eq!(of("aGVsbG8"), Err(Failure::Base64Size));
        for bad in ["a===", "====", "ab=c", "a-_b", "a b=", "aGk=a==="] {
            assert_eq!(of(bad), Err(Failure::Base64Data), "{bad}");
        }
    }
}
