//! The state machine: what goes in (subscriptions, responses, verdicts, time) and what comes out (requests, updates).
//! It does no I/O and looks at no clock.

use crate::message::{Dialect, Request, Response};
use crate::nack::Refusal;
use crate::name::name_in;
pub use crate::topic::MAX_REQUEST;
use crate::topic::{Known, Topic};
use crate::types::ResourceType;
use prost::Message;
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;
use weir_proto::any;
use weir_proto::envoy::config::core::v3::Node;
use weir_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryResponse, DiscoveryResponse, Resource as Wrapped,
};
use weir_proto::google::protobuf::Any;

/// A resource that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its name.
    pub name: Box<str>,
    /// The encoded message.
    pub body: Vec<u8>,
}

/// What a response means to whoever applies it.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The type.
    pub kind: &'static ResourceType,
    /// The server's version.
    pub version: String,
    /// New, changed or the same again.
    pub added: Vec<Received>,
    /// Gone.
    pub removed: Vec<Box<str>>,
    /// Asked for, and the server says that there is none.
    pub missing: Vec<Box<str>>,
    /// What is wrong before anybody has looked at the messages.
    pub refused: Vec<Refusal>,
}

/// A response that waits for its verdict.
#[derive(Debug)]
struct Open {
    topic: usize,
    version: String,
    names: Vec<(Box<str>, Known)>,
    refused: Vec<Refusal>,
}

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

    /// These names of a type are wanted now. Gives those that were known and are wanted no more.
    pub fn want(&mut self, kind: &ResourceType, names: BTreeSet<Box<str>>) -> Vec<Box<str>> {
        let Some(index) = self.topics.iter().position(|topic| topic.kind == kind) else { return Vec::new() };
        let Some(topic) = self.topics.get_mut(index) else { return Vec::new() };
        if topic.wanted == names {
            return Vec::new();
        }
        topic.wanted = names;
        let dropped: Vec<Box<str>> = topic.known.keys().filter(|name| !topic.wants(name)).cloned().collect();
        for name in &dropped {
            topic.known.remove(name);
        }
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
    pub fn receive(&mut self, response: Response, now: Instant) -> Option<Incoming> {
        let url = match &response {
            Response::Delta(message) => &message.type_url,
            Response::World(message) => &message.type_url,
        };
        let name = any::name_in_url(url);
        let index = self.topics.iter().position(|topic| topic.kind.name == name)?;
        let topic = self.topics.get_mut(index)?;
        let (incoming, names) = match response {
            Response::Delta(message) => delta(topic, *message, now),
            Response::World(message) => world(topic, *message, now),
        };
        let (version, refused) = (incoming.version.clone(), incoming.refused.clone());
        self.open = Some(Open { topic: index, version, names, refused });
        Some(incoming)
    }

    /// The verdict on the last response: it is answered, and the versions of what is in force are kept.
    pub fn settle(&mut self, refused: Vec<Refusal>) {
        let Some(Open { topic, version, names, refused: mut all }) = self.open.take() else { return };
        let of = names.len().saturating_add(all.len());
        all.extend(refused);
        let node = self.node_for_next();
        let Some(topic) = self.topics.get_mut(topic) else { return };
        let judged: BTreeSet<&str> = all.iter().map(|refusal| &*refusal.name).collect();
        for (name, known) in names {
            // Of a refused one the version before is in force, if any.
            if !judged.contains(&*name) {
                topic.known.insert(name, known);
            } else if topic.kind.whole {
                topic.known.entry(name).or_default();
            }
        }
        let request = topic.answer(self.dialect, node, version, &all, of);
        self.send(Some(request));
    }

    /// The earliest time at which a resource ends.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.topics.iter().flat_map(|topic| topic.known.values()).filter_map(|known| known.expires).min()
    }

    /// What has ended by now: to be removed without an answer.
    pub fn expire(&mut self, now: Instant) -> Vec<Incoming> {
        let mut all = Vec::new();
        for topic in &mut self.topics {
            let over = |known: &Known| known.expires.is_some_and(|at| at <= now);
            let ended = topic.known.iter().filter(|(_, known)| over(known)).map(|(name, _)| name.clone());
            let removed: Vec<Box<str>> = ended.collect();
            if removed.is_empty() {
                continue;
            }
            topic.known.retain(|_, known| !over(known));
            all.push(Incoming { removed, ..nothing(topic.kind, String::new()) });
        }
        all
    }
}

fn nothing(kind: &'static ResourceType, version: String) -> Incoming {
    Incoming {
        kind,
        version,
        added: Vec::new(),
        removed: Vec::new(),
        missing: Vec::new(),
        refused: Vec::new(),
    }
}

type Read = (Incoming, Vec<(Box<str>, Known)>);

fn delta(topic: &mut Topic, message: DeltaDiscoveryResponse, now: Instant) -> Read {
    topic.heard(&message.nonce);
    let mut incoming = nothing(topic.kind, message.system_version_info);
    let mut names = Vec::new();
    for wrapped in message.resources {
        take(topic, wrapped, now, &mut incoming, &mut names);
    }
    for name in message.removed_resources {
        let name = name.into_boxed_str();
        let known = topic.known.remove(&name).is_some();
        if topic.kind.whole && known {
            incoming.removed.push(name);
        } else if topic.wanted.contains(&name) {
            incoming.missing.push(name);
        }
    }
    (incoming, names)
}

fn world(topic: &mut Topic, message: DiscoveryResponse, now: Instant) -> Read {
    topic.heard(&message.nonce);
    let mut incoming = nothing(topic.kind, message.version_info);
    let mut names = Vec::new();
    let empty = message.resources.is_empty();
    for resource in message.resources {
        take(topic, unwrapped(resource), now, &mut incoming, &mut names);
    }
    if topic.kind.whole {
        let present: BTreeSet<&str> = names.iter().map(|(name, _)| &**name).collect();
        let gone = topic.known.keys().filter(|name| !present.contains(&***name));
        incoming.removed = gone.cloned().collect();
        topic.known.retain(|name, _| present.contains(&**name));
    } else if empty {
        // What a response of a named type lacks may come later; an empty one says that there is nothing.
        incoming.missing = topic.wanted.iter().cloned().collect();
    }
    (incoming, names)
}

/// In state of the world a resource may come bare, or wrapped with name and TTL.
fn unwrapped(resource: Any) -> Wrapped {
    let type_name = any::type_name(&resource);
    if type_name == "envoy.service.discovery.v3.Resource"
        && let Ok(wrapped) = Wrapped::decode(resource.value.as_slice())
    {
        return wrapped;
    }
    Wrapped { resource: Some(resource), ..Wrapped::default() }
}

/// Takes one resource of a response apart.
fn take(
    topic: &mut Topic,
    wrapped: Wrapped,
    now: Instant,
    incoming: &mut Incoming,
    names: &mut Vec<(Box<str>, Known)>,
) {
    let Wrapped { name, aliases, version, resource, ttl, .. } = wrapped;
    let ttl = ttl.as_ref().and_then(|ttl| any::duration(ttl).ok());
    let expires = ttl.and_then(|ttl| now.checked_add(ttl));
    let Some(Any { type_url, value }) = resource else {
        // A heartbeat: what is known lives on.
        if let Some(known) = topic.known.get_mut(name.as_str()).filter(|known| known.version == version) {
            known.expires = expires;
            names.push((name.into(), known.clone()));
        }
        return;
    };
    let inner = name_in(&value).unwrap_or_default();
    let name: Box<str> = if name.is_empty() { inner.into() } else { name.into() };
    let mut refuse = |why: String| incoming.refused.push(Refusal { name: name.clone(), why });
    if any::name_in_url(&type_url) != topic.kind.name {
        return refuse(format!(
            "it is a {}, where a {} is due",
            any::name_in_url(&type_url),
            topic.kind.name
        ));
    }
    if name.is_empty() {
        return refuse("name: must be set".to_owned());
    }
    if !inner.is_empty() && inner != &*name && !aliases.iter().any(|alias| alias == inner) {
        return refuse(format!("name: '{inner}' in the message, another outside it"));
    }
    if !topic.wants(&name) && !aliases.iter().any(|alias| topic.wants(alias)) {
        return;
    }
    names.push((name.clone(), Known { version, expires }));
    incoming.added.push(Received { name, body: value });
}
