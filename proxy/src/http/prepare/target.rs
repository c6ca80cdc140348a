//! The request target: absolute form becomes path and authority; what is left must be a path.

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::codec::message::RequestHead;
use crate::failure::Failure;

/// Splits `http://host/path` (RFC 9112 section 3.2.2); the authority of the target replaces Host.
pub fn absolute_form(headers: &mut HeaderBlock) -> Result<(), Failure> {
    let Some(target) = headers.get(Id::Path) else { return Ok(()) };
    if headers.get(Id::Method) == Some(b"CONNECT") {
        let authority = target.to_vec();
        if !valid_authority(&authority) {
            return Err(Failure::CodecError);
        }
        headers.set_id(Id::Authority, &authority);
        headers.remove_id(Id::Path);
        return Ok(());
    }
    if matches!(target.first(), Some(b'/') | None) || target == b"*" {
        return Ok(());
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|s| target.get(..s.len()).is_some_and(|head| head.eq_ignore_ascii_case(s.as_bytes())));
    let Some(rest) = scheme.and_then(|s| target.get(s.len()..)) else {
        return Err(if has_scheme(target) { Failure::InvalidScheme } else { Failure::CodecError });
    };
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default().to_vec();
    let mut path = rest.get(end..).unwrap_or_default().to_vec();
    if path.first() != Some(&b'/') {
        path.insert(0, b'/');
    }
    if authority.is_empty() || !valid_authority(&authority) {
        return Err(Failure::CodecError);
    }
    headers.set_id(Id::Authority, &authority);
    headers.set_id(Id::Path, &path);
    Ok(())
}

/// Does it begin with a scheme (RFC 3986 section 3.1) and an authority?
fn has_scheme(target: &[u8]) -> bool {
    let scheme = memchr::memmem::find(target, b"://").and_then(|at| target.get(..at)).unwrap_or_default();
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
}

/// Characters that an authority may have (RFC 3986 section 3.2), without user information.
pub fn valid_authority(authority: &[u8]) -> bool {
    const VALID: [bool; 256] = {
        let mut valid = [false; 256];
        let mut byte = 0u8;
        while byte < 128 {
            valid[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'-' | b'.'
                        | b'_'
                        | b'~'
                        | b'!'
                        | b'$'
                        | b'&'
                        | b'\''
                        | b'('
                        | b')'
                        | b'*'
                        | b'+'
                        | b','
                        | b';'
                        | b'='
                        | b':'
                        | b'['
                        | b']'
                        | b'%'
                );
            byte += 1;
        }
        valid
    };
    authority.iter().all(|b| VALID[usize::from(*b)])
}

/// Is there a path that can be routed?
pub fn check(head: &RequestHead) -> Result<(), Failure> {
    if head.headers.get(Id::Authority).is_some_and(|host| !valid_authority(host)) {
        return Err(Failure::CodecError);
    }
    let path = head.headers.get(Id::Path).unwrap_or_default();
    if head.headers.get(Id::Method) == Some(b"CONNECT") {
        return Ok(());
    }
    match path.first() {
        None => Err(Failure::MissingPath),
        Some(b'/') => Ok(()),
        Some(_) => Err(Failure::AbsolutePath),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Result<(String, String), Failure> {
        let mut block = HeaderBlock::new();
        block.append_id(Id::Method, b"GET");
        block.append_id(Id::Path, path.as_bytes());
        block.append_id(Id::Authority, b"old");
        absolute_form(&mut block)?;
        let text = |id| block.get_str(id).unwrap().to_owned();
        Ok((text(Id::Authority), text(Id::Path)))
    }

    #[test]
    fn absolute_targets_are_split() {
        assert_eq!(target("HTTP://New:8/a?b").unwrap(), ("New:8".into(), "/a?b".into()));
        assert_eq!(target("http://new").unwrap(), ("new".into(), "/".into()));
        assert_eq!(target("http://new?x").unwrap(), ("new".into(), "/?x".into()));
        assert_eq!(target("/a").unwrap(), ("old".into(), "/a".into()));
        assert_eq!(target("ftp://a/"), Err(Failure::InvalidScheme));
        for bad in ["1ftp://a/", "http:///a", "http://u@h/", "a"] {
            assert_eq!(target(bad), Err(Failure::CodecError), "{bad}");
        }
    }
}
