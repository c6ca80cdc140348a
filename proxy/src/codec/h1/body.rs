//! Body decoder: fixed length, chunks (decoded in place), or until the connection ends.

use super::framing::BodyLength;
use crate::base::headers::HeaderBlock;

/// Most bytes of chunk extensions in one message; they are never forwarded.
pub const MAX_EXTENSIONS: usize = 4096;

/// Most bytes of a trailer section.
pub const MAX_TRAILERS: usize = 16 << 10;

/// Most trailer fields.
const MAX_TRAILER_FIELDS: usize = 100;

/// Most digits of a chunk size.
const MAX_SIZE_DIGITS: u8 = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Digits of the size; how many so far.
    Size(u8),
    /// Inside an extension.
    Extension,
    /// LF of the size line.
    SizeEnd,
    /// Payload.
    Data,
    /// CR after the payload.
    DataCr,
    /// LF after the payload.
    DataLf,
    /// Trailer section up to the empty line.
    Trailers,
}

#[derive(Debug)]
struct Chunks {
    step: Step,
    /// Bytes left of this chunk.
    left: u64,
    extensions: usize,
    trailers: Vec<u8>,
}

/// State of a body being read.
#[derive(Debug, Default)]
pub enum Decoder {
    /// Nothing (more) to read.
    #[default]
    Done,
    /// So many bytes left.
    Exact(u64),
    /// Chunked.
    Chunked(Box<ChunkState>),
    /// Until the end of the connection.
    UntilClose,
}

/// State of a chunked body.
#[derive(Debug)]
pub struct ChunkState(Chunks);

/// What a decoding step found.
#[derive(Debug)]
pub struct Decoded {
    /// Payload bytes, moved to the front of the input.
    pub payload: usize,
    /// Input bytes used.
    pub used: usize,
    /// Trailers at the end of the body.
    pub trailers: Option<HeaderBlock>,
    /// The body is complete.
    pub done: bool,
}

/// The peer's framing is broken.
#[derive(Debug, PartialEq, Eq)]
pub struct BadFraming;

impl Decoder {
    /// For a message's length.
    pub fn new(length: BodyLength) -> Decoder {
        match length {
            BodyLength::None => Decoder::Done,
            BodyLength::Exact(n) => Decoder::Exact(n),
            BodyLength::Chunked => Decoder::Chunked(Box::new(ChunkState(Chunks {
                step: Step::Size(0),
                left: 0,
                extensions: 0,
                trailers: Vec::new(),
            }))),
            BodyLength::UntilClose => Decoder::UntilClose,
        }
    }

    /// Is the body complete?
    pub fn is_done(&self) -> bool {
        matches!(self, Decoder::Done)
    }

    /// Decodes what is there. Payload of a chunked body is moved together at the front.
    pub fn decode(&mut self, input: &mut [u8]) -> Result<Decoded, BadFraming> {
        let decoded = match self {
            Decoder::Done => Decoded { payload: 0, used: 0, trailers: None, done: true },
            Decoder::UntilClose => {
                Decoded { payload: input.len(), used: input.len(), trailers: None, done: false }
            }
            Decoder::Exact(left) => {
                let n = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left = left.saturating_sub(n as u64);
                Decoded { payload: n, used: n, trailers: None, done: *left == 0 }
            }
            Decoder::Chunked(state) => state.0.decode(input)?,
        };
        if decoded.done {
            *self = Decoder::Done;
        }
        Ok(decoded)
    }

    /// The connection ended: fine only for a body that lasts until then.
    pub fn end_of_stream(&mut self) -> Result<(), BadFraming> {
        match self {
            Decoder::Done | Decoder::UntilClose => {
                *self = Decoder::Done;
                Ok(())
            }
            _ => Err(BadFraming),
        }
    }
}

impl Chunks {
    fn decode(&mut self, input: &mut [u8]) -> Result<Decoded, BadFraming> {
        let (mut used, mut payload) = (0usize, 0usize);
        while used < input.len() {
            if self.step == Step::Data {
                let room = input.len() - used;
                let n = usize::try_from(self.left).map_or(room, |left| left.min(room));
                if used != payload {
                    input.copy_within(used..used + n, payload);
                }
                used += n;
                payload += n;
                self.left = self.left.saturating_sub(n as u64);
                if self.left == 0 {
                    self.step = Step::DataCr;
                }
                continue;
            }
            let byte = *input.get(used).ok_or(BadFraming)?;
            used += 1;
            if self.step(byte)? {
                let trailers = self.trailers()?;
                return Ok(Decoded { payload, used, trailers, done: true });
            }
        }
        Ok(Decoded { payload, used, trailers: None, done: false })
    }

    /// One byte outside of payload; true at the end of the body.
    fn step(&mut self, byte: u8) -> Result<bool, BadFraming> {
        self.step = match (self.step, byte) {
            (Step::Size(n), b) if b.is_ascii_hexdigit() && n < MAX_SIZE_DIGITS => {
                let digit = (b as char).to_digit(16).ok_or(BadFraming)?;
                self.left = self.left * 16 + u64::from(digit);
                Step::Size(n + 1)
            }
            (Step::Size(1..), b'\r') | (Step::Extension, b'\r') => Step::SizeEnd,
            (Step::Size(1..), b';') => Step::Extension,
            (Step::Extension, b) if b == b'\t' || (b >= 0x20 && b != 0x7f) => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(BadFraming);
                }
                Step::Extension
            }
            (Step::SizeEnd, b'\n') if self.left == 0 => Step::Trailers,
            (Step::SizeEnd, b'\n') => Step::Data,
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => Step::Size(0),
            (Step::Trailers, b) => return self.trailer_byte(b),
            _ => return Err(BadFraming),
        };
        Ok(false)
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<bool, BadFraming> {
        self.trailers.push(byte);
        if self.trailers.len() > MAX_TRAILERS {
            return Err(BadFraming);
        }
        let crlf = byte == b'\n';
        if crlf && self.trailers.len() >= 2 && self.trailers.get(self.trailers.len() - 2) != Some(&b'\r') {
            return Err(BadFraming);
        }
        Ok(crlf && (self.trailers.len() == 2 || self.trailers.ends_with(b"\r\n\r\n")))
    }

    fn trailers(&mut self) -> Result<Option<HeaderBlock>, BadFraming> {
        let bytes = std::mem::take(&mut self.trailers);
        if bytes.len() <= 2 {
            return Ok(None);
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
        let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&bytes, &mut fields) else {
            return Err(BadFraming);
        };
        let mut block = HeaderBlock::new();
        for field in fields {
            let framing = ["transfer-encoding", "content-length", "host", "connection", "trailer"];
            if framing.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
                return Err(BadFraming);
            }
            if !block.append_received(field.name.as_bytes(), field.value) {
                return Err(BadFraming);
            }
        }
        Ok(Some(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, usize, bool), BadFraming> {
        let mut decoder = Decoder::new(BodyLength::Chunked);
        let (mut out, mut at, mut i) = (Vec::new(), 0, 0);
        while at < text.len() && !decoder.is_done() {
            let n =
                sizes.get(i % sizes.len().max(1)).copied().unwrap_or(text.len()).clamp(1, text.len() - at);
            i += 1;
            let mut piece = text[at..at + n].to_vec();
            let decoded = decoder.decode(&mut piece)?;
            out.extend_from_slice(&piece[..decoded.payload]);
            at += decoded.used;
        }
        Ok((out, at, decoder.is_done()))
    }

    #[test]
    fn chunks_are_decoded_and_what_follows_is_left() {
        let text = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nGET";
        assert_eq!(all(text, &[]).unwrap(), (b"hello!".to_vec(), text.len() - 3, true));
    }

    #[test]
    fn odd_chunks_are_refused() {
        for bad in [
            &b"\r\n"[..],
            b"5 \r\nhello",
            b"5\nhello",
            b"+5\r\nhello",
            b"0x5\r\nhello",
            b"5\r\nhelloX",
            b"5\r\nhello\n",
            b"5;a\x01\r\n",
            b"5;a\n",
            b"ffffffffffffffff\r\n",
            b"0\r\nA b\r\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nContent-Length: 1\r\n\r\n",
        ] {
            assert_eq!(all(bad, &[]), Err(BadFraming), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn an_exact_body_ends_where_it_should() {
        let mut decoder = Decoder::new(BodyLength::Exact(3));
        let decoded = decoder.decode(&mut b"abcdef".to_vec()).unwrap();
        assert_eq!((decoded.payload, decoded.used, decoded.done), (3, 3, true));
        assert_eq!(Decoder::new(BodyLength::Exact(1)).end_of_stream(), Err(BadFraming));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_body(sizes in proptest::collection::vec(1usize..9, 1..20)) {
            let text = b"3\r\nabc\r\nA;q=\"1\"\r\n0123456789\r\n0\r\nX: y\r\nZ: w\r\n\r\nrest";
            prop_assert_eq!(all(text, &sizes).unwrap(), (b"abc0123456789".to_vec(), text.len() - 4, true));
        }
    }
}
