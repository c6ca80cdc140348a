//! The task's side of a connection: moves its bytes between the socket and the state that its streams share.

use super::core::{Core, Fatal, Link};
use super::frames::PREFACE;
use super::streams::Broken;
use crate::transport::{Input, Io, scratch};
use std::rc::Rc;
use std::task::{Context, Poll};

/// A connection's bytes.
#[derive(Debug)]
pub(super) struct Wire {
    io: Io,
    input: Input,
    link: Rc<Link>,
}

/// How a connection's bytes ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The peer closed it, or it broke.
    Closed,
    /// For the peer's fault; it has been told.
    Fatal(Fatal),
}

impl Wire {
    /// Over a stream of which `early` was read already.
    pub(super) fn new(io: Io, early: Vec<u8>, link: Rc<Link>) -> Wire {
        Wire { io, input: Input::with(early), link }
    }

    /// Reads the client's preface; false when it is none, or the client went away.
    pub(super) fn poll_preface(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            // Our SETTINGS need not wait for it (RFC 9113 section 3.4).
            let link = self.link.clone();
            if let Poll::Ready(Err(_)) = link.core().out.poll_write(&mut self.io, cx) {
                return Poll::Ready(false);
            }
            let bytes = self.input.bytes();
            let n = bytes.len().min(PREFACE.len());
            if bytes.get(..n) != PREFACE.get(..n) {
                return Poll::Ready(false);
            }
            if n == PREFACE.len() {
                self.input.consume(n);
                return Poll::Ready(true);
            }
            match self.input.poll_fill(&mut self.io, cx, scratch::MIN_READ) {
                Poll::Pending => {
                    self.input.stash();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(false),
            }
        }
    }

    /// Moves bytes; ready when streams have arrived, or with the end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let moved = self.poll_moves(cx);
        match &moved {
            Poll::Ready(Err(End::Closed)) => self.link.core().end(Broken::Ended),
            Poll::Ready(Err(End::Fatal(fatal))) => self.fail(*fatal, cx),
            Poll::Ready(Ok(())) => {}
            Poll::Pending => self.input.stash(),
        }
        moved
    }

    fn poll_moves(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let link = self.link.clone();
        let core = &mut *link.core();
        core.driven_by(cx);
        loop {
            if core.is_due() {
                let polled = core.out.poll_write(&mut self.io, cx);
                core.wrote();
                if let Poll::Ready(Err(_)) = polled {
                    return Poll::Ready(Err(End::Closed));
                }
            }
            if !self.input.is_empty() {
                match core.receive(self.input.bytes()) {
                    Ok(used) => self.input.consume(used),
                    Err(fatal) => return Poll::Ready(Err(End::Fatal(fatal))),
                }
                if !core.arrived.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            match self.input.poll_fill(&mut self.io, cx, scratch::SCRATCH) {
                Poll::Pending if core.is_due() && !core.out.is_full() => {}
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(End::Closed)),
            }
        }
    }

    /// Ends the connection for the peer's fault.
    pub(super) fn fail(&mut self, fatal: Fatal, cx: &mut Context<'_>) {
        let link = self.link.clone();
        let core = &mut *link.core();
        core.fatal(fatal);
        self.last_words(core, cx);
    }

    /// What is in the outbox leaves as far as the socket takes it at once.
    fn last_words(&mut self, core: &mut Core, cx: &mut Context<'_>) {
        // The connection ends whether or not the peer hears why.
        if let Poll::Ready(Ok(())) = core.out.poll_write(&mut self.io, cx) {
            let _ = self.io.poll_shutdown(cx);
        }
    }

    /// Ends the connection after all that is to be said; ready when it is.
    pub(super) fn poll_finish(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
        // A socket that fails has nothing more to take.
        let _ = std::task::ready!(core.out.poll_write(&mut self.io, cx));
        core.end(Broken::Ended);
        let _ = self.io.poll_shutdown(cx);
        Poll::Ready(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.link.core().end(Broken::Ended);
    }
}
