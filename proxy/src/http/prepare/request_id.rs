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

/// Every byte in hexadecimal.
static HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut hex = [[0; 2]; 256];
    let mut byte = 0;
    while byte < hex.len() {
        hex[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    hex
};

/// Where a UUID's bytes stand in its text.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// A random UUID as text (RFC 9562 section 5.4).
pub fn uuid() -> [u8; 36] {
    let (high, low) = rng::with(|rng| (rng.next_u64(), rng.next_u64()));
    let bits = (u128::from(high) << 64) | u128::from(low);
    let bits = bits & !(0xf << 76) | (0x4 << 76);
    let bits = bits & !(0b11 << 62) | (0b10 << 62);
    let mut text = [b'-'; 36];
    for (byte, at) in bits.to_be_bytes().into_iter().zip(PLACES) {
        if let Some(digits) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *digits = HEX[usize::from(byte)];
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
