//! The two dialects of the protocol: the same topic, asked and answered in two ways.

use weir_proto::envoy::config::core::v3::Node;
use weir_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use xxhash_rust::xxh64::Xxh64;

use super::snapshot::Resources;
use super::topic::{Owed, Said, Topic};

/// A dialect.
pub trait Dialect: Clone + Default + Send + Sync + 'static {
    /// What a proxy sends.
    type Request: prost::Message + Default + 'static;
    /// What it is sent.
    type Response: prost::Message + Default + 'static;

    /// Its name on the pages.
    const NAME: &'static str;

    /// Who asks; the first request of a stream says it.
    fn node(request: &Self::Request) -> Option<&Node>;

    /// Of which type.
    fn type_url(request: &Self::Request) -> &str;

    /// Takes a request. `whole`: without names all of the type is wanted. None: it asks for too much.
    fn take(topic: &mut Topic, request: Self::Request, whole: bool) -> Option<Said>;

    /// What is owed now.
    fn owed<'a>(topic: &mut Topic, all: &'a Resources, whole: bool) -> Option<Owed<'a>>;

    /// The response that carries it.
    fn response(owed: Owed<'_>, url: &str) -> Self::Response;
}

/// Version of a set of resources: a hash of theirs.
fn version(owed: &Owed<'_>) -> String {
    let mut hash = Xxh64::new(0);
    for (name, held) in &owed.resources {
        hash.update(name.as_bytes());
        hash.update(held.version.as_bytes());
    }
    format!("{:016x}", hash.digest())
}

/// Only what changes is sent.
#[derive(Debug, Clone, Default)]
pub struct Delta;

impl Dialect for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    const NAME: &'static str = "delta";

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &DeltaDiscoveryRequest) -> &str {
        &request.type_url
    }

    fn take(topic: &mut Topic, request: DeltaDiscoveryRequest, whole: bool) -> Option<Said> {
        let (more, fewer) = (request.resource_names_subscribe, request.resource_names_unsubscribe);
        let first =
            topic.begin(whole && more.is_empty(), request.initial_resource_versions.into_iter().collect());
        let fits = topic.subscribe(first, more, &fewer);
        let refused = request.error_detail.map(|status| status.message);
        fits.then(|| topic.answered(&request.response_nonce, refused))
    }

    fn owed<'a>(topic: &mut Topic, all: &'a Resources, _: bool) -> Option<Owed<'a>> {
        topic.changes(all)
    }

    fn response(owed: Owed<'_>, url: &str) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            system_version_info: version(&owed),
            resources: owed
                .resources
                .iter()
                .map(|(name, held)| Resource {
                    name: (*name).clone(),
                    version: held.version.clone(),
                    resource: Some(held.resource.clone()),
                    ..Resource::default()
                })
                .collect(),
            type_url: url.to_owned(),
            removed_resources: owed.removed,
            nonce: owed.nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }
}

/// State of the world: all that a type has is sent.
#[derive(Debug, Clone, Default)]
pub struct Whole;

impl Dialect for Whole {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    const NAME: &'static str = "state of the world";

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &DiscoveryRequest) -> &str {
        &request.type_url
    }

    fn take(topic: &mut Topic, request: DiscoveryRequest, whole: bool) -> Option<Said> {
        let refused = request.error_detail.map(|status| status.message);
        let said = topic.answered(&request.response_nonce, refused);
        topic.want(whole, request.resource_names.into_iter().collect()).then_some(said)
    }

    fn owed<'a>(topic: &mut Topic, all: &'a Resources, whole: bool) -> Option<Owed<'a>> {
        topic.state(all, whole)
    }

    fn response(owed: Owed<'_>, url: &str) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: version(&owed),
            resources: owed.resources.iter().map(|(_, held)| held.resource.clone()).collect(),
            type_url: url.to_owned(),
            nonce: owed.nonce,
            ..DiscoveryResponse::default()
        }
    }
}
