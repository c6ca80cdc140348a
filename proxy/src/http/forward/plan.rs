//! What holds for all attempts of one request: cluster, times, retries, the kept body, hosts tried.

use super::mirror;
use super::replay::Replay;
use super::retry::Retries;
use super::timeouts::Timeouts;
use crate::base::clock::Instant;
use crate::base::names::HeaderName;
use crate::failure::Reset;
use crate::http::exchange::Exchange;
use crate::live::host::Host;
use crate::model::cluster::{Cluster, Discovery};
use crate::model::route_action::{Forward, Mirror};
use crate::upstream::ClusterCell;
use crate::upstream::cell::Avoid;
use crate::upstream::lb::original_dst;
use crate::upstream::pool::HostPool;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// The plan of a forwarded request.
pub struct Plan<'r> {
    /// The route's action.
    pub forward: &'r Forward,
    /// The cluster's cell.
    pub cell: Rc<ClusterCell>,
    /// Its configuration when the request began.
    pub config: Rc<Arc<Cluster>>,
    /// Times.
    pub times: Timeouts,
    /// Retries.
    pub retries: Retries,
    /// The kept body.
    pub replay: Replay,
    /// Hash for the balancer.
    pub hash: Option<u64>,
    /// Copies to be made once the body is complete.
    pub mirrors: &'r [Mirror],
    /// An internal client wants 204 instead of 504.
    pub alt_response: bool,
    /// What the attempt ended with that is replayed: only fresh connections from then on.
    pub replayed: Option<(Reset, Cow<'static, str>)>,
    /// The request was read to its end.
    pub request_read: bool,
    /// When it was complete.
    pub sent_at: Option<Instant>,
    /// Hosts tried.
    pub tried: SmallVec<[u64; 4]>,
    /// Their priorities, where the policy asks.
    pub priorities: SmallVec<[u32; 4]>,
    /// Priorities that the policy passes over for now.
    pub passed_over: SmallVec<[u32; 4]>,
}

/// The address that an original-destination cluster goes to: named by the header, else the connection's own.
fn original(x: &Exchange<'_>, header: Option<&HeaderName>, port: Option<u16>) -> Option<SocketAddr> {
    let named = header.and_then(|name| x.request.headers.find(name)).and_then(original_dst::parse);
    let local = || Some(SocketAddr::new(x.record.conn.local.ip()?, x.record.conn.local.port()?));
    let mut address = if header.is_some() { named? } else { local()? };
    if let Some(port) = port {
        address.set_port(port);
    }
    Some(address)
}

/// Picks that a replay may take to find another host: one that draws among two fails once in 2^32.
const REPLAY_PICKS: u32 = 32;

impl Plan<'_> {
    /// Picks a host, avoiding what the policy or a replay says.
    pub fn pick(&mut self, x: &Exchange<'_>) -> Option<Rc<HostPool>> {
        if let Discovery::OriginalDst { header, port, .. } = &self.config.discovery {
            return self.cell.original(&x.record.conn, original(x, header.as_ref(), *port));
        }
        let policy = self.retries.policy();
        let previous = !self.tried.is_empty()
            && (self.replayed.is_some() || policy.is_some_and(|p| p.avoid_previous_hosts));
        let again = policy.filter(|_| !self.tried.is_empty());
        let canary = again.is_some_and(|p| p.omit_canary_hosts);
        let marked = again.filter(|p| !p.omit_metadata.is_empty());
        let attempts = policy.map_or(1, |p| p.host_selection_attempts).max(if self.replayed.is_some() {
            REPLAY_PICKS
        } else {
            1
        });
        let frequency = policy.and_then(|p| p.avoid_previous_priorities);
        let due = frequency
            .is_some_and(|n| self.tried.len() >= n as usize && self.tried.len().is_multiple_of(n as usize));
        if due {
            self.passed_over.clone_from(&self.priorities);
        }
        let pool = if previous || canary || marked.is_some() || !self.passed_over.is_empty() {
            let tried = &self.tried;
            let unwanted = |host: &Host| {
                (previous && tried.contains(&host.id))
                    || (canary && host.is_canary())
                    || marked.is_some_and(|policy| policy.omits(host.attributes().metadata.as_deref()))
            };
            self.cell.pick(
                &x.record.conn,
                self.hash,
                Some(Avoid { unwanted: &unwanted, attempts, priorities: &self.passed_over }),
            )
        } else {
            self.cell.pick(&x.record.conn, self.hash, None)
        }?;
        self.tried.push(pool.host.id);
        if frequency.is_some() {
            self.priorities.push(pool.host.attributes().priority);
        }
        Some(pool)
    }

    /// Can the request be sent again?
    pub fn resendable(&self) -> bool {
        self.replay.is_active()
    }

    /// Sends the copies, once, when the request is complete and kept in full.
    pub fn mirror(&mut self, x: &Exchange<'_>) {
        if self.request_read && !self.mirrors.is_empty() {
            let mirrors = std::mem::take(&mut self.mirrors);
            if self.replay.is_complete() {
                mirror::send(x, mirrors, self.replay.bytes());
            }
        }
    }

    /// The request is complete: the route's time begins.
    pub fn request_ended(&mut self, x: &mut Exchange<'_>) {
        let now = x.deadlines.now();
        self.sent_at = Some(now);
        x.record.moments.request_received = Some(now.saturating_duration_since(x.record.start));
        x.deadlines.route = self.times.route.map(|t| now + t);
        x.deadlines.request = None;
    }
}
