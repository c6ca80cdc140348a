//! `x-request-id` (spec 1.4): UUID version 4, whose 15th character says why a trace is kept ('4': it is not).

use crate::base::headers::HeaderBlock;
use crate::base::names::Id;
use crate::base::rng;
use crate::model::http::ConnectionManager;
use crate::observe::record::Record;

/// Keeps, makes or replaces the request id.
pub fn set(headers: &mut HeaderBlock, manager: &ConnectionManager, _record: &mut Record) {
    let ids = manager.request_ids;
    if !ids.generate {
        return;
    }
    let edge = manager.use_remote_address && !headers.has(Id::EnvoyInternal);
    let present = headers.has(Id::RequestId);
    if !present || (edge && !ids.preserve_external) {
        headers.set_id(Id::RequestId, &uuid());
    }
}

/// A random UUID as text (RFC 9562 section 5.4).
pub fn uuid() -> [u8; 36] {
    let (high, low) = rng::with(|rng| (rng.next_u64(), rng.next_u64()));
    let bits = (u128::from(high) << 64) | u128::from(low);
    let bits = bits & !(0xf << 76) | (0x4 << 76);
    let bits = bits & !(0b11 << 62) | (0b10 << 62);
    let mut text = [b'-'; 36];
    let mut shift = 128u32;
    for (i, slot) in text.iter_mut().enumerate() {
        if !matches!(i, 8 | 13 | 18 | 23) {
            shift = shift.saturating_sub(4);
            let digit = ((bits >> shift) & 15) as usize;
            *slot = b"0123456789abcdef".get(digit).copied().unwrap_or(b'0');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_4() {
        for _ in 0..100 {
            let id = String::from_utf8(uuid().to_vec()).unwrap();
            let parts: Vec<&str> = id.split('-').collect();
            assert_eq!(parts.iter().map(|p| p.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            assert!(parts[2].starts_with('4') && "89ab".contains(&parts[3][..1]));
        }
        assert_ne!(uuid(), uuid());
    }
}
