//! One type within a session: what is wanted, what the server was told, what it has sent.

use crate::message::{Dialect, Request};
use crate::nack::{self, Refusal};
use crate::types::ResourceType;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use weir_proto::envoy::config::core::v3::Node;
use weir_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

/// Largest first request in bytes that keeps the versions of what is known: istiod takes no more than 4 MiB. Beyond,
/// the versions are left out, and the server sends everything again.
pub const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// The name that stands for all.
const ALL: &str = "*";

/// Names of resources.
pub(crate) type Names = BTreeSet<Box<str>>;

/// What the server has sent under a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) version: String,
    pub(crate) expires: Option<Instant>,
}

/// One type.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) kind: &'static ResourceType,
    pub(crate) wildcard: bool,
    pub(crate) wanted: Names,
    /// Names the server was told on this stream; none: it has heard nothing of this type.
    told: Option<Names>,
    nonce: String,
    /// Version of the last response that was accepted as a whole.
    version: String,
    /// Outlives a stream.
    pub(crate) known: BTreeMap<Box<str>, Known>,
}

fn texts<'a>(names: impl Iterator<Item = &'a Box<str>>) -> Vec<String> {
    names.map(|name| name.to_string()).collect()
}

impl Topic {
    pub(crate) fn new(kind: &'static ResourceType, wildcard: bool) -> Topic {
        Topic {
            kind,
            wildcard,
            wanted: Names::new(),
            told: None,
            nonce: String::new(),
            version: String::new(),
            known: BTreeMap::new(),
        }
    }

    /// Was this name asked for?
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.wanted.contains(name)
    }

    /// The stream is gone.
    pub(crate) fn forget_stream(&mut self) {
        self.told = None;
        self.nonce.clear();
    }

    pub(crate) fn heard(&mut self, nonce: &str) {
        nonce.clone_into(&mut self.nonce);
    }

    /// What the server is to be told now: nothing when it knows.
    pub(crate) fn subscribe(&mut self, dialect: Dialect, node: Option<Node>) -> Option<Request> {
        if self.told.as_ref() == Some(&self.wanted) {
            return None;
        }
        let request = match &self.told {
            // An empty first request of a type means all of it.
            None if self.wanted.is_empty() && !self.wildcard => return None,
            None => self.first(dialect, node),
            Some(told) => self.change(dialect, node, told),
        };
        self.told = Some(self.wanted.clone());
        Some(request)
    }

    fn first(&self, dialect: Dialect, node: Option<Node>) -> Request {
        if dialect == Dialect::World {
            return self.world(node, &self.wanted, None);
        }
        let mut subscribe = texts(self.wanted.iter());
        if self.wildcard && !subscribe.is_empty() {
            subscribe.insert(0, ALL.to_owned());
        }
        let known = self.known.iter().filter(|(name, _)| self.wants(name));
        let mut request = DeltaDiscoveryRequest {
            node,
            type_url: self.kind.url(),
            resource_names_subscribe: subscribe,
            initial_resource_versions: known.map(|(n, k)| (n.to_string(), k.version.clone())).collect(),
            ..DeltaDiscoveryRequest::default()
        };
        if request.encoded_len() > MAX_REQUEST {
            request.initial_resource_versions.clear();
        }
        Request::Delta(Box::new(request))
    }

    /// A change carries no nonce in the delta dialect: it is no answer.
    fn change(&self, dialect: Dialect, node: Option<Node>, told: &Names) -> Request {
        if dialect == Dialect::World {
            return self.world(node, &self.wanted, None);
        }
        Request::Delta(Box::new(DeltaDiscoveryRequest {
            node,
            type_url: self.kind.url(),
            resource_names_subscribe: texts(self.wanted.difference(told)),
            resource_names_unsubscribe: texts(told.difference(&self.wanted)),
            ..DeltaDiscoveryRequest::default()
        }))
    }

    fn world(&self, node: Option<Node>, names: &Names, refused: Option<(&[Refusal], usize)>) -> Request {
        Request::World(Box::new(DiscoveryRequest {
            version_info: self.version.clone(),
            node,
            resource_names: texts(names.iter()),
            type_url: self.kind.url(),
            response_nonce: self.nonce.clone(),
            error_detail: refused.map(|(refused, of)| nack::status(refused, of)),
            ..DiscoveryRequest::default()
        }))
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
            let told = self.told.clone().unwrap_or_default();
            return self.world(node, &told, refused);
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
