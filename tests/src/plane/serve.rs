//! The server: every path of every discovery service, in the dialect that its name tells.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;
use weir_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use weir_xds::ResourceType;

use super::topic::{ORDER, Topic};
use super::{Held, Shared, Told, World};

/// Binds the port; one that was just given up may need a moment.
pub fn bind(port: u16) -> anyhow::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(64)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Serves until it is told to stop; then every connection breaks.
pub fn run(listener: std::net::TcpListener, shared: Arc<Shared>, stop: oneshot::Receiver<()>) {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = made else { return println!("the control plane of the test has no runtime") };
    runtime.block_on(async {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return println!("the control plane of the test cannot listen: {error}"),
        };
        let incoming = stream::unfold(listener, async |listener| {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        let serving = Server::builder().serve_with_incoming(Paths(shared), incoming.boxed());
        tokio::select! {
            ended = serving => println!("the control plane of the test ended: {ended:?}"),
            _ = stop => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

/// All services.
#[derive(Clone)]
struct Paths(Arc<Shared>);

impl Service<http::Request<Body>> for Paths {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move {
            if request.uri().path().contains("/Delta") {
                let codec = ProstCodec::<DeltaDiscoveryResponse, DeltaDiscoveryRequest>::default();
                return Ok(Grpc::new(codec).streaming(Delta(shared), request).await);
            }
            let codec = ProstCodec::<DiscoveryResponse, DiscoveryRequest>::default();
            Ok(Grpc::new(codec).streaming(Whole(shared), request).await)
        })
    }
}

type Answer<M> = Result<Response<BoxStream<'static, Result<M, Status>>>, Status>;
type Answering<M> = Pin<Box<dyn Future<Output = Answer<M>> + Send>>;

/// Responses as they come; the stream ends with its task.
fn answer<M: Send + 'static>(responses: mpsc::Receiver<M>) -> Answering<M> {
    let stream =
        stream::unfold(responses, async |mut responses| responses.recv().await.map(|m| (Ok(m), responses)));
    Box::pin(async move { Ok(Response::new(stream.boxed())) })
}

/// Resources of a type that may be sent.
fn open<'a>(world: &'a World, kind: &str) -> Option<&'a BTreeMap<String, Held>> {
    static NONE: BTreeMap<String, Held> = BTreeMap::new();
    (!world.silent.contains(kind)).then(|| world.resources.get(kind).unwrap_or(&NONE))
}

/// Notes the first message of a stream.
fn first(node: Option<&weir_proto::envoy::config::core::v3::Node>, told: &mut Told) {
    match node.filter(|node| !node.id.is_empty()) {
        Some(node) => node.user_agent_name.clone_into(&mut told.agent),
        None => told.breaches.push("the first message of a stream names no node".to_owned()),
    }
}

#[derive(Clone)]
struct Delta(Arc<Shared>);

impl Service<Request<Streaming<DeltaDiscoveryRequest>>> for Delta {
    type Response = Response<BoxStream<'static, Result<DeltaDiscoveryResponse, Status>>>;
    type Error = Status;
    type Future = Answering<DeltaDiscoveryResponse>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Self::Future {
        let (send, responses) = mpsc::channel(4);
        let (shared, mut requests) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut changes = shared.changes.subscribe();
            let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
            shared.world().told.streams += 1;
            loop {
                tokio::select! {
                    request = requests.message() => {
                        let Ok(Some(request)) = request else { return };
                        let told = &mut shared.world().told;
                        if topics.is_empty() {
                            first(request.node.as_ref(), told);
                        }
                        let kind = weir_proto::any::name_in_url(&request.type_url).to_owned();
                        topics.entry(kind).or_default().delta(request, told);
                    }
                    changed = changes.changed() => if changed.is_err() { return },
                }
                for kind in ORDER {
                    let response = {
                        let mut world = shared.world();
                        let has = open(&world, kind);
                        let response = topics
                            .get_mut(kind)
                            .zip(has)
                            .and_then(|(topic, has)| topic.delta_response(has, world.version));
                        world.told.sent += response.as_ref().map_or(0, |r| r.resources.len());
                        response
                    };
                    if let Some(response) = response
                        && send.send(response).await.is_err()
                    {
                        return;
                    }
                }
            }
        });
        answer(responses)
    }
}

#[derive(Clone)]
struct Whole(Arc<Shared>);

impl Service<Request<Streaming<DiscoveryRequest>>> for Whole {
    type Response = Response<BoxStream<'static, Result<DiscoveryResponse, Status>>>;
    type Error = Status;
    type Future = Answering<DiscoveryResponse>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let (send, responses) = mpsc::channel(4);
        let (shared, mut requests) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut changes = shared.changes.subscribe();
            let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
            shared.world().told.streams += 1;
            loop {
                tokio::select! {
                    request = requests.message() => {
                        let Ok(Some(request)) = request else { return };
                        let told = &mut shared.world().told;
                        if topics.is_empty() {
                            first(request.node.as_ref(), told);
                        }
                        let kind = weir_proto::any::name_in_url(&request.type_url).to_owned();
                        let whole = ResourceType::of(&request.type_url).is_some_and(|kind| kind.whole);
                        topics.entry(kind).or_default().world(request, whole, told);
                    }
                    changed = changes.changed() => if changed.is_err() { return },
                }
                for kind in ORDER {
                    let response = {
                        let mut world = shared.world();
                        let has = open(&world, kind);
                        let response = topics.get_mut(kind).zip(has).and_then(|(topic, has)| {
                            topic.changed(has);
                            topic.world_response(has, world.version)
                        });
                        world.told.sent += response.as_ref().map_or(0, |r| r.resources.len());
                        response
                    };
                    if let Some(response) = response
                        && send.send(response).await.is_err()
                    {
                        return;
                    }
                }
            }
        });
        answer(responses)
    }
}
