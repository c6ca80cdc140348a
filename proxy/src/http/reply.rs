//! Local replies: from a failure's row (or a filter's answer) to a response head and body, in Envoy's words.

use super::exchange::Exchange;
use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::message::ResponseHead;
use crate::failure::{Failure, Flag, grpc_status, reason};
use crate::model::http::{LocalReplies, ReplyMapper, ReplyTest, StatusTest};
use crate::observe::format::Input;
use std::borrow::Cow;

/// A response of our own.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body; empty for none.
    pub body: Cow<'static, [u8]>,
    /// Its content type.
    pub content_type: &'static str,
    /// Response flag.
    pub flag: Option<Flag>,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: Cow<'static, str>,
    /// Headers before content-length, in order.
    pub headers: HeaderBlock,
    /// gRPC status, when it is not the one mapped from HTTP.
    pub grpc_status: Option<u32>,
    /// The connection closes after it.
    pub close: bool,
    /// Is it a direct response or redirect of the route (no gRPC translation, no mapping)?
    pub from_route: bool,
}

impl Reply {
    /// With a status and nothing else.
    pub fn new(status: u16, details: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            status,
            body: Cow::Borrowed(b""),
            content_type: "text/plain",
            flag: None,
            details: details.into(),
            headers: HeaderBlock::new(),
            grpc_status: None,
            close: false,
            from_route: false,
        }
    }

    /// With a text body.
    pub fn with_body(mut self, body: impl Into<Cow<'static, str>>) -> Reply {
        self.body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        self
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        let row = failure.row();
        let mut reply = Reply::new(row.status, row.details).with_body(row.body);
        reply.flag = row.flag;
        if matches!(failure, Failure::MaxDuration | Failure::RequestMaxDuration) {
            // DEADLINE_EXCEEDED, not what the HTTP status maps to (spec 1.11).
            reply.grpc_status = Some(4);
        }
        reply
    }
}

/// Makes the head and the body of a local reply; the exchange's record learns flag and details.
pub fn render(x: &mut Exchange<'_>, reply: Reply) -> (ResponseHead, Vec<u8>) {
    let Reply {
        mut status,
        mut body,
        content_type,
        flag,
        details,
        mut headers,
        grpc_status,
        close,
        from_route,
    } = reply;
    if let Some(flag) = flag {
        x.record.flags.set(flag);
    }
    x.record.details = details;
    x.record.status = status;
    if close {
        x.down.set_close();
    }
    let mut content_type = Cow::Borrowed(content_type);
    let manager = x.manager.config.clone();
    if !from_route {
        x.record.local_body = Cow::Owned(String::from_utf8_lossy(&body).into_owned());
        map(x, &manager.local_replies, &mut status, &mut headers, &mut body, &mut content_type);
    }
    if x.filters.of_grpc(&x.request.headers) && !from_route {
        return (grpc(headers, status, grpc_status, &body), Vec::new());
    }
    let body = body.into_owned();
    if !body.is_empty() {
        headers.append_id(Id::ContentLength, itoa::Buffer::new().format(body.len()).as_bytes());
        if !headers.has(Id::ContentType) {
            headers.append_id(Id::ContentType, content_type.as_bytes());
        }
    }
    let no_body = body.is_empty() || x.request.headers.get(Id::Method) == Some(b"HEAD");
    (ResponseHead { status, headers, end: no_body }, if no_body { Vec::new() } else { body })
}

/// Is it a gRPC request (`content-type: application/grpc`, bare or with a suffix)?
pub fn is_grpc(headers: &HeaderBlock) -> bool {
    let rest = headers.get(Id::ContentType).and_then(|t| t.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'+') || rest.first() == Some(&b';'))
}

/// Trailers-only answer of gRPC.
fn grpc(mut headers: HeaderBlock, status: u16, grpc: Option<u32>, body: &[u8]) -> ResponseHead {
    headers.set_id(Id::ContentType, b"application/grpc");
    let code = grpc.unwrap_or_else(|| grpc_status(status));
    headers.set_id(Id::GrpcStatus, itoa::Buffer::new().format(code).as_bytes());
    if !body.is_empty() {
        headers.set_id(Id::GrpcMessage, percent_encode(body).as_bytes());
    }
    ResponseHead { status: 200, headers, end: true }
}

/// gRPC's percent-encoding of messages (gRPC over HTTP/2: bytes outside of space to tilde, and the percent sign).
pub fn percent_encode(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(char::from(*byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Applies `local_reply_config`.
fn map(
    x: &mut Exchange<'_>,
    replies: &LocalReplies,
    status: &mut u16,
    headers: &mut HeaderBlock,
    body: &mut Cow<'static, [u8]>,
    content_type: &mut Cow<'static, str>,
) {
    let mapper = replies.mappers.iter().find(|m| holds(x, &m.when, *status));
    let mut format = replies.format.as_ref();
    if let Some(ReplyMapper { status: new, body: text, format: own, headers: ops, .. }) = mapper {
        if let Some(new) = new {
            *status = *new;
            x.record.status = *new;
        }
        if let Some(text) = text {
            *body = Cow::Owned(text.as_bytes().to_vec());
            x.record.local_body = Cow::Owned(text.to_string());
        }
        ops.apply_response(headers, &x.request.headers, &x.record);
        format = own.as_ref().or(format);
    }
    if let Some((format, kind)) = format {
        let mut out = Vec::new();
        format.render(&Input::running(&x.record, &x.request.headers, Some(headers)), &mut out);
        *body = Cow::Owned(out);
        *content_type = Cow::Owned(kind.to_string());
    }
}

fn holds(x: &Exchange<'_>, test: &ReplyTest, status: u16) -> bool {
    match test {
        ReplyTest::Status(StatusTest::Equal, want) => status == *want,
        ReplyTest::Status(StatusTest::AtLeast, want) => status >= *want,
        ReplyTest::Status(StatusTest::AtMost, want) => status <= *want,
        ReplyTest::Status(StatusTest::NotEqual, want) => status != *want,
        ReplyTest::Flags(flags) if flags.is_empty() => !x.record.flags.is_empty(),
        ReplyTest::Flags(flags) => flags.iter().any(|flag| x.record.flags.has(*flag)),
        ReplyTest::Header(header) => header.matches(&x.request.headers),
        ReplyTest::And(all) => all.iter().all(|t| holds(x, t, status)),
        ReplyTest::Or(any) => any.iter().any(|t| holds(x, t, status)),
    }
}

/// The whole answer to bytes that never became a request: written without filters or routes.
pub fn raw(failure: Failure, server: &str) -> Vec<u8> {
    let row = failure.row();
    let mut out = format!("HTTP/1.1 {} {}\r\n", row.status, reason(row.status)).into_bytes();
    if !row.body.is_empty() {
        out.extend_from_slice(
            format!("content-length: {}\r\ncontent-type: text/plain\r\n", row.body.len()).as_bytes(),
        );
    } else {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    out.extend_from_slice(b"date: ");
    super::respond::with_date(|date| out.extend_from_slice(date));
    out.extend_from_slice(
        format!("\r\nserver: {server}\r\nconnection: close\r\n\r\n{}", row.body).as_bytes(),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_messages_are_encoded() {
        assert_eq!(percent_encode("no healthy\n100%".as_bytes()), "no healthy%0A100%25");
    }

    #[test]
    fn grpc_requests_are_known() {
        for (kind, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            let mut headers = HeaderBlock::new();
            headers.append_id(Id::ContentType, kind.as_bytes());
            assert_eq!(is_grpc(&headers), is, "{kind}");
        }
    }
}
