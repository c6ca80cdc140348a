//! The server: every path of every discovery service, in the dialect that its name tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use tonic::Streaming;
use tonic::body::Body;
use weir_proto::envoy::config::core::v3::Node;
use weir_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use weir_xds::ResourceType;

use super::topic::{ORDER, Offer, Topic};
use super::{Held, Shared, Told, World};
use crate::grpc::{Answers, Responses, streaming};

/// All services.
#[derive(Clone)]
pub struct Services(pub Arc<Shared>);

impl Answers for Services {
    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        if request.uri().path().contains("/Delta") {
            return streaming(request, |requests, send| talk::<Delta>(self.0, requests, send)).await;
        }
        streaming(request, |requests, send| talk::<Whole>(self.0, requests, send)).await
    }
}

/// Resources of a type that may be sent.
fn open<'a>(world: &'a World, kind: &str) -> Option<Offer<'a>> {
    static NONE: BTreeMap<String, Held> = BTreeMap::new();
    let has = world.resources.get(kind).unwrap_or(&NONE);
    (!world.silent.contains(kind)).then_some(Offer { has, version: world.version, empty: world.empty })
}

/// Notes the first message of a stream.
fn first(node: Option<&Node>, told: &mut Told) {
    match node.filter(|node| !node.id.is_empty()) {
        Some(node) => node.clone_into(&mut told.node),
        None => told.breaches.push("the first message of a stream names no node".to_owned()),
    }
}

/// One of the two dialects: its messages, and what they mean to a topic.
trait Dialect: Send + 'static {
    type Request: Message + Default + Send + 'static;
    type Response: Message + Default + Send + 'static;

    fn node(request: &Self::Request) -> Option<&Node>;
    fn url(request: &Self::Request) -> &str;
    fn take(topic: &mut Topic, request: Self::Request, told: &mut Told);
    /// What is owed of what there is.
    fn owed(topic: &mut Topic, offer: &Offer<'_>) -> Option<Self::Response>;
    /// Resources of a response.
    fn count(response: &Self::Response) -> usize;
}

struct Delta;

impl Dialect for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn take(topic: &mut Topic, request: Self::Request, told: &mut Told) {
        topic.delta(request, told);
    }

    fn owed(topic: &mut Topic, offer: &Offer<'_>) -> Option<Self::Response> {
        topic.delta_response(offer)
    }

    fn count(response: &Self::Response) -> usize {
        response.resources.len()
    }
}

struct Whole;

impl Dialect for Whole {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn node(request: &Self::Request) -> Option<&Node> {
        request.node.as_ref()
    }

    fn url(request: &Self::Request) -> &str {
        &request.type_url
    }

    fn take(topic: &mut Topic, request: Self::Request, told: &mut Told) {
        let whole = ResourceType::of(&request.type_url).is_some_and(|kind| kind.whole);
        topic.world(request, whole, told);
    }

    fn owed(topic: &mut Topic, offer: &Offer<'_>) -> Option<Self::Response> {
        topic.world_response(offer)
    }

    fn count(response: &Self::Response) -> usize {
        response.resources.len()
    }
}

/// A stream in one dialect.
async fn talk<D: Dialect>(
    shared: Arc<Shared>,
    mut requests: Streaming<D::Request>,
    send: Responses<D::Response>,
) {
    let mut changes = shared.changes.subscribe();
    let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
    shared.world().told.streams += 1;
    loop {
        tokio::select! {
            request = requests.message() => {
                let Ok(Some(request)) = request else { return };
                let told = &mut shared.world().told;
                if topics.is_empty() {
                    first(D::node(&request), told);
                }
                let kind = weir_proto::any::name_in_url(D::url(&request)).to_owned();
                D::take(topics.entry(kind).or_default(), request, told);
            }
            changed = changes.changed() => if changed.is_err() { return },
        }
        let version = shared.world().version;
        for kind in ORDER {
            let response = {
                let mut world = shared.world();
                let topic = topics.get_mut(kind).zip(open(&world, kind));
                let owed = topic.and_then(|(topic, offer)| D::owed(topic, &offer));
                if let Some(response) = &owed {
                    world.told.sent += D::count(response);
                    world.told.responses += 1;
                }
                owed
            };
            if let Some(response) = response
                && send.send(Ok(response)).await.is_err()
            {
                return;
            }
        }
        shared.world().told.served = version;
    }
}
