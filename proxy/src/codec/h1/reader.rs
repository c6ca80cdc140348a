//! Reads a body off a connection; both sides use it.

use super::body::Decoder;
use super::framing::BodyLength;
use crate::base::headers::HeaderBlock;
use crate::codec::message::{BodyEvent, Data, Traffic};
use crate::transport::{Input, Io};
use std::task::{Context, Poll, ready};

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// The connection ended or broke.
    Ended,
    /// The peer's framing is broken.
    Framing,
}

/// Input of a connection and the state of the body that is read from it.
#[derive(Debug, Default)]
pub struct Reader {
    /// Unused bytes.
    pub input: Input,
    /// The peer has sent its FIN.
    pub ended: bool,
    /// Bytes of the present message that were used.
    pub received: Traffic,
    decoder: Decoder,
    /// Bytes of the input lent to the caller by the last event.
    lent: usize,
    trailers: Option<HeaderBlock>,
}

impl Reader {
    /// With bytes that were read before.
    pub fn with(read: Vec<u8>) -> Reader {
        Reader { input: Input::with(read), ..Reader::default() }
    }

    /// A body of this length begins.
    pub fn begin(&mut self, length: BodyLength) {
        self.decoder = Decoder::new(length);
        self.trailers = None;
    }

    /// Is the body complete?
    pub fn is_done(&self) -> bool {
        self.decoder.is_done() && self.trailers.is_none()
    }

    /// Next part of the body, at most `most` bytes (not 0); they are lent until [`Reader::release`]. Cancel safe.
    pub fn poll_body(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Result<BodyEvent<'_>, ReadError>> {
        self.use_up();
        loop {
            if let Some(trailers) = self.trailers.take() {
                self.input.stash();
                return Poll::Ready(Ok(BodyEvent::Trailers(trailers)));
            }
            if self.decoder.is_done() {
                self.input.stash();
                return Poll::Ready(Ok(BodyEvent::End));
            }
            if self.input.is_empty() {
                match ready!(self.input.poll_fill(io, cx, most)) {
                    Ok(0) => {
                        self.ended = true;
                        let end = self.decoder.end_of_stream().map(|()| BodyEvent::End);
                        return Poll::Ready(end.map_err(|_| ReadError::Ended));
                    }
                    Ok(_) => {}
                    Err(_) => return Poll::Ready(Err(ReadError::Ended)),
                }
            }
            let part = self.input.bytes_mut();
            let part = part.get_mut(..most.min(part.len())).unwrap_or_default();
            let decoded = self.decoder.decode(part).map_err(|_| ReadError::Framing)?;
            let trailers = decoded
                .trailers
                .as_ref()
                .map_or(0, |t| t.byte_size().saturating_add(t.len().saturating_mul(3)));
            self.received.head(decoded.used, trailers);
            self.trailers = decoded.trailers;
            if decoded.payload > 0 {
                self.lent = decoded.used;
                let last = decoded.done && self.trailers.is_none();
                let bytes = self.input.bytes().get(..decoded.payload).unwrap_or_default();
                return Poll::Ready(Ok(BodyEvent::Data(Data::Borrowed(bytes), last)));
            }
            self.input.consume(decoded.used);
        }
    }

    /// Next bytes of a tunnel, as they come; lent until [`Reader::release`].
    pub fn poll_raw(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<BodyEvent<'_>, ReadError>> {
        self.use_up();
        if self.input.is_empty() {
            match ready!(self.input.poll_fill(io, cx, usize::MAX)) {
                Ok(0) => {
                    self.ended = true;
                    return Poll::Ready(Ok(BodyEvent::End));
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(ReadError::Ended)),
            }
        }
        self.lent = self.input.len();
        self.received.body(self.lent);
        Poll::Ready(Ok(BodyEvent::Data(Data::Borrowed(self.input.bytes()), false)))
    }

    /// Gives lent bytes back and keeps an exact copy of the rest.
    pub fn release(&mut self) {
        self.use_up();
        self.input.stash();
    }

    fn use_up(&mut self) {
        if self.lent > 0 {
            self.input.consume(self.lent);
            self.lent = 0;
        }
    }
}
