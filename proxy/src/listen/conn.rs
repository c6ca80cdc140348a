//! A new connection: listener filters, choice of the chain, and off to its terminal.

use super::chain::{self, Inputs};
use super::proxy_protocol::{self, Header, Refused, Rules};
use crate::base::Name;
use crate::base::addr::Address;
use crate::base::clock;
use crate::failure::Flag;
use crate::http::connection::{self, Present};
use crate::model::listener::{Listener, ListenerFilter, Terminal};
use crate::observe::metrics::Cells;
use crate::observe::record::{ConnFacts, Record};
use crate::observe::stats::listener as stat;
use crate::tcp;
use crate::transport::{Input, Io};
use crate::upstream::Worker;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An accepted socket.
pub struct Accepted {
    /// The stream.
    pub io: Io,
    /// Its peer.
    pub peer: Address,
    /// The listener it came in on.
    pub listener: Arc<Listener>,
    /// The listener's statistics.
    pub stats: Cells,
}

/// Starts to serve an accepted socket. `hold` is dropped when the connection ends.
pub fn start(accepted: Accepted, hold: Box<dyn Any>) {
    let local = accepted.io.local().unwrap_or_else(|_| accepted.peer.clone());
    let seen = Seen { remote: accepted.peer.clone(), local: local.clone(), input: Input::default() };
    if accepted.listener.listener_filters.is_empty() {
        chosen(accepted, seen, local, hold);
    } else {
        tokio::task::spawn_local(filtered(accepted, seen, local, hold));
    }
}

/// Runs the listener filters first.
async fn filtered(mut accepted: Accepted, mut seen: Seen, local: Address, hold: Box<dyn Any>) {
    let listener = accepted.listener.clone();
    let filters = filters(&mut accepted.io, &listener, &accepted.stats, &mut seen);
    let passed = match listener.listener_filters_timeout {
        Some(time) => match tokio::time::timeout(time, filters).await {
            Ok(passed) => passed,
            Err(_) => {
                accepted.stats.inc(stat::DOWNSTREAM_PRE_CX_TIMEOUT);
                listener.continue_on_timeout
            }
        },
        None => filters.await,
    };
    if passed {
        chosen(accepted, seen, local, hold);
    } else {
        if !seen.input.is_empty() {
            // Nobody takes what was sent: a reset, as for bytes that were never read (Envoy's filters only peek).
            accepted.io.reset_on_drop();
        }
    }
}

/// Chooses the chain and hands the connection to its terminal.
fn chosen(accepted: Accepted, mut seen: Seen, local: Address, hold: Box<dyn Any>) {
    let Accepted { io, peer, listener, stats } = accepted;
    let inputs = Inputs {
        destination: seen.local.ip().zip(seen.local.port()),
        source: seen.remote.ip().zip(seen.remote.port()),
        direct_source: peer.ip(),
        server_name: None,
        transport: "raw_buffer",
        protocols: Vec::new(),
    };
    let chosen = chain::choose(&listener, &inputs).cloned();
    let facts = Rc::new(ConnFacts {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        direct_remote: peer,
        remote: seen.remote,
        local: seen.local,
        direct_local: local,
        server_name: None,
        listener: listener.name.clone(),
        chain: chosen.as_ref().map(|c| c.name.clone()).unwrap_or_else(|| "".into()),
        start: clock::now(),
    });
    let read = seen.input.take();
    match chosen.as_ref().map(|chain| &chain.terminal) {
        Some(Terminal::Http(manager)) => {
            let name = listener.name.clone();
            connection::spawn(connection::Conn {
                io,
                read,
                facts,
                manager: manager.clone(),
                buffer_limit: listener.buffer_limit as usize,
                present: Rc::new(move || present(&name, &inputs)),
                hold,
            });
        }
        Some(Terminal::Tcp(proxy)) => {
            let proxy = proxy.clone();
            tokio::task::spawn_local(async move {
                let _hold = hold;
                tcp::serve(io, read, facts, &proxy).await;
            });
        }
        None => {
            stats.inc(stat::NO_FILTER_CHAIN_MATCH);
            let mut record = Record::new(facts, clock::now(), clock::wall());
            record.flags.set(Flag::NR);
            record.details = "filter_chain_not_found".into();
            listener.logs.iter().for_each(|log| log.log(&record));
        }
    }
}

struct Seen {
    remote: Address,
    local: Address,
    input: Input,
}

async fn filters(io: &mut Io, listener: &Listener, stats: &Cells, seen: &mut Seen) -> bool {
    for filter in &listener.listener_filters {
        match filter {
            ListenerFilter::ProxyProtocol { stat_prefix, allow_without, refuse_v1, refuse_v2 } => {
                let rules =
                    Rules { allow_without: *allow_without, refuse_v1: *refuse_v1, refuse_v2: *refuse_v2 };
                let read = proxy_protocol::read(io, &mut seen.input, rules).await;
                proxy_protocol::count(stat_prefix, &read);
                match read {
                    Ok(Some((_, Header::Proxied(from, to)))) => {
                        seen.remote = Address::Ip(from);
                        seen.local = Address::Ip(to);
                    }
                    Ok(Some((_, Header::Local)) | None) => {}
                    Err(Refused::Gone) => {
                        stats.inc(stat::DOWNSTREAM_LISTENER_FILTER_REMOTE_CLOSE);
                        return false;
                    }
                    Err(_) => return false,
                }
            }
            ListenerFilter::OriginalDst => {
                if let Some(original) = io.original_destination() {
                    seen.local = Address::Ip(original);
                }
            }
        }
    }
    true
}

/// Repeats the choice of the chain on the listener of the present snapshot.
fn present(listener: &Name, inputs: &Inputs) -> Present {
    let listener = Worker::current().and_then(|w| w.with_snapshot(|s| s.listeners.get(listener).cloned()));
    let chain = listener.as_ref().and_then(|l| chain::choose(l, inputs));
    match chain.map(|c| &c.terminal) {
        Some(Terminal::Http(manager)) => Present::Manager(manager.clone()),
        Some(Terminal::Tcp(_)) | None => Present::Drain,
    }
}
