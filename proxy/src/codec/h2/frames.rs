//! Frame heads (RFC 9113 section 4.1) picked out of a byte stream in any pieces. Payloads are skipped.

/// Bytes of a frame head.
pub const HEAD: usize = 9;

/// Bytes of the client's preface (RFC 9113 section 3.4).
pub const PREFACE: u32 = 24;

/// Frame types that are charged (RFC 9113 section 6).
pub mod kind {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// ACK of SETTINGS and PING.
pub const ACK: u8 = 1;
/// END_STREAM of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// END_HEADERS of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Payload length.
    pub len: u32,
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream.
    pub stream: u32,
}

impl Head {
    fn parse(b: &[u8; HEAD]) -> Head {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *b;
        Head {
            len: u32::from_be_bytes([0, l0, l1, l2]),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    /// Is the flag set?
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Where a byte stream stands between frames.
#[derive(Debug, Default)]
pub struct Frames {
    head: [u8; HEAD],
    have: usize,
    /// Bytes to pass over: payload, or the preface.
    skip: u32,
}

impl Frames {
    /// A stream that begins with `skip` bytes that are no frame.
    pub fn after(skip: u32) -> Frames {
        Frames { skip, ..Frames::default() }
    }

    /// More bytes; every head that is complete with them is told.
    pub fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        mut tell: impl FnMut(Head) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let passed = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
            self.skip = self.skip.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
            bytes = bytes.get(passed..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            let n = HEAD.saturating_sub(self.have).min(bytes.len());
            if let (Some(to), Some(from)) =
                (self.head.get_mut(self.have..self.have.saturating_add(n)), bytes.get(..n))
            {
                to.copy_from_slice(from);
            }
            self.have = self.have.saturating_add(n);
            bytes = bytes.get(n..).unwrap_or_default();
            if self.have < HEAD {
                return Ok(());
            }
            self.have = 0;
            let head = Head::parse(&self.head);
            self.skip = head.len;
            tell(head)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_in_any_pieces() {
        let mut bytes = vec![b'P'; 24];
        bytes.extend_from_slice(&[0, 0, 3, 0, 1, 0, 0, 0, 5, 1, 2, 3]);
        bytes.extend_from_slice(&[0, 0, 0, 4, 1, 0x80, 0, 0, 0]);
        for piece in 1..=bytes.len() {
            let mut frames = Frames::after(PREFACE);
            let mut found = Vec::new();
            for part in bytes.chunks(piece) {
                frames
                    .feed(part, |head| {
                        found.push(head);
                        Ok::<(), ()>(())
                    })
                    .unwrap();
            }
            let data = Head { len: 3, kind: kind::DATA, flags: END_STREAM, stream: 5 };
            let settings = Head { len: 0, kind: kind::SETTINGS, flags: ACK, stream: 0 };
            assert_eq!(found, [data, settings], "pieces of {piece}");
        }
    }
}
