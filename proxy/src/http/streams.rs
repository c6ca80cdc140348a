//! A client's HTTP/2 connection: its streams are given to tasks of their own; the connection's times, and going away.

use super::connection::{Counted, EndedBy, Place, Rest};
use super::manager::ManagerCell;
use super::served::{self, Arrived};
use crate::base::clock::{self, Instant};
use crate::codec::h2::server::{Accepted, Closed, Connection};
use crate::codec::h2::{BadHead, HeadLimits};
use crate::failure::Flag;
use crate::live::drain;
use crate::observe::record::{Protocol, Record};
use crate::observe::stats::http as stat;
use crate::transport::{Alarm, Io};
use crate::upstream::Worker;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Longest wait for the client's preface where the connection manager sets no time for heads.
const PREFACE: Duration = Duration::from_secs(10);

/// Longest time for the last GOAWAY to be taken.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A client's HTTP/2 connection.
pub(super) struct Http2 {
    pub(super) worker: Rc<Worker>,
    pub(super) manager: Rc<ManagerCell>,
    pub(super) conn: Rest,
    pub(super) version: u64,
    alarm: Alarm,
    served: u32,
    idle_since: Option<Instant>,
    going_since: Option<Instant>,
    /// The last GOAWAY was said; the client has this long to take it.
    abandoned: bool,
}

impl Http2 {
    pub(super) fn new(place: Place, conn: Rest) -> Http2 {
        let Place { worker, version, manager } = place;
        let idle_since = Some(clock::now());
        Http2 {
            worker,
            manager,
            conn,
            version,
            alarm: Alarm::default(),
            served: 0,
            idle_since,
            going_since: None,
            abandoned: false,
        }
    }

    /// Serves the connection to its end. Streams that still run end by themselves.
    pub(super) async fn run(mut self, io: Io, early: Vec<u8>) {
        let mut counted = Counted::new(self.manager.clone(), &self.conn.facts, true).await;
        let config = self.manager.config.clone();
        let limits = HeadLimits { bytes: config.max_request_headers, fields: config.max_headers_count };
        let wait = config.request_headers_timeout.unwrap_or(PREFACE);
        let opening = Connection::open(io, early, &config.http2, limits);
        let mut connection = match tokio::time::timeout(wait, opening).await {
            Ok(Some(connection)) => connection,
            opened => {
                self.manager.stats.inc(stat::DOWNSTREAM_CX_PROTOCOL_ERROR);
                if opened.is_err() {
                    counted.ended(EndedBy::Us);
                }
                return;
            }
        };
        let closed = poll_fn(|cx| self.poll(&mut connection, cx)).await;
        counted.ended(match closed {
            Closed::Gone => EndedBy::Client { busy: connection.streams() > 0 },
            _ => EndedBy::Us,
        });
        match closed {
            Closed::Gone | Closed::Done | Closed::Keepalive => {}
            Closed::Protocol => self.manager.stats.inc(stat::DOWNSTREAM_CX_PROTOCOL_ERROR),
            Closed::Flood(flood) => {
                tracing::debug!(%flood, listener = %self.conn.facts.listener, "HTTP/2 connection closed");
                if flood == crate::codec::h2::account::Flood::Resets {
                    self.manager.stats.inc(stat::DOWNSTREAM_RQ_TOO_MANY_PREMATURE_RESETS);
                }
                self.manager.stats.inc(stat::DOWNSTREAM_CX_PROTOCOL_ERROR);
            }
        }
    }

    fn poll(&mut self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<Closed> {
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Ok(accepted)) => self.accept(connection, accepted),
                Poll::Ready(Err(closed)) => return Poll::Ready(closed),
                Poll::Pending => break,
            }
        }
        loop {
            if self.look_after(connection) {
                // What was decided must leave.
                match connection.poll_accept(cx) {
                    Poll::Ready(Ok(accepted)) => self.accept(connection, accepted),
                    Poll::Ready(Err(closed)) => return Poll::Ready(closed),
                    Poll::Pending => {}
                }
            }
            if connection.is_stuck() {
                return Poll::Ready(Closed::Protocol);
            }
            if self.conn.stay.poll_over(cx).is_ready() && !self.abandoned {
                self.abandon(connection);
            }
            if self.abandoned && self.going_since.is_some_and(|since| since.elapsed() >= LAST_WORDS) {
                return Poll::Ready(Closed::Done);
            }
            let by = self.by(connection);
            std::task::ready!(self.alarm.poll_at(cx, by));
            if let Poll::Ready(Err(closed)) =
                connection.poll_accept(cx).map_ok(|accepted| self.accept(connection, accepted))
            {
                return Poll::Ready(closed);
            }
        }
    }

    /// The connection's next deadline.
    fn by(&self, connection: &Connection) -> Option<Instant> {
        let config = &self.manager.config;
        let idle = self.idle_since.zip(config.idle_timeout).map(|(since, t)| since + t);
        let old = config.max_connection_duration.map(|t| self.conn.facts.start + t);
        let going = match self.going_since {
            Some(since) if self.abandoned => Some(since + LAST_WORDS),
            Some(since) if connection.streams() == 0 => Some(since + config.drain_timeout),
            Some(_) => None,
            None => [idle, old].into_iter().flatten().min(),
        };
        [going, connection.poll_by()].into_iter().flatten().min()
    }

    /// Goes away when it is time; true when something is to be sent.
    fn look_after(&mut self, connection: &mut Connection) -> bool {
        let unused = connection.streams() == 0;
        match (unused, self.idle_since) {
            (true, None) => self.idle_since = Some(clock::now()),
            (false, Some(_)) => self.idle_since = None,
            _ => {}
        }
        let now = clock::now();
        let config = &self.manager.config;
        if let Some(since) = self.going_since {
            let overdue = unused && !self.abandoned && now >= since + config.drain_timeout;
            if overdue {
                self.abandon(connection);
            }
            return overdue;
        }
        let idle = self.idle_since.zip(config.idle_timeout).is_some_and(|(since, t)| now >= since + t);
        let old = config.max_connection_duration.is_some_and(|t| now >= self.conn.facts.start + t);
        let counter = if idle {
            stat::DOWNSTREAM_CX_IDLE_TIMEOUT
        } else if old {
            stat::DOWNSTREAM_CX_MAX_DURATION_REACHED
        } else if unused && drain::closes_idle(self.served > 0) {
            stat::DOWNSTREAM_CX_DRAIN_CLOSE
        } else {
            return false;
        };
        self.manager.stats.inc(counter);
        self.go(connection);
        true
    }

    fn go(&mut self, connection: &mut Connection) {
        connection.go_away();
        self.going_since = Some(clock::now());
    }

    /// The last words: who has streams still loses them in a moment.
    fn abandon(&mut self, connection: &mut Connection) {
        self.abandoned = true;
        self.going_since = Some(clock::now());
        connection.abandon();
    }

    fn accept(&mut self, connection: &mut Connection, accepted: Accepted) {
        self.served = self.served.saturating_add(1);
        self.idle_since = None;
        self.conn.refresh(&self.worker, &mut self.version, &mut self.manager);
        if self.going_since.is_none() {
            let worn =
                self.manager.config.max_requests_per_connection.is_some_and(|most| self.served >= most);
            if worn {
                self.manager.stats.inc(stat::DOWNSTREAM_CX_MAX_REQUESTS_REACHED);
            }
            if self.conn.drains(&self.manager) || worn {
                self.go(connection);
            }
        }
        let facts = self.conn.facts.clone();
        match accepted {
            Ok((head, stream)) => served::serve(Arrived {
                stream,
                head,
                facts,
                manager: self.manager.clone(),
                worker: self.worker.clone(),
                buffer_limit: self.conn.buffer_limit,
            }),
            Err(bad) => refused(&self.manager, served::record(facts), bad),
        }
    }
}

/// The log line of a stream whose head was refused: no code where the stream was reset (spec 1.9).
fn refused(manager: &ManagerCell, mut record: Record, bad: BadHead) {
    manager.stats.inc(stat::DOWNSTREAM_RQ_TOTAL);
    manager.stats.inc(stat::DOWNSTREAM_RQ_HTTP2_TOTAL);
    if bad == BadHead::Reset {
        manager.stats.inc(stat::DOWNSTREAM_RQ_RX_RESET);
    } else {
        manager.stats.inc(stat::DOWNSTREAM_RQ_TX_RESET);
    }
    record.protocol = Some(Protocol::Http2);
    record.flags.set(Flag::DR);
    record.details = bad.details().into();
    record.moments.end = Some(clock::now().saturating_duration_since(record.start));
    for log in &manager.config.logs {
        log.log(&record);
    }
}
