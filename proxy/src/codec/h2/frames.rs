//! Frames (RFC 9113 sections 4 and 6): their heads, types, flags and error codes.

/// Bytes of a frame head.
pub const HEAD: usize = 9;

/// The client's preface (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Largest payload that we take, and that we send (RFC 9113 section 6.5.2: the least that every peer takes).
pub const MAX_PAYLOAD: usize = 16_384;

/// First window of streams and of the connection before any SETTINGS (RFC 9113 section 6.9.2).
pub const FIRST_WINDOW: u32 = 65_535;

/// Largest window (RFC 9113 section 6.9.1).
pub const MAX_WINDOW: u32 = 0x7fff_ffff;

/// Highest stream number.
pub const MAX_STREAM: u32 = 0x7fff_ffff;

/// Frame types (RFC 9113 section 6).
pub mod kind {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// SETTINGS (RFC 9113 section 6.5.2, RFC 8441 section 3).
pub mod setting {
    #![allow(missing_docs)]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// ACK of SETTINGS and PING.
pub const ACK: u8 = 1;
/// END_STREAM of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// END_HEADERS of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;
/// PADDED of DATA and HEADERS.
pub const PADDED: u8 = 8;
/// PRIORITY of HEADERS.
pub const PRIORITY: u8 = 0x20;

/// An error code (RFC 9113 section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason(pub u32);

#[allow(missing_docs)]
impl Reason {
    pub const NO_ERROR: Reason = Reason(0);
    pub const PROTOCOL_ERROR: Reason = Reason(1);
    pub const INTERNAL_ERROR: Reason = Reason(2);
    pub const FLOW_CONTROL_ERROR: Reason = Reason(3);
    pub const STREAM_CLOSED: Reason = Reason(5);
    pub const FRAME_SIZE_ERROR: Reason = Reason(6);
    pub const REFUSED_STREAM: Reason = Reason(7);
    pub const CANCEL: Reason = Reason(8);
    pub const COMPRESSION_ERROR: Reason = Reason(9);
    pub const ENHANCE_YOUR_CALM: Reason = Reason(11);
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Payload length.
    pub len: usize,
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream.
    pub stream: u32,
}

impl Head {
    /// The head that the bytes begin with, and what follows it; none while it is incomplete.
    pub fn split(bytes: &[u8]) -> Option<(Head, &[u8])> {
        let ([l0, l1, l2, kind, flags, s0, s1, s2, s3], rest) = bytes.split_first_chunk::<HEAD>()?;
        let head = Head {
            len: u32::from_be_bytes([0, *l0, *l1, *l2]) as usize,
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes([s0 & 0x7f, *s1, *s2, *s3]),
        };
        Some((head, rest))
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; HEAD] {
        let [_, l0, l1, l2] = (self.len as u32).to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    /// Is the flag set?
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes a frame with a small payload.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&Head { len: payload.len(), kind, flags, stream }.bytes());
    out.extend_from_slice(payload);
}

/// A number of four bytes, if it is that long.
pub fn number(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back() {
        let head = Head { len: 0x01_02_03, kind: kind::HEADERS, flags: END_STREAM, stream: MAX_STREAM };
        let bytes = head.bytes();
        assert_eq!(Head::split(&bytes), Some((head, &[][..])));
        assert_eq!(Head::split(&bytes[..8]), None);
        let mut out = Vec::new();
        put(&mut out, kind::WINDOW_UPDATE, 0, 5, &7u32.to_be_bytes());
        let (head, payload) = Head::split(&out).unwrap();
        assert_eq!((head.len, head.stream, number(payload)), (4, 5, Some(7)));
    }
}
