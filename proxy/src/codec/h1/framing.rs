//! The length of a message (RFC 9112 section 6.3), strictly.

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::failure::Failure;
use crate::observe::record::Protocol;

/// What follows a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// Nothing.
    None,
    /// So many bytes.
    Exact(u64),
    /// Chunks.
    Chunked,
    /// Everything until the connection ends (responses only).
    UntilClose,
}

/// A Content-Length: one field, digits only, fits 63 bits.
fn content_length(headers: &HeaderBlock) -> Result<Option<u64>, ()> {
    let mut all = headers.all_of(Id::ContentLength);
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() || value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(());
    }
    let text = std::str::from_utf8(value).map_err(|_| ())?;
    text.parse::<u64>().ok().filter(|n| *n <= i64::MAX as u64).map(Some).ok_or(())
}

/// Is the only transfer coding `chunked`? None when there is no Transfer-Encoding.
fn chunked(headers: &HeaderBlock) -> Option<bool> {
    let mut all = headers.all_of(Id::TransferEncoding);
    let value = all.next()?;
    Some(all.next().is_none() && value.eq_ignore_ascii_case(b"chunked"))
}

/// Framing of a request. With `drop_length` a Content-Length beside Transfer-Encoding is removed from the block.
pub fn request(
    headers: &mut HeaderBlock,
    protocol: Protocol,
    drop_length: bool,
) -> Result<BodyLength, Failure> {
    match chunked(headers) {
        Some(_) if protocol == Protocol::Http10 => Err(Failure::CodecError),
        Some(false) => Err(Failure::TransferEncoding),
        Some(true) => {
            if headers.has(Id::ContentLength) {
                if !drop_length {
                    return Err(Failure::LengthAndChunked);
                }
                headers.remove_id(Id::ContentLength);
            }
            Ok(BodyLength::Chunked)
        }
        None => match content_length(headers) {
            Ok(None | Some(0)) => Ok(BodyLength::None),
            Ok(Some(n)) => Ok(BodyLength::Exact(n)),
            Err(()) => Err(Failure::CodecError),
        },
    }
}

/// Framing of a response; none when the upstream's lengths make no sense.
pub fn response(headers: &HeaderBlock, status: u16, head_request: bool) -> Option<BodyLength> {
    let length = content_length(headers).ok()?;
    let chunked = chunked(headers);
    if chunked == Some(false) || (chunked.is_some() && length.is_some()) {
        return None;
    }
    if head_request || status < 200 || status == 204 || status == 304 {
        return Some(BodyLength::None);
    }
    Some(match (chunked, length) {
        (Some(_), _) => BodyLength::Chunked,
        (None, Some(0)) => BodyLength::None,
        (None, Some(n)) => BodyLength::Exact(n),
        (None, None) => BodyLength::UntilClose,
    })
}

/// Does a comma-separated header name the token (any case)?
pub fn has_token(headers: &HeaderBlock, id: Id, token: &[u8]) -> bool {
    headers
        .all_of(id)
        .any(|v| v.split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token)))
}

/// May the connection stay open after the message (RFC 9112 section 9.3)?
pub fn keep_alive(headers: &HeaderBlock, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Http10 => has_token(headers, Id::Connection, b"keep-alive"),
        _ => !headers.has(Id::Connection) || !has_token(headers, Id::Connection, b"close"),
    }
}

/// Is it an upgrade (`Connection: upgrade` and an `Upgrade` field)?
pub fn is_upgrade(headers: &HeaderBlock) -> bool {
    headers.has(Id::Upgrade) && has_token(headers, Id::Connection, b"upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[(&str, &str)]) -> HeaderBlock {
        let mut block = HeaderBlock::new();
        for (name, value) in fields {
            assert!(block.append_received(name.as_bytes(), value.as_bytes()));
        }
        block
    }

    #[test]
    fn lengths_are_strict() {
        let len = |v: &str| request(&mut block(&[("content-length", v)]), Protocol::Http11, false);
        assert_eq!(len("5"), Ok(BodyLength::Exact(5)));
        assert_eq!(len("0"), Ok(BodyLength::None));
        for bad in ["", "+5", "-1", "5,5", "0x5", "5 5", "99999999999999999999", "9223372036854775808"] {
            assert_eq!(len(bad), Err(Failure::CodecError), "{bad}");
        }
        let twice =
            request(&mut block(&[("content-length", "5"), ("Content-Length", "5")]), Protocol::Http11, false);
        assert_eq!(twice, Err(Failure::CodecError));
    }

    #[test]
    fn only_chunked_is_a_coding() {
        let te = |v: &str| request(&mut block(&[("transfer-encoding", v)]), Protocol::Http11, false);
        assert_eq!(te("Chunked"), Ok(BodyLength::Chunked));
        for bad in ["gzip, chunked", "chunked, chunked", "xchunked", "chunked;q=1", "identity", "\"chunked\""]
        {
            assert_eq!(te(bad), Err(Failure::TransferEncoding), "{bad}");
        }
        let mut both = block(&[("transfer-encoding", "chunked"), ("content-length", "3")]);
        assert_eq!(request(&mut both, Protocol::Http11, false), Err(Failure::LengthAndChunked));
        assert_eq!(request(&mut both, Protocol::Http11, true), Ok(BodyLength::Chunked));
        assert!(!both.has(Id::ContentLength));
    }

    #[test]
    fn responses_without_a_body() {
        for status in [100, 101, 204, 304] {
            assert_eq!(response(&block(&[("content-length", "3")]), status, false), Some(BodyLength::None));
        }
        assert_eq!(response(&block(&[("content-length", "3")]), 200, true), Some(BodyLength::None));
        assert_eq!(response(&block(&[("transfer-encoding", "gzip")]), 200, false), None);
        assert_eq!(
            response(&block(&[("transfer-encoding", "chunked"), ("content-length", "3")]), 200, false),
            None
        );
    }
}
