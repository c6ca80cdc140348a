//! A call of an endpoint and its reply.

use super::state::AdminState;
use crate::observe::metrics::Registry;
use hyper::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// Most parameters of a query; further ones are ignored.
const MAX_PARAMS: usize = 64;

/// Query parameters, decoded, in order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Of the part behind `?`.
    pub fn parse(text: &str) -> Query {
        let parts = text.split('&').filter(|part| !part.is_empty()).take(MAX_PARAMS);
        Query(
            parts
                .map(|part| {
                    let (key, value) = part.split_once('=').unwrap_or((part, ""));
                    (decoded(key), decoded(value))
                })
                .collect(),
        )
    }

    /// First value of a key; empty for a key without one.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Is the key there?
    pub fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Every pair.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Percent-decoding; what is no escape stays as it is, bytes that are no UTF-8 become U+FFFD.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        let escape = (*byte == b'%').then(|| Some((hex(*tail.first()?)?, hex(*tail.get(1)?)?))).flatten();
        match escape {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => out.push(*byte),
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// One call.
pub struct Call<'a> {
    /// The process.
    pub state: &'a Arc<dyn AdminState>,
    /// The statistics.
    pub registry: &'a Registry,
    /// Query parameters.
    pub query: Query,
}

/// What happens after the answer was sent.
type After = Box<dyn FnOnce() + Send>;

/// An answer.
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// `content-type`.
    pub content_type: &'static str,
    /// Body.
    pub body: Vec<u8>,
    /// Run after the answer was sent.
    pub after: Option<After>,
}

const TEXT: &str = "text/plain; charset=UTF-8";

impl Reply {
    /// Plain text.
    pub fn text(body: impl Into<Vec<u8>>) -> Reply {
        Reply { status: StatusCode::OK, content_type: TEXT, body: body.into(), after: None }
    }

    /// A refusal in plain text.
    pub fn refused(status: StatusCode, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, ..Reply::text(body) }
    }

    /// `OK`.
    pub fn ok() -> Reply {
        Reply::text("OK\n")
    }

    /// HTML.
    pub fn html(body: String) -> Reply {
        Reply { content_type: "text/html; charset=UTF-8", ..Reply::text(body) }
    }

    /// JSON, indented by one space as Envoy's.
    pub fn json(value: &impl Serialize) -> Reply {
        let mut body = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
        match value.serialize(&mut serde_json::Serializer::with_formatter(&mut body, format)) {
            Ok(()) => {
                body.push(b'\n');
                Reply { content_type: "application/json", ..Reply::text(body) }
            }
            Err(error) => {
                Reply::refused(StatusCode::INTERNAL_SERVER_ERROR, format!("not serialisable: {error}\n"))
            }
        }
    }
}
