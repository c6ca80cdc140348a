//! Substitution formats: text or JSON with `%OPERATOR%`s (access logs, header values, bodies of local replies).
//!
//! A format is compiled once; rendering appends to the caller's buffer and allocates nothing of its own. Operators of
//! features that do not exist here yet (TLS, filter state, dynamic metadata, tracing) are known and render as absent;
//! unknown ones are an error (spec 1.14).

mod absent;
mod address;
mod json;
mod operator;
mod parse;
mod time;
mod write;

use super::record::Record;
use crate::base::headers::HeaderBlock;
use operator::Operator;
pub use parse::FormatError;
use smallvec::SmallVec;
use write::Kind;
pub(crate) use write::grpc_status_told;

/// Envoy's default access log line.
pub const DEFAULT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ",
    "\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" ",
    "\"%UPSTREAM_HOST%\"\n"
);

/// Istio's default access log line.
pub const ISTIO: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% ",
    "%ROUTE_NAME%\n"
);

/// What operators read. The blocks are given apart from the record because the exchange holds them until it ends.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Everything but the blocks.
    pub record: &'a Record,
    /// `%REQ()%`
    pub request: &'a HeaderBlock,
    /// `%RESP()%`
    pub response: &'a HeaderBlock,
    /// `%TRAILER()%`
    pub trailers: &'a HeaderBlock,
}

impl<'a> Input<'a> {
    /// Of a complete record (access logs).
    pub fn of(record: &'a Record) -> Self {
        Input {
            record,
            request: &record.request,
            response: &record.response,
            trailers: &record.response_trailers,
        }
    }

    /// While the exchange runs: its request and, once there is one, its response (else the record's).
    pub fn running(record: &'a Record, request: &'a HeaderBlock, response: Option<&'a HeaderBlock>) -> Self {
        Input {
            record,
            request,
            response: response.unwrap_or(&record.response),
            trailers: &record.response_trailers,
        }
    }
}

/// A stretch of a text format.
#[derive(Debug)]
enum Piece {
    Literal(Box<[u8]>),
    /// An operator, and the most bytes of its value.
    Operator(Operator, Option<usize>),
}

/// A compiled text: literals and operators in turn.
#[derive(Debug)]
struct Text(Box<[Piece]>);

#[derive(Debug)]
enum Body {
    Text(Text),
    Json(json::Node),
}

/// A compiled format.
#[derive(Debug)]
pub struct Format {
    body: Body,
    omit_empty: bool,
}

impl Format {
    /// Compiles a text format. Absent values render as `-` ([`Format::omitting_empty`]: as nothing).
    pub fn parse(text: &str) -> Result<Format, FormatError> {
        Ok(Format { body: Body::Text(parse::text(text)?), omit_empty: false })
    }

    /// Compiles a JSON format: an object whose strings are text formats. Keys are sorted; a string of one operator
    /// keeps that operator's type (numbers stay numbers, absent is null); others are strings.
    pub fn parse_json(value: &serde_json::Value) -> Result<Format, FormatError> {
        Ok(Format { body: Body::Json(json::compile(value)?), omit_empty: false })
    }

    /// Envoy's `omit_empty_values`: absent values leave no `-` in text, and their keys out of JSON.
    pub fn omitting_empty(self, omit_empty: bool) -> Format {
        Format { omit_empty, ..self }
    }

    /// Has it no operator? Then the fixed text.
    pub fn literal(&self) -> Option<Vec<u8>> {
        match &self.body {
            Body::Json(_) => None,
            Body::Text(text) => text.literal(),
        }
    }

    /// Is it a JSON format? Its lines are objects that end with a newline.
    pub fn is_json(&self) -> bool {
        matches!(self.body, Body::Json(_))
    }

    /// Appends the rendered text (JSON: one object and a newline).
    pub fn render(&self, input: &Input<'_>, out: &mut Vec<u8>) {
        match &self.body {
            Body::Text(text) => text.render(input, if self.omit_empty { b"" } else { b"-" }, out),
            Body::Json(node) => {
                node.render(input, self.omit_empty, out);
                out.push(b'\n');
            }
        }
    }

    /// [`Format::render`] of a complete record.
    pub fn render_record(&self, record: &Record, out: &mut Vec<u8>) {
        self.render(&Input::of(record), out);
    }

    /// Renders a header's value: absent values are empty.
    pub fn render_header(&self, input: &Input<'_>) -> HeaderBytes {
        let mut out = Vec::new();
        match &self.body {
            Body::Text(text) => text.render(input, b"", &mut out),
            Body::Json(node) => {
                node.render(input, self.omit_empty, &mut out);
            }
        }
        HeaderBytes::from_vec(out)
    }
}

/// A rendered header value.
pub type HeaderBytes = SmallVec<[u8; 64]>;

impl Text {
    fn render(&self, input: &Input<'_>, absent: &[u8], out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Operator(operator, most) => {
                    let start = out.len();
                    match operator.write(input, out) {
                        Kind::Absent => out.extend_from_slice(absent),
                        Kind::Text | Kind::Number => truncate(out, start, *most),
                    }
                }
            }
        }
    }

    fn literal(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Operator(..) => return None,
            }
        }
        Some(out)
    }

    /// The operator, when the text is one operator and nothing else.
    fn single(&self) -> Option<(&Operator, Option<usize>)> {
        match &*self.0 {
            [Piece::Operator(operator, most)] => Some((operator, *most)),
            _ => None,
        }
    }
}

fn truncate(out: &mut Vec<u8>, start: usize, most: Option<usize>) {
    if let Some(end) = most.and_then(|most| start.checked_add(most)) {
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests;
