//! Bytes both ways with half-close: what one side sends is written to the other before more is read.

use super::Client;
use crate::base::clock::{self, Instant};
use crate::model::listener::TcpProxy;
use crate::network::Told;
use crate::observe::record::Record;
use crate::transport::Alarm;
use crate::transport::{Input, Io, Output};
use std::future::poll_fn;
use std::task::{Context, Poll};

/// How a relay ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Both sides have ended.
    Complete,
    /// The client's side broke.
    DownBroken,
    /// The upstream's side broke.
    UpBroken,
    /// Nothing moved for the idle timeout.
    Idle,
    /// `max_downstream_connection_duration`.
    TooLong,
    /// Its listener is gone, and the drain time over.
    Retired,
}

/// The side of a direction that broke.
enum Side {
    From,
    To,
}

/// One direction.
#[derive(Default)]
struct Flow {
    input: Input,
    output: Output,
    ended: bool,
    shut: bool,
    moved: u64,
}

impl Flow {
    /// Moves as much as both sides allow; true when bytes moved.
    fn poll(&mut self, from: &mut Io, to: &mut Io, cx: &mut Context<'_>) -> Result<bool, Side> {
        let mut moved = false;
        loop {
            if !self.output.is_empty() {
                match self.output.poll_flush(to, cx) {
                    Poll::Ready(result) => result.map_err(|_| Side::To)?,
                    Poll::Pending => return Ok(moved),
                }
                moved = true;
            }
            if !self.input.is_empty() {
                let n = self.input.len();
                self.output.write(to, cx, self.input.bytes(), &[]).map_err(|_| Side::To)?;
                self.input.consume(n);
                self.moved = self.moved.saturating_add(n as u64);
                moved = true;
                continue;
            }
            if self.ended {
                // A side that cannot be shut is gone, and with it whoever could miss the end.
                self.shut = self.shut || to.poll_shutdown(cx).is_ready();
                return Ok(moved);
            }
            match self.input.poll_fill(from, cx, usize::MAX).map_err(|_| Side::From)? {
                Poll::Ready(0) => self.ended = true,
                Poll::Ready(_) => {}
                Poll::Pending => return Ok(moved),
            }
        }
    }
}

/// Relays until both sides have ended, one breaks, or a time is over.
pub async fn relay(
    client: Client,
    mut up: Io,
    proxy: &TcpProxy,
    record: &mut Record,
    told: &mut Told<'_>,
) -> End {
    let Client { io: mut down, read, stay } = client;
    let mut report = told.interval.map(|interval| clock::now() + interval);
    let mut there = Flow { input: Input::with(read), ..Flow::default() };
    let mut back = Flow::default();
    let mut alarm = Alarm::default();
    let mut last = clock::now();
    let too_long: Option<Instant> = proxy.max_duration.map(|t| record.conn.start + t);
    let end = poll_fn(|cx| {
        let moved = match (there.poll(&mut down, &mut up, cx), back.poll(&mut up, &mut down, cx)) {
            (Ok(a), Ok(b)) => a || b,
            (Err(Side::From), _) | (_, Err(Side::To)) => return Poll::Ready(End::DownBroken),
            (Err(Side::To), _) | (_, Err(Side::From)) => return Poll::Ready(End::UpBroken),
        };
        if there.shut && back.shut {
            return Poll::Ready(End::Complete);
        }
        if stay.poll_over(cx).is_ready() {
            return Poll::Ready(End::Retired);
        }
        if moved {
            last = clock::now();
        }
        let idle = proxy.idle_timeout.map(|t| last + t);
        loop {
            let first = [idle, too_long, report].into_iter().flatten().min();
            std::task::ready!(alarm.poll_at(cx, first));
            if report.is_none() || report != first {
                return Poll::Ready(if idle.is_some() && idle == first { End::Idle } else { End::TooLong });
            }
            told.moved(there.moved, back.moved, record);
            report = told.interval.map(|interval| clock::now() + interval);
        }
    })
    .await;
    if matches!(end, End::DownBroken | End::UpBroken) {
        // What was cut off must not look complete to the other side.
        down.reset_on_drop();
        up.reset_on_drop();
    }
    record.bytes_received = there.moved;
    record.bytes_sent = back.moved;
    end
}
