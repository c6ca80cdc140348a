//! A new connection: listener filters, choice of the chain, and off to its terminal.

use super::chain::{self, Inputs};
use super::http_inspector;
use super::peek::peek;
use super::proxy_protocol::{self, Header, Refused, Rules};
use super::stays::Guest;
use super::tls_inspector::{self, Hello};
use crate::base::Name;
use crate::base::addr::Address;
use crate::base::clock;
use crate::failure::{Flag, TLS_NOT_AVAILABLE};
use crate::http::connection::{self, Present};
use crate::live::stay::Stay;
use crate::live::worker::index;
use crate::live::{drain, limit};
use crate::model::listener::{FilterChain, Listener, ListenerFilter, Terminal};
use crate::network;
use crate::observe::metrics::{Cells, Registry};
use crate::observe::record::{ConnFacts, Record};
use crate::observe::stats::listener as stat;
use crate::observe::stats::listener_worker as own;
use crate::observe::stats::tls as tls_stat;
use crate::tcp::{self, Client};
use crate::transport::{Input, Io};
use crate::upstream::Worker;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
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
    /// The listener that it belongs to.
    pub listener: Arc<Listener>,
    /// Its place below the limit of all connections.
    pub place: limit::Slot,
}

/// What the listener filters learn.
struct Seen {
    remote: Address,
    local: Address,
    /// The address before redirection is another one than the socket's.
    restored: bool,
    input: Input,
    spoofed: Option<u32>,
    server_name: Option<Box<str>>,
    transport: &'static str,
    protocols: Vec<Box<str>>,
}

/// Starts to serve an accepted socket.
pub fn start(accepted: Accepted) {
    let local = accepted.io.local().unwrap_or_else(|_| accepted.peer.clone());
    let seen = Seen {
        remote: accepted.peer.clone(),
        local: local.clone(),
        restored: false,
        input: Input::default(),
        spoofed: None,
        server_name: None,
        transport: "raw_buffer",
        protocols: Vec::new(),
    };
    if accepted.listener.listener_filters.is_empty() {
        chosen(accepted, seen, local);
    } else {
        tokio::task::spawn_local(filtered(accepted, seen, local));
    }
}

/// Runs the listener filters first, and those of the listener that the connection is handed to.
async fn filtered(mut accepted: Accepted, mut seen: Seen, local: Address) {
    if !look(&mut accepted, &mut seen).await {
        return;
    }
    // Once: what the other listener says of handing on is not obeyed, as in Envoy.
    if let Some(other) = intended(&accepted.listener, &seen) {
        accepted.listener = other;
        if !look(&mut accepted, &mut seen).await {
            return;
        }
    }
    chosen(accepted, seen, local);
}

/// The listener whose address a redirected connection was meant for.
fn intended(listener: &Listener, seen: &Seen) -> Option<Arc<Listener>> {
    if !listener.use_original_dst || !seen.restored {
        return None;
    }
    let to = SocketAddr::new(seen.local.ip()?, seen.local.port()?);
    let found = Worker::current()?.with_snapshot(|s| s.listener_at(to).cloned())?;
    (found.name != listener.name).then_some(found)
}

/// Runs the filters of the connection's listener within their time; false: it is closed.
async fn look(accepted: &mut Accepted, seen: &mut Seen) -> bool {
    let listener = accepted.listener.clone();
    let filters = drain::unless_unasked(filters(&mut accepted.io, &listener, seen));
    let looked = match listener.listener_filters_timeout {
        Some(time) => match tokio::time::timeout(time, filters).await {
            Ok(looked) => looked,
            Err(_) => {
                stats(&listener).all.inc(stat::DOWNSTREAM_PRE_CX_TIMEOUT);
                if listener.continue_on_timeout {
                    return true;
                }
                Some(Looked::Refused)
            }
        },
        None => filters.await,
    };
    match looked {
        Some(Looked::Passed) => return true,
        Some(Looked::Refused) | None => {}
        Some(Looked::Gone) => stats(&listener).all.inc(stat::DOWNSTREAM_LISTENER_FILTER_REMOTE_CLOSE),
    }
    if !seen.input.is_empty() {
        // Nobody takes what was sent: a reset, as for bytes that were never read (Envoy's filters only peek).
        accepted.io.reset_on_drop();
    }
    false
}

/// A connection that is served; counted until it is dropped.
struct Active {
    stats: Stats,
    _place: limit::Slot,
}

impl Active {
    fn new(stats: Stats, place: limit::Slot) -> Active {
        stats.all.inc(stat::DOWNSTREAM_CX_TOTAL);
        stats.all.gauge_add(stat::DOWNSTREAM_CX_ACTIVE, 1);
        stats.worker.inc(own::DOWNSTREAM_CX_TOTAL);
        stats.worker.gauge_add(own::DOWNSTREAM_CX_ACTIVE, 1);
        Active { stats, _place: place }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.stats.all.inc(stat::DOWNSTREAM_CX_DESTROY);
        self.stats.all.gauge_sub(stat::DOWNSTREAM_CX_ACTIVE, 1);
        self.stats.worker.gauge_sub(own::DOWNSTREAM_CX_ACTIVE, 1);
    }
}

/// Chooses the chain and hands the connection to its terminal.
fn chosen(accepted: Accepted, mut seen: Seen, local: Address) {
    let Accepted { io, peer, listener, place } = accepted;
    let inputs = Inputs {
        destination: seen.local.ip().zip(seen.local.port()),
        source: seen.remote.ip().zip(seen.remote.port()),
        direct_source: peer.ip(),
        server_name: seen.server_name,
        transport: seen.transport,
        protocols: seen.protocols,
    };
    let chosen = chain::choose(&listener, &inputs).cloned();
    let facts = Rc::new(ConnFacts {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        direct_remote: peer,
        remote: seen.remote,
        local: seen.local,
        direct_local: local,
        server_name: inputs.server_name.as_deref().map(Name::from),
        listener: listener.name.clone(),
        chain: chosen.as_ref().map(|c| c.name.clone()).unwrap_or_else(|| "".into()),
        spoofed: seen.spoofed,
        inbound: listener.inbound,
        start: clock::now(),
    });
    let read = seen.input.take();
    let stats = stats(&listener);
    let Some(chain) = chosen else {
        stats.all.inc(stat::NO_FILTER_CHAIN_MATCH);
        return closed(&listener, facts, Flag::NR, "filter_chain_not_found", &io, &read);
    };
    let hold = Active::new(stats, place);
    if chain.tls.is_some() {
        // Never in plain text what was to be encrypted.
        Registry::global().cells(&tls_stat::SCHEMA, "weir.tls.").inc(tls_stat::NOT_AVAILABLE);
        return closed(&listener, facts, Flag::UF, TLS_NOT_AVAILABLE, &io, &read);
    }
    if chain.incomplete {
        hold.stats.all.inc(stat::NETWORK_EXTENSION_CONFIG_MISSING);
        return closed(&listener, facts, Flag::NFCF, "", &io, &read);
    }
    network::opened(&chain.filters);
    let stay = Stay::new();
    match &chain.terminal {
        Terminal::Http(manager) => {
            let name = listener.name.clone();
            let present: Rc<dyn Fn() -> Present> = Rc::new(move || present(&name, &inputs));
            let again = present.clone();
            let choice = Rc::new(move || matches!(again(), Present::Manager(_)));
            let guest = Guest::enter(&listener.name, listener.clone(), facts.id, &stay, choice);
            connection::spawn(connection::Conn {
                io,
                read,
                facts,
                manager: manager.clone(),
                buffer_limit: listener.buffer_limit as usize,
                present,
                stay,
                hold: Box::new((hold, guest)),
            });
        }
        Terminal::Tcp(proxy) => {
            let name = listener.name.clone();
            let choice = Rc::new(move || {
                now(&name, &inputs).is_some_and(|chain| matches!(chain.terminal, Terminal::Tcp(_)))
            });
            let guest = Guest::enter(&listener.name, listener.clone(), facts.id, &stay, choice);
            let (chain, proxy) = (chain.clone(), proxy.clone());
            tokio::task::spawn_local(async move {
                let _hold = (hold, guest);
                tcp::serve(Client { io, read, stay }, facts, &proxy, &chain.filters).await;
            });
        }
    }
}

/// Logs a connection that is closed before anybody serves it.
fn closed(
    listener: &Listener,
    facts: Rc<ConnFacts>,
    flag: Flag,
    details: &'static str,
    io: &Io,
    read: &[u8],
) {
    let mut record = Record::new(facts, clock::now(), clock::wall());
    record.flags.set(flag);
    record.details = details.into();
    listener.logs.iter().for_each(|log| log.log(&record));
    if !read.is_empty() {
        io.reset_on_drop();
    }
}

/// How the filters ended.
enum Looked {
    Passed,
    Refused,
    Gone,
}

async fn filters(io: &mut Io, listener: &Listener, seen: &mut Seen) -> Looked {
    for slot in &listener.listener_filters {
        if slot.disabled.as_ref().is_some_and(|skip| skip.holds(seen.local.port())) {
            continue;
        }
        let looked = match &slot.filter {
            ListenerFilter::ProxyProtocol { stat_prefix, allow_without, refuse_v1, refuse_v2 } => {
                let rules =
                    Rules { allow_without: *allow_without, refuse_v1: *refuse_v1, refuse_v2: *refuse_v2 };
                proxied(io, seen, stat_prefix, rules).await
            }
            ListenerFilter::OriginalDst => {
                if let Some(original) = io.original_destination().map(Address::Ip) {
                    seen.restored |= original != seen.local;
                    seen.local = original;
                }
                Looked::Passed
            }
            ListenerFilter::OriginalSrc { mark } => {
                seen.spoofed = Some(*mark);
                Looked::Passed
            }
            ListenerFilter::TlsInspector { max_hello, close_on_error } => {
                inspect_tls(io, seen, *max_hello as usize, *close_on_error).await
            }
            // Inside TLS there is nothing to be seen.
            ListenerFilter::HttpInspector if seen.transport != "raw_buffer" => Looked::Passed,
            ListenerFilter::HttpInspector => inspect_http(io, seen).await,
            ListenerFilter::Missing => {
                stats(listener).all.inc(stat::EXTENSION_CONFIG_MISSING);
                Looked::Refused
            }
        };
        if !matches!(looked, Looked::Passed) {
            return looked;
        }
    }
    Looked::Passed
}

async fn proxied(io: &mut Io, seen: &mut Seen, stat_prefix: &Name, rules: Rules) -> Looked {
    let read = proxy_protocol::read(io, &mut seen.input, rules).await;
    proxy_protocol::count(stat_prefix, &read);
    match read {
        Ok(Some((_, Header::Proxied(from, to)))) => {
            let to = Address::Ip(to);
            seen.restored = to != seen.local;
            (seen.remote, seen.local) = (Address::Ip(from), to);
            Looked::Passed
        }
        Ok(Some((_, Header::Local)) | None) => Looked::Passed,
        Err(Refused::Gone) => Looked::Gone,
        Err(_) => Looked::Refused,
    }
}

async fn inspect_tls(io: &mut Io, seen: &mut Seen, max_hello: usize, close_on_error: bool) -> Looked {
    let judge = |bytes: &[u8]| tls_inspector::sniff(bytes, max_hello);
    let Ok(hello) = peek(io, &mut seen.input, max_hello, judge).await else { return Looked::Gone };
    hello.count();
    match hello {
        Hello::Found { server_name, protocols } => {
            (seen.transport, seen.server_name, seen.protocols) = ("tls", server_name, protocols);
            Looked::Passed
        }
        Hello::TooBig => Looked::Refused,
        Hello::Malformed if close_on_error => Looked::Refused,
        Hello::Malformed | Hello::NotTls => Looked::Passed,
    }
}

async fn inspect_http(io: &mut Io, seen: &mut Seen) -> Looked {
    let Ok(sniffed) = peek(io, &mut seen.input, http_inspector::MAX_LINE, http_inspector::sniff).await else {
        return Looked::Gone;
    };
    sniffed.count();
    if let Some(protocol) = sniffed.protocol() {
        seen.protocols = vec![protocol.into()];
    }
    Looked::Passed
}

/// Most listeners whose counters a worker keeps at hand.
const MAX_STATS: usize = 4096;

/// The counters of a listener, and this worker's share of them.
#[derive(Clone)]
pub struct Stats {
    /// `listener.<prefix>.`
    pub all: Cells,
    /// `listener.<prefix>.worker_<n>.`
    worker: Cells,
}

/// The counters of a listener.
pub fn stats(listener: &Listener) -> Stats {
    thread_local! {
        static STATS: RefCell<HashMap<Name, Stats, foldhash::fast::RandomState>> = RefCell::default();
    }
    STATS.with_borrow_mut(|kept| {
        let prefix = &listener.stat_prefix;
        if let Some(found) = kept.get(prefix) {
            return found.clone();
        }
        if kept.len() >= MAX_STATS {
            kept.clear();
        }
        let (registry, index) = (Registry::global(), index().unwrap_or_default());
        let stats = Stats {
            all: registry.cells(&stat::SCHEMA, &format!("listener.{prefix}.")),
            worker: registry.cells(&own::SCHEMA, &format!("listener.{prefix}.worker_{index}.")),
        };
        kept.insert(prefix.clone(), stats.clone());
        stats
    })
}

/// Repeats the choice of the chain on the listener of the present snapshot.
fn now(listener: &Name, inputs: &Inputs) -> Option<Arc<FilterChain>> {
    let listener = Worker::current()?.with_snapshot(|s| s.listeners.get(listener).cloned())?;
    chain::choose(&listener, inputs).filter(|chain| chain.tls.is_none()).cloned()
}

fn present(listener: &Name, inputs: &Inputs) -> Present {
    match now(listener, inputs).as_ref().map(|chain| &chain.terminal) {
        Some(Terminal::Http(manager)) => Present::Manager(manager.clone()),
        Some(Terminal::Tcp(_)) | None => Present::Drain,
    }
}
