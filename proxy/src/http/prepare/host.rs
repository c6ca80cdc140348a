//! Host: trailing dot and port (spec 1.7).

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::model::http::ConnectionManager;
use crate::observe::record::Record;

/// Strips what the connection manager says from the authority.
pub fn normalise(headers: &mut HeaderBlock, manager: &ConnectionManager, record: &Record) {
    let wanted =
        manager.strip_trailing_host_dot || manager.strip_any_host_port || manager.strip_matching_host_port;
    if !wanted {
        return;
    }
    let Some(host) = headers.get(Id::Authority) else { return };
    let mut new = host.to_vec();
    if manager.strip_trailing_host_dot {
        strip_dot(&mut new);
    }
    if manager.strip_any_host_port || manager.strip_matching_host_port {
        let (name, port) = split_port(&new);
        let own = record.conn.local.port().map(|p| p.to_string());
        let strip =
            port.is_some_and(|p| manager.strip_any_host_port || Some(p) == own.as_deref().map(str::as_bytes));
        if strip {
            new = name.to_vec();
        }
    }
    if new != host {
        headers.set_id(Id::Authority, &new);
    }
}

fn strip_dot(host: &mut Vec<u8>) {
    let (name, port) = split_port(host);
    if let Some(bare) = name.strip_suffix(b".") {
        let mut new = bare.to_vec();
        if let Some(port) = port {
            new.push(b':');
            new.extend_from_slice(port);
        }
        *host = new;
    }
}

/// Host and port of an authority; an IPv6 literal keeps its brackets.
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(at) = memchr::memrchr(b':', authority) else { return (authority, None) };
    let (name, port) = (authority.get(..at).unwrap_or_default(), authority.get(at + 1..).unwrap_or_default());
    let inside_literal = authority.first() == Some(&b'[') && name.last() != Some(&b']');
    if inside_literal || port.is_empty() || !port.iter().all(u8::is_ascii_digit) {
        (authority, None)
    } else {
        (name, Some(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_literals() {
        assert_eq!(split_port(b"a:80"), (&b"a"[..], Some(&b"80"[..])));
        assert_eq!(split_port(b"[::1]:80"), (&b"[::1]"[..], Some(&b"80"[..])));
        assert_eq!(split_port(b"[::1]"), (&b"[::1]"[..], None));
        assert_eq!(split_port(b"a:b"), (&b"a:b"[..], None));
        let mut host = b"a.b.:8".to_vec();
        strip_dot(&mut host);
        assert_eq!(host, b"a.b:8");
    }
}
