//! Path normalisation (spec 1.6): fragment, escaped slashes, dot segments, runs of slashes. The query is not touched.

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::h1::framing::is_upgrade;
use crate::failure::Failure;
use crate::model::http::{ConnectionManager, EscapedSlashes};

/// Normalises the path in place. `Some(path)`: the client is to be redirected there.
pub fn normalise(headers: &mut HeaderBlock, manager: &ConnectionManager) -> Result<Option<Vec<u8>>, Failure> {
    let Some(target) = headers.get(Id::Path) else { return Ok(None) };
    if memchr::memchr(b'#', target).is_some() {
        if manager.reject_fragment {
            return Err(Failure::PathNormalization);
        }
        let cut = target.split(|b| *b == b'#').next().unwrap_or_default().to_vec();
        headers.set_id(Id::Path, &cut);
        return normalise(headers, manager);
    }
    let (path, query) = split(target);
    let untouched =
        manager.escaped_slashes == EscapedSlashes::Keep && !manager.normalize_path && !manager.merge_slashes;
    if untouched || (is_plain(path) && !is_upgrade_to_nothing(headers)) {
        return Ok(None);
    }
    let mut redirect = false;
    let mut new = path.to_vec();
    if has_escaped_slash(&new) {
        match manager.escaped_slashes {
            EscapedSlashes::Keep => {}
            EscapedSlashes::Reject => {
                let mut shown = unescape_slashes(&new);
                shown.extend_from_slice(query);
                headers.set_id(Id::Path, &shown);
                return Err(Failure::PathNormalization);
            }
            EscapedSlashes::Forward => new = unescape_slashes(&new),
            EscapedSlashes::Redirect => {
                new = unescape_slashes(&new);
                redirect = true;
            }
        }
    }
    if manager.normalize_path {
        new = canonical(&new).ok_or(Failure::PathNormalization)?;
    }
    if manager.merge_slashes {
        new.dedup_by(|a, b| *a == b'/' && *b == b'/');
    }
    let changed = new != path;
    new.extend_from_slice(query);
    if changed {
        headers.set_id(Id::Path, &new);
    }
    let grpc = || headers.get(Id::ContentType).is_some_and(|t| t.starts_with(b"application/grpc"));
    match redirect {
        // A gRPC client follows no redirect.
        true if grpc() => Err(Failure::PathNormalization),
        true => Ok(Some(new)),
        false => Ok(None),
    }
}

/// Path, and the query with its `?`.
pub fn split(target: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b'?', target).unwrap_or(target.len());
    (target.get(..at).unwrap_or_default(), target.get(at..).unwrap_or_default())
}

/// Nothing in it that any of the steps could change.
fn is_plain(path: &[u8]) -> bool {
    let mut last = 0;
    path.iter().all(|b| {
        let doubled = *b == b'/' && last == b'/';
        last = *b;
        !doubled && !matches!(b, b'%' | b'\\' | b'.' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'^' | b'|')
    })
}

fn is_upgrade_to_nothing(headers: &HeaderBlock) -> bool {
    is_upgrade(headers) && headers.get(Id::Upgrade).is_some_and(<[u8]>::is_empty)
}

fn escaped_slash(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'%', b'2', b'f' | b'F', ..] => Some(b'/'),
        [b'%', b'5', b'c' | b'C', ..] => Some(b'\\'),
        _ => None,
    }
}

fn has_escaped_slash(path: &[u8]) -> bool {
    memchr::memchr_iter(b'%', path).any(|at| path.get(at..).is_some_and(|rest| escaped_slash(rest).is_some()))
}

fn unescape_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        match escaped_slash(rest) {
            Some(slash) => {
                out.push(slash);
                rest = rest.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Backslashes to slashes, unreserved escapes decoded, dot segments removed (RFC 3986 section 6.2.2). None when an
/// escape stands for NUL.
fn canonical(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'\\' => decoded.push(b'/'),
            b'%' => {
                let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok());
                let byte = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
                match byte {
                    Some(0) => return None,
                    Some(b) if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => {
                        decoded.push(b);
                        rest = tail.get(2..).unwrap_or_default();
                    }
                    _ => decoded.push(b'%'),
                }
            }
            b'"' | b'<' | b'>' | b'`' | b'{' | b'}' => {
                decoded.extend_from_slice(format!("%{first:02X}").as_bytes())
            }
            other => decoded.push(*other),
        }
    }
    Some(remove_dots(&decoded))
}

fn remove_dots(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<&[u8]> = Vec::new();
    let body = path.strip_prefix(b"/").unwrap_or(path);
    let count = body.split(|b| *b == b'/').count();
    for (i, segment) in body.split(|b| *b == b'/').enumerate() {
        let last = i + 1 == count;
        // A parameter does not hide a dot segment.
        let bare = segment.split(|b| *b == b';').next().unwrap_or_default();
        match if matches!(bare, b"." | b"..") { bare } else { segment } {
            b"." if last => out.push(b""),
            b"." => {}
            b".." => {
                out.pop();
                if last {
                    out.push(b"");
                }
            }
            _ => out.push(segment),
        }
    }
    let mut joined = vec![b'/'];
    joined.extend_from_slice(&out.join(&b'/'));
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> Option<String> {
        canonical(path.as_bytes()).map(|p| String::from_utf8(p).unwrap())
    }

    #[test]
    fn dots_and_escapes() {
        for (from, to) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a\\b", "/a/b"),
            ("/%61%2e%7E%2f", "/a.~%2f"),
            ("/%2e%2e/x", "/x"),
            ("/a//b", "/a//b"),
            ("/%zz", "/%zz"),
        ] {
            assert_eq!(text(from).unwrap(), to, "{from}");
        }
        assert_eq!(text("/%00"), None);
    }

    #[test]
    fn escaped_slashes_are_found() {
        assert!(has_escaped_slash(b"/a%2Fb") && has_escaped_slash(b"/a%5cb") && !has_escaped_slash(b"/a%25"));
        assert_eq!(unescape_slashes(b"/a%2Fb%5Cc%20"), b"/a/b\\c%20");
    }
}
