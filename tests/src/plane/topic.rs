//! One type on one stream, as a server sees it.

use std::collections::{BTreeMap, BTreeSet};

use weir_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};

use super::{Held, Told};

/// Order in which types are sent.
pub const ORDER: [&str; 7] = [
    "envoy.service.runtime.v3.Runtime",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.config.listener.v3.Listener",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.core.v3.TypedExtensionConfig",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
];

/// What a server has of a type.
pub struct Offer<'a> {
    /// By name.
    pub has: &'a BTreeMap<String, Held>,
    /// The version of everything.
    pub version: u64,
    /// The first answer to a subscription to everything comes even when there is nothing.
    pub empty: bool,
}

/// What a client wants and has.
#[derive(Default)]
pub struct Topic {
    wildcard: bool,
    names: BTreeSet<String>,
    /// Versions the client has; of a name that is missing, that it was told so.
    known: BTreeMap<String, String>,
    nonce: u64,
    answered: u64,
    url: String,
    begun: bool,
    /// In state of the world: something is owed.
    due: bool,
}

impl Topic {
    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn next_nonce(&mut self) -> String {
        self.nonce += 1;
        self.nonce.to_string()
    }

    fn answered(&mut self, nonce: &str, error: Option<String>, told: &mut Told) {
        // A later response may be on its way already.
        let known = nonce.parse().ok().filter(|nonce| (self.answered + 1..=self.nonce).contains(nonce));
        match known {
            Some(nonce) => {
                // A client may answer the last of several at once.
                told.answers += usize::try_from(nonce - self.answered).unwrap_or(usize::MAX);
                self.answered = nonce;
            }
            None => told.breaches.push(format!(
                "{}: nonce {nonce}; sent up to {}, answered up to {}",
                self.url, self.nonce, self.answered
            )),
        }
        match error {
            Some(text) => told.nacks.push((self.url.clone(), text)),
            None => *told.acks.entry(self.url.clone()).or_default() += 1,
        }
    }

    /// A delta request.
    pub fn delta(&mut self, request: DeltaDiscoveryRequest, told: &mut Told) {
        self.url = weir_proto::any::name_in_url(&request.type_url).to_owned();
        if !self.begun {
            self.wildcard = request.resource_names_subscribe.iter().all(|name| name == "*");
            self.known = request.initial_resource_versions.into_iter().collect();
            self.begun = true;
        } else if !request.initial_resource_versions.is_empty() {
            told.breaches.push(format!("{}: versions after the first request", self.url));
        }
        let changes =
            !(request.resource_names_subscribe.is_empty() && request.resource_names_unsubscribe.is_empty());
        for name in request.resource_names_unsubscribe {
            self.names.remove(&name);
            self.known.remove(&name);
        }
        self.names.extend(request.resource_names_subscribe);
        if !request.response_nonce.is_empty() {
            if changes {
                told.breaches.push(format!("{}: an answer that changes the subscription", self.url));
            }
            self.answered(&request.response_nonce, request.error_detail.map(|e| e.message), told);
        }
        told.names.insert(self.url.clone(), self.names.clone());
    }

    /// What the client lacks.
    pub fn delta_response(&mut self, offer: &Offer<'_>) -> Option<DeltaDiscoveryResponse> {
        let has = offer.has;
        let mut resources = Vec::new();
        for (name, (version, any)) in has.iter().filter(|(name, _)| self.wants(name)) {
            if self.known.get(name) != Some(version) {
                resources.push(Resource {
                    name: name.clone(),
                    version: version.clone(),
                    resource: Some(any.clone()),
                    ..Resource::default()
                });
            }
        }
        let mut removed: Vec<String> = self
            .known
            .iter()
            .filter(|(n, v)| !v.is_empty() && !has.contains_key(*n))
            .map(|(n, _)| n.clone())
            .collect();
        let unknown =
            self.names.iter().filter(|n| *n != "*" && !has.contains_key(*n) && !self.known.contains_key(*n));
        removed.extend(unknown.cloned());
        let owed = offer.empty && self.wildcard && self.nonce == 0;
        if resources.is_empty() && removed.is_empty() && !owed {
            return None;
        }
        for resource in &resources {
            self.known.insert(resource.name.clone(), resource.version.clone());
        }
        for name in &removed {
            self.known.insert(name.clone(), String::new());
        }
        Some(DeltaDiscoveryResponse {
            system_version_info: offer.version.to_string(),
            resources,
            type_url: weir_proto::any::type_url(&self.url),
            removed_resources: removed,
            nonce: self.next_nonce(),
            ..DeltaDiscoveryResponse::default()
        })
    }

    /// A request in state of the world.
    pub fn world(&mut self, request: DiscoveryRequest, whole: bool, told: &mut Told) {
        self.url = weir_proto::any::name_in_url(&request.type_url).to_owned();
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        if !self.begun {
            if !request.response_nonce.is_empty() {
                told.breaches.push(format!("{}: a nonce on a new stream", self.url));
            }
            self.wildcard = whole && names.is_empty();
            (self.begun, self.due) = (true, true);
        } else {
            if names == self.names {
                self.answered(&request.response_nonce, request.error_detail.map(|e| e.message), told);
            }
            self.due |= names.difference(&self.names).next().is_some();
        }
        self.names = names;
        told.names.insert(self.url.clone(), self.names.clone());
    }

    /// All there is, if something is due: by a request, or because it has changed.
    pub fn world_response(&mut self, offer: &Offer<'_>) -> Option<DiscoveryResponse> {
        let wanted: Vec<_> = offer.has.iter().filter(|(name, _)| self.wants(name)).collect();
        let now = wanted.iter().map(|(name, (version, _))| ((*name).clone(), version.clone())).collect();
        self.due |= self.begun && now != self.known;
        self.known = now;
        if !self.due {
            return None;
        }
        if wanted.is_empty() && !self.wildcard {
            return None;
        }
        self.due = false;
        Some(DiscoveryResponse {
            version_info: offer.version.to_string(),
            resources: wanted.iter().map(|(_, (_, any))| any.clone()).collect(),
            type_url: weir_proto::any::type_url(&self.url),
            nonce: self.next_nonce(),
            ..DiscoveryResponse::default()
        })
    }
}
