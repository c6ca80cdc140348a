//! Frames in any pieces, and any bytes: the state of a connection without a socket.

use super::account::{Account, CONNECTION_WINDOW};
use super::collect::HeadLimits;
use super::core::{Core, Fatal, Link, Role};
use super::frames::{self, kind};
use super::hpack::{Encoder, Worth};
use super::streams::Entry;
use crate::base::names::Id;
use crate::model::http::Http2Options;
use proptest::prelude::*;
use std::rc::Rc;

const LIMITS: HeadLimits = HeadLimits { bytes: 60 << 10, fields: 100 };

fn open(role: Role) -> Rc<Link> {
    let options = Http2Options { allow_connect: true, ..Http2Options::default() };
    let account = Account::new(&options, CONNECTION_WINDOW, super::downstream_stats());
    let link = Core::open(role, &options, LIMITS, account);
    if role == Role::Client {
        let core = &mut *link.core();
        core.last = 5;
        for id in [1, 3, 5] {
            core.streams.add(Entry::new(id, 65_535, 65_535));
        }
    }
    link
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frames::put(&mut out, kind, flags, stream, payload);
    out
}

fn block(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        encoder.field(&mut out, Id::Other, name.as_bytes(), value.as_bytes(), Worth::Keeping);
    }
    out
}

const POST: [(&str, &str); 5] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/x"), ("content-length", "7")];

/// What a client might send: every kind of frame, blocks in several frames, padding.
fn conversation() -> Vec<u8> {
    let mut encoder = Encoder::new();
    let first = block(&mut encoder, &POST);
    let second = block(&mut encoder, &POST);
    let trailers = block(&mut encoder, &[("x-end", "1")]);
    let padded = [&[3], &second[..], &[0; 3]].concat();
    let (head, tail) = first.split_at(first.len() / 2);
    [
        frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0, 0, 99, 0, 0, 0, 1]),
        frame(kind::HEADERS, 0, 1, head),
        frame(kind::CONTINUATION, 0, 1, &[]),
        frame(kind::CONTINUATION, frames::END_HEADERS, 1, tail),
        frame(kind::DATA, frames::PADDED, 1, b"\x04abcpppp"),
        frame(kind::HEADERS, frames::END_HEADERS | frames::PADDED, 3, &padded),
        frame(kind::PING, 0, 0, b"12345678"),
        frame(kind::DATA, 0, 3, b"1234567"),
        frame(kind::DATA, 0, 1, b"defg"),
        frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]),
        frame(0x42, 0xff, 9, b"unknown"),
        frame(kind::HEADERS, frames::END_HEADERS | frames::END_STREAM, 1, &trailers),
        frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]),
        frame(kind::GOAWAY, 0, 0, &[0; 8]),
    ]
    .concat()
}

/// Feeds pieces as a socket would give them.
fn feed<'a>(link: &Link, pieces: impl Iterator<Item = &'a [u8]>) -> Result<(), Fatal> {
    let mut held: Vec<u8> = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let core = &mut *link.core();
            let used = core.receive(&held)?;
            held.drain(..used);
            // As if they were given out; the entries stay to be looked at.
            let heads = core.arrived.drain(..).count();
            if heads == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Everything that can be seen of a connection's state.
fn seen(link: &Link) -> String {
    let core = &mut *link.core();
    let mut all = String::new();
    let (send, last, answers) = (core.send_window, core.last, core.out.len());
    for entry in core.streams.each() {
        let mut body = Vec::new();
        while let Some(part) = entry.inbox.pop() {
            body.extend_from_slice(&part);
        }
        let trailers = entry.inbox.trailers.as_ref().map(|block| block.len());
        let (id, ended, broken) = (entry.id, entry.inbox.ended, entry.broken);
        all += &format!("{id} {body:?} {trailers:?} {ended} {broken:?} {} | ", entry.send_window);
    }
    format!("{all} {send} {last} {answers} {:?}", core.peer_last)
}

#[test]
fn a_conversation_is_understood() {
    let link = open(Role::Server);
    let all = conversation();
    assert_eq!(feed(&link, [&all[..]].into_iter()), Ok(()));
    let seen = seen(&link);
    let first = "1 [97, 98, 99, 100, 101, 102, 103] Some(1) true None 65792 | ";
    let second = "3 [49, 50, 51, 52, 53, 54, 55] None false Some(Reset(Reason(8))) 65536 | ";
    assert!(seen.starts_with(&format!("{first}{second}")), "{seen}");
}

#[test]
fn a_body_must_be_as_long_as_its_head_says() {
    for (body, end) in [("12345678", false), ("123456", true)] {
        let link = open(Role::Server);
        let all = [
            frame(kind::SETTINGS, 0, 0, &[]),
            frame(kind::HEADERS, frames::END_HEADERS, 1, &block(&mut Encoder::new(), &POST)),
            frame(kind::DATA, u8::from(end), 1, body.as_bytes()),
        ]
        .concat();
        assert_eq!(feed(&link, [&all[..]].into_iter()), Ok(()));
        assert!(seen(&link).contains("Some(Protocol)"), "{body}");
    }
}

proptest! {
    #[test]
    fn pieces_make_no_difference(cuts in prop::collection::vec(1usize..40, 1..80)) {
        let all = conversation();
        let whole = open(Role::Server);
        feed(&whole, [&all[..]].into_iter()).unwrap();
        let link = open(Role::Server);
        let (mut rest, mut pieces) = (&all[..], Vec::new());
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        feed(&link, pieces.into_iter()).unwrap();
        prop_assert_eq!(seen(&link), seen(&whole));
    }

    #[test]
    fn any_frames_are_survived(
        frames in prop::collection::vec(
            (0u8..11, any::<u8>(), prop_oneof![0u32..8, any::<u32>()], prop::collection::vec(any::<u8>(), 0..40)),
            1..60,
        ),
        client in any::<bool>(),
    ) {
        let link = open(if client { Role::Client } else { Role::Server });
        let mut all = frame(kind::SETTINGS, 0, 0, &[]);
        for (kind, flags, stream, payload) in &frames {
            all.extend(frame(*kind, *flags, *stream & 0x7fff_ffff, payload));
        }
        // Whatever the verdict: no panic, and what is held stays within the windows.
        if let Err(fatal) = feed(&link, all.chunks(17)) {
            link.core().fatal(fatal);
        }
        let held: usize = link.core().streams.each().map(|entry| entry.inbox.held).sum();
        prop_assert!(held <= all.len());
    }
}
