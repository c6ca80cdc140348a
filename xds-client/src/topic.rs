//! One type within a session: what is wanted, what the server was told, what it has sent.

use crate::message::{Dialect, Request};
use crate::nack::{self, Refusal};
use crate::types::ResourceType;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;
use weir_proto::envoy::config::core::v3::Node;
use weir_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

/// Largest first request in bytes that keeps the versions of what is known: istiod takes no more than 4 MiB. Beyond,
/// the versions are left out, and the server sends everything again.
pub const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// The name that stands for all.
const ALL: &str = "*";

/// Tag of `resource_names` in a request of state of the world.
const NAMES: u32 = 3;

/// Names of resources in order; whoever holds them shares their text.
type Names = BTreeSet<Arc<str>>;

/// What the server has sent under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) version: Box<str>,
    /// Of the bytes in force; none: whatever comes is to be judged.
    pub(crate) hash: Option<u64>,
    /// The last response that had it.
    pub(crate) seen: u32,
}

/// One type.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) kind: &'static ResourceType,
    pub(crate) wildcard: bool,
    wanted: HashSet<Arc<str>, foldhash::fast::RandomState>,
    /// Was the server told anything of this type on this stream?
    told: bool,
    /// Wanted, and the server was not told yet.
    more: Names,
    /// Wanted no more, and the server was not told yet.
    less: Names,
    /// `wanted` as a request of state of the world has it, once asked for.
    encoded: Option<Bytes>,
    nonce: String,
    /// Version of the last response that was accepted as a whole.
    version: String,
    /// Counts responses.
    pub(crate) responses: u32,
    /// Outlives a stream.
    pub(crate) known: HashMap<Arc<str>, Known, foldhash::fast::RandomState>,
    /// When those with a TTL end.
    pub(crate) ends: BTreeMap<Arc<str>, Instant>,
}

fn texts<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> Vec<String> {
    names.map(|name| name.to_string()).collect()
}

impl Topic {
    pub(crate) fn new(kind: &'static ResourceType, wildcard: bool) -> Topic {
        Topic {
            kind,
            wildcard,
            wanted: HashSet::default(),
            told: false,
            more: Names::new(),
            less: Names::new(),
            encoded: None,
            nonce: String::new(),
            version: String::new(),
            responses: 0,
            known: HashMap::default(),
            ends: BTreeMap::new(),
        }
    }

    /// Was this name asked for?
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.wanted.contains(name)
    }

    /// All names that were asked for, in order.
    pub(crate) fn wanted(&self) -> Vec<&Arc<str>> {
        let mut all: Vec<_> = self.wanted.iter().collect();
        all.sort_unstable();
        all
    }

    /// The text of a name that is wanted, shared; or a new one.
    pub(crate) fn share(&self, name: &str) -> Arc<str> {
        self.wanted.get(name).cloned().unwrap_or_else(|| name.into())
    }

    /// These are wanted from now on.
    pub(crate) fn add(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        for name in names {
            if self.wanted.insert(name.clone()) {
                self.encoded = None;
                if !self.less.remove(&name) {
                    self.more.insert(name);
                }
            }
        }
    }

    /// These are wanted no more. Gives them, whether the server has sent them or not.
    pub(crate) fn drop(&mut self, names: impl IntoIterator<Item = Arc<str>>) -> Vec<Arc<str>> {
        let mut dropped = Vec::new();
        for name in names {
            if self.wanted.remove(&name) {
                self.encoded = None;
                if !self.more.remove(&name) {
                    self.less.insert(name.clone());
                }
            }
            if !self.wildcard {
                self.forget(&name);
                dropped.push(name);
            }
        }
        dropped
    }

    /// Forgets what the server has sent under this name; was there anything?
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        self.ends.remove(name);
        self.known.remove(name).is_some()
    }

    /// Notes when a resource ends, if it does.
    pub(crate) fn end(&mut self, name: &Arc<str>, at: Option<Instant>) {
        match at {
            Some(at) => drop(self.ends.insert(name.clone(), at)),
            None if self.ends.is_empty() => {}
            None => drop(self.ends.remove(name)),
        }
    }

    /// What is known came again: it ends then, or never.
    pub(crate) fn live_on(&mut self, name: &str, until: Option<Instant>) {
        if until.is_none() && self.ends.is_empty() {
            return;
        }
        if let Some((name, _)) = self.known.get_key_value(name) {
            let name = name.clone();
            self.end(&name, until);
        }
    }

    /// The stream is gone.
    pub(crate) fn forget_stream(&mut self) {
        self.told = false;
        self.nonce.clear();
    }

    pub(crate) fn heard(&mut self, nonce: &str) {
        nonce.clone_into(&mut self.nonce);
        self.responses = self.responses.wrapping_add(1);
    }

    /// Was the server asked for anything of this type?
    pub(crate) fn is_asked_for(&self) -> bool {
        self.told || self.wildcard || !self.wanted.is_empty()
    }

    /// What the server is to be told now: nothing when it knows.
    pub(crate) fn subscribe(&mut self, dialect: Dialect, node: Option<Node>) -> Option<Request> {
        let nothing = match self.told {
            true => self.more.is_empty() && self.less.is_empty(),
            // An empty first request of a type means all of it.
            false => self.wanted.is_empty() && !self.wildcard,
        };
        if nothing {
            return None;
        }
        let (more, less) = (std::mem::take(&mut self.more), std::mem::take(&mut self.less));
        let first = !std::mem::replace(&mut self.told, true);
        Some(match dialect {
            Dialect::World => self.world(node, None),
            Dialect::Delta if first => self.first(node),
            // A change carries no nonce: it is no answer.
            Dialect::Delta => Request::Delta(Box::new(DeltaDiscoveryRequest {
                node,
                type_url: self.kind.url(),
                resource_names_subscribe: texts(more.iter()),
                resource_names_unsubscribe: texts(less.iter()),
                ..DeltaDiscoveryRequest::default()
            })),
        })
    }

    fn first(&self, node: Option<Node>) -> Request {
        let mut subscribe = texts(self.wanted().into_iter());
        if self.wildcard && !subscribe.is_empty() {
            subscribe.insert(0, ALL.to_owned());
        }
        let known = self.known.iter().filter(|(name, _)| self.wants(name));
        let mut request = DeltaDiscoveryRequest {
            node,
            type_url: self.kind.url(),
            resource_names_subscribe: subscribe,
            initial_resource_versions: known.map(|(n, k)| (n.to_string(), k.version.to_string())).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        if request.encoded_len() > MAX_REQUEST {
            request.initial_resource_versions.clear();
        }
        Request::Delta(Box::new(request))
    }

    fn world(&mut self, node: Option<Node>, refused: Option<(&[Refusal], usize)>) -> Request {
        let names = self.encoded.take().unwrap_or_else(|| encoded(&self.wanted()));
        self.encoded = Some(names.clone());
        let message = DiscoveryRequest {
            version_info: self.version.clone(),
            node,
            type_url: self.kind.url(),
            response_nonce: self.nonce.clone(),
            error_detail: refused.map(|(refused, of)| nack::status(refused, of)),
            ..DiscoveryRequest::default()
        };
        Request::World(Box::new(message), names)
    }

    /// The answer to the last response: an ACK, or a NACK when something was refused. It changes no subscription.
    pub(crate) fn answer(
        &mut self,
        dialect: Dialect,
        node: Option<Node>,
        version: String,
        refused: &[Refusal],
        of: usize,
    ) -> Request {
        if refused.is_empty() {
            self.version = version;
        }
        let refused = Some((refused, of)).filter(|(refused, _)| !refused.is_empty());
        if dialect == Dialect::World {
            return self.world(node, refused);
        }
        Request::Delta(Box::new(DeltaDiscoveryRequest {
            node,
            type_url: self.kind.url(),
            response_nonce: self.nonce.clone(),
            error_detail: refused.map(|(refused, of)| nack::status(refused, of)),
            ..DeltaDiscoveryRequest::default()
        }))
    }
}

fn encoded(names: &[&Arc<str>]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(names.iter().map(|name| name.len().saturating_add(6)).sum());
    for name in names {
        encode_key(NAMES, WireType::LengthDelimited, &mut bytes);
        encode_varint(name.len() as u64, &mut bytes);
        bytes.put_slice(name.as_bytes());
    }
    bytes.freeze()
}
