//! The state machine: what goes in (subscriptions, responses, verdicts, time) and what comes out (requests, updates).
//! It does no I/O and looks at no clock.

use crate::message::{Dialect, Request, Response};
use crate::nack::Refusal;
use crate::piece::{Piece, name_in};
pub use crate::topic::MAX_REQUEST;
use crate::topic::{Known, Topic};
use crate::types::ResourceType;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};
use std::time::Instant;
use weir_proto::any;
use weir_proto::envoy::config::core::v3::Node;

/// Hashes the bytes of resources. Its seed is the process's own, so that nobody can prepare bytes that pass for others.
static HASH: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);

/// Version that is claimed of what an earlier life of the process knew.
const RESTORED: &str = "last-good";

/// A resource that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its name.
    pub name: Arc<str>,
    /// It ends by itself unless the server says it again.
    pub ttl: bool,
    /// The encoded message: a piece of the response, which lives as long as one of its pieces.
    pub body: Bytes,
}

/// What a response means to whoever applies it.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The type.
    pub kind: &'static ResourceType,
    /// The server's version.
    pub version: String,
    /// New or changed.
    pub added: Vec<Received>,
    /// How many came whose bytes are in force already.
    pub same: usize,
    /// Gone.
    pub removed: Vec<Arc<str>>,
    /// Wanted no more of this server.
    pub unwanted: Vec<Arc<str>>,
    /// Asked for, and the server says that there is none.
    pub missing: Vec<Arc<str>>,
    /// What is wrong before anybody has looked at the messages.
    pub refused: Vec<Refusal>,
}

impl Incoming {
    /// Nothing but names that are wanted no more.
    pub fn unwanted(kind: &'static ResourceType, unwanted: Vec<Arc<str>>) -> Incoming {
        Incoming { unwanted, ..nothing(kind, String::new()) }
    }

    /// Nothing but names that are gone.
    pub fn removal(kind: &'static ResourceType, removed: Vec<Arc<str>>) -> Incoming {
        Incoming { removed, ..nothing(kind, String::new()) }
    }
}

/// A response that waits for its verdict.
#[derive(Debug)]
struct Open {
    topic: usize,
    version: String,
    /// Resources that it has.
    of: usize,
    names: Vec<New>,
    refused: Vec<Refusal>,
}

/// What is to be known of a resource that is new or changed, once it is judged: its name, and when it ends.
type New = (Arc<str>, Known, Option<Instant>);

/// One stream of a client, over all its reconnections.
#[derive(Debug)]
pub struct Session {
    dialect: Dialect,
    node: Node,
    node_once: bool,
    node_sent: bool,
    connected: bool,
    topics: Vec<Topic>,
    outbox: VecDeque<Request>,
    open: Option<Open>,
}

impl Session {
    /// A session for these types, in the order of their requests; `true`: all resources of the type are wanted.
    /// `node_once`: only the first message of a stream names the node (`set_node_on_first_message_only`).
    pub fn new(
        dialect: Dialect,
        node: Node,
        node_once: bool,
        types: &[(&'static ResourceType, bool)],
    ) -> Session {
        Session {
            dialect,
            node,
            node_once,
            node_sent: false,
            connected: false,
            topics: types.iter().map(|(kind, wildcard)| Topic::new(kind, *wildcard)).collect(),
            outbox: VecDeque::new(),
            open: None,
        }
    }

    /// These names are known from an earlier life of the process, before the first stream. They are claimed with a
    /// version that no server gives: it sends everything again, and tells what is gone. (Version counters of servers
    /// begin anew when those restart, so the old versions would not be safe to claim.)
    pub fn restore(&mut self, type_name: &str, names: &[Arc<str>]) {
        let Some(topic) = self.topics.iter_mut().find(|topic| topic.kind.name == type_name) else { return };
        let known = Known { version: RESTORED.into(), ..Known::default() };
        topic.known.extend(names.iter().map(|name| (name.clone(), known.clone())));
    }

    /// The dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The next message for the server.
    pub fn next_request(&mut self) -> Option<Request> {
        self.outbox.pop_front()
    }

    /// Messages that wait to be sent.
    pub fn pending(&self) -> usize {
        self.outbox.len()
    }

    /// A stream begins: everything that is wanted is asked for, with the versions of what is known.
    pub fn connect(&mut self) {
        self.disconnect();
        self.connected = true;
        for index in 0..self.topics.len() {
            self.subscribe(index);
        }
    }

    /// The stream is gone; what is known stays.
    pub fn disconnect(&mut self) {
        self.connected = false;
        self.node_sent = false;
        self.outbox.clear();
        self.open = None;
        self.topics.iter_mut().for_each(Topic::forget_stream);
    }

    /// These names of a type are wanted from now on, and those no more. Gives the latter, known or not.
    pub fn want(&mut self, kind: &ResourceType, more: Vec<Arc<str>>, less: Vec<Arc<str>>) -> Vec<Arc<str>> {
        let Some(index) = self.topics.iter().position(|topic| topic.kind == kind) else { return Vec::new() };
        let Some(topic) = self.topics.get_mut(index) else { return Vec::new() };
        topic.add(more);
        let dropped = topic.drop(less);
        if self.connected {
            self.subscribe(index);
        }
        dropped
    }

    fn subscribe(&mut self, index: usize) {
        let node = self.node_for_next();
        let request = self.topics.get_mut(index).and_then(|topic| topic.subscribe(self.dialect, node));
        self.send(request);
    }

    fn node_for_next(&self) -> Option<Node> {
        (!self.node_sent || !self.node_once).then(|| self.node.clone())
    }

    fn send(&mut self, request: Option<Request>) {
        if let Some(request) = request {
            self.node_sent = true;
            self.outbox.push_back(request);
        }
    }

    /// A response came. What it means is to be applied and then answered with [`Session::settle`]; none: nobody asked
    /// for this type, and it gets no answer.
    pub fn receive(&mut self, response: &Response, now: Instant) -> Option<Incoming> {
        let name = any::name_in_url(&response.type_url);
        let index = self.topics.iter().position(|topic| topic.kind.name == name)?;
        // An answer would ask for it: one without names for all of it.
        let topic = self.topics.get_mut(index).filter(|topic| topic.is_asked_for())?;
        topic.heard(&response.nonce);
        let mut reader = Reader {
            incoming: nothing(topic.kind, response.version.clone()),
            topic,
            now,
            names: Vec::new(),
            unreadable: false,
        };
        reader.read(self.dialect, response);
        let Reader { incoming, names, .. } = reader;
        let of = response.resources.len();
        let (version, refused) = (incoming.version.clone(), incoming.refused.clone());
        self.open = Some(Open { topic: index, version, of, names, refused });
        Some(incoming)
    }

    /// The verdict on the last response: it is answered, and the versions of what is in force are kept.
    pub fn settle(&mut self, refused: Vec<Refusal>) {
        let Some(Open { topic, version, of, names, refused: mut all }) = self.open.take() else { return };
        all.extend(refused);
        let node = self.node_for_next();
        let Some(topic) = self.topics.get_mut(topic) else { return };
        let judged: BTreeSet<&str> = all.iter().map(|refusal| &*refusal.name).collect();
        for (name, known, expires) in names {
            // Of a refused one the version before is in force, if any.
            if !judged.contains(&*name) {
                topic.end(&name, expires);
                topic.known.insert(name, known);
            } else if topic.kind.whole {
                topic.known.entry(name).or_default().seen = known.seen;
            }
        }
        for name in &judged {
            if let Some(known) = topic.known.get_mut(*name) {
                // When its bytes come back the refusal is to be forgotten.
                known.hash = None;
            }
        }
        let request = topic.answer(self.dialect, node, version, &all, of);
        self.send(Some(request));
    }

    /// The earliest time at which a resource ends.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.topics.iter().flat_map(|topic| topic.ends.values()).min().copied()
    }

    /// What has ended by now: to be removed without an answer.
    pub fn expire(&mut self, now: Instant) -> Vec<Incoming> {
        let mut all = Vec::new();
        for topic in &mut self.topics {
            let ended = topic.ends.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone());
            let removed: Vec<Arc<str>> = ended.collect();
            if removed.is_empty() {
                continue;
            }
            for name in &removed {
                topic.forget(name);
            }
            all.push(Incoming::removal(topic.kind, removed));
        }
        all
    }
}

fn nothing(kind: &'static ResourceType, version: String) -> Incoming {
    Incoming {
        kind,
        version,
        added: Vec::new(),
        same: 0,
        removed: Vec::new(),
        unwanted: Vec::new(),
        missing: Vec::new(),
        refused: Vec::new(),
    }
}

/// Reads one response.
struct Reader<'a> {
    topic: &'a mut Topic,
    now: Instant,
    incoming: Incoming,
    names: Vec<New>,
    /// Was there a resource whose name cannot be told?
    unreadable: bool,
}

impl Reader<'_> {
    fn read(&mut self, dialect: Dialect, response: &Response) {
        for (index, resource) in response.resources.iter().enumerate() {
            let piece = match dialect {
                Dialect::Delta => Piece::wrapped(resource),
                Dialect::World => Piece::bare(resource),
            };
            match piece {
                Ok(piece) => self.take(resource, &piece),
                Err(why) => {
                    self.unreadable = true;
                    let name = format!("resources[{index}]").into();
                    self.incoming.refused.push(Refusal { name, why });
                }
            }
        }
        match dialect {
            Dialect::Delta => self.remove(&response.removed),
            Dialect::World => self.compare(response.resources.is_empty()),
        }
    }

    /// Delta names what is gone.
    fn remove(&mut self, names: &[Box<str>]) {
        for name in names {
            let name = self
                .topic
                .known
                .get_key_value(&**name)
                .map_or_else(|| name.clone().into(), |(n, _)| n.clone());
            let known = self.topic.forget(&name);
            let wanted = self.topic.wants(&name) && !self.topic.wildcard;
            if self.topic.kind.removable && (known || wanted) {
                self.incoming.removed.push(name);
            } else if wanted {
                self.incoming.missing.push(name);
            }
        }
    }

    /// In state of the world of a whole type, what did not come is gone. What a response of a named type lacks may
    /// come later; an empty one says that there is nothing.
    fn compare(&mut self, empty: bool) {
        let topic = &mut *self.topic;
        if topic.kind.whole && !self.unreadable {
            let present = topic.responses;
            let gone = topic.known.iter().filter(|(_, known)| known.seen != present);
            let mut gone: Vec<Arc<str>> = gone.map(|(name, _)| name.clone()).collect();
            gone.sort_unstable();
            for name in &gone {
                topic.forget(name);
            }
            self.incoming.removed = gone;
        } else if empty && !topic.kind.whole {
            self.incoming.missing = topic.wanted().into_iter().cloned().collect();
            // What comes again ends the absence.
            topic.known.values_mut().for_each(|known| known.hash = None);
        }
    }

    /// Takes one resource of a response.
    fn take(&mut self, whole: &Bytes, piece: &Piece<'_>) {
        let expires = piece.ttl.and_then(|ttl| self.now.checked_add(ttl));
        let Some((kind, value)) = piece.resource else { return self.heartbeat(piece, expires) };
        let name = if piece.name.is_empty() { name_in(value).unwrap_or_default() } else { piece.name };
        let (hash, response) = (HASH.hash_one(value), self.topic.responses);
        let mut again = false;
        if let Some(known) = self.topic.known.get_mut(name) {
            // Whatever becomes of it: it is there.
            again = std::mem::replace(&mut known.seen, response) == response;
            if !again && known.hash == Some(hash) && kind == self.topic.kind.name {
                if *known.version != *piece.version {
                    known.version = piece.version.into();
                }
                self.incoming.same = self.incoming.same.saturating_add(1);
                return self.topic.live_on(name, expires);
            }
        }
        if let Some(why) = objection(self.topic, piece, kind, name) {
            return self.incoming.refused.push(Refusal { name: name.into(), why });
        }
        if !self.topic.wants(name) && !piece.aliases.iter().any(|alias| self.topic.wants(alias)) {
            return;
        }
        if again {
            let why = format!("name: '{name}' comes twice in one response");
            return self.incoming.refused.push(Refusal { name: name.into(), why });
        }
        let name = self.topic.share(name);
        let known = Known { version: piece.version.into(), hash: Some(hash), seen: response };
        self.names.push((name.clone(), known, expires));
        self.incoming.added.push(Received { name, ttl: expires.is_some(), body: whole.slice_ref(value) });
    }

    /// What is known lives on.
    fn heartbeat(&mut self, piece: &Piece<'_>, expires: Option<Instant>) {
        let response = self.topic.responses;
        if let Some(known) = self.topic.known.get_mut(piece.name)
            && *known.version == *piece.version
        {
            known.seen = response;
            self.topic.live_on(piece.name, expires);
        }
    }
}

/// What is wrong with a resource before anybody has looked into its message.
fn objection(topic: &Topic, piece: &Piece<'_>, kind: &str, name: &str) -> Option<String> {
    let inner = piece.resource.and_then(|(_, value)| name_in(value)).unwrap_or_default();
    if kind != topic.kind.name {
        return Some(format!("it is a {kind}, where a {} is due", topic.kind.name));
    }
    if name.is_empty() {
        return Some("name: must be set".to_owned());
    }
    if !inner.is_empty() && inner != name && !piece.aliases.contains(&inner) {
        return Some(format!("name: '{inner}' in the message, another outside it"));
    }
    None
}
