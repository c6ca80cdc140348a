//! The server: every path of every discovery service, in the dialect that its name tells.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use prost::Message;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;
use weir_proto::envoy::config::core::v3::Node;
use weir_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use weir_xds::ResourceType;

use super::topic::{ORDER, Offer, Topic};
use super::{Held, Shared, Told, World};

/// Where the server listens.
pub enum Listening {
    /// On a port.
    Tcp(std::net::TcpListener),
    /// On a socket in the file system.
    Unix(std::os::unix::net::UnixListener),
}

/// Binds the port, or the path; one that was just given up may need a moment.
pub fn bind(port: u16, path: Option<&Path>) -> anyhow::Result<Listening> {
    if let Some(path) = path {
        // What a server before left behind.
        let _ = std::fs::remove_file(path);
        let socket = std::os::unix::net::UnixListener::bind(path)?;
        socket.set_nonblocking(true)?;
        return Ok(Listening::Unix(socket));
    }
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(64)?;
    socket.set_nonblocking(true)?;
    Ok(Listening::Tcp(socket.into()))
}

/// Serves until it is told to stop; then every connection breaks.
pub fn run(listening: Listening, shared: Arc<Shared>, stop: oneshot::Receiver<()>) {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = made else { return println!("the control plane of the test has no runtime") };
    runtime.block_on(async {
        tokio::select! {
            ended = serve(listening, shared) => println!("the control plane of the test ended: {ended:?}"),
            _ = stop => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

async fn serve(listening: Listening, shared: Arc<Shared>) -> anyhow::Result<()> {
    match listening {
        Listening::Tcp(listener) => {
            let incoming = stream::unfold(TcpListener::from_std(listener)?, async |listener| {
                Some((listener.accept().await.map(|(stream, _)| stream), listener))
            });
            Server::builder().serve_with_incoming(Paths(shared), incoming.boxed()).await?;
        }
        Listening::Unix(listener) => {
            let incoming = stream::unfold(UnixListener::from_std(listener)?, async |listener| {
                Some((listener.accept().await.map(|(stream, _)| stream), listener))
            });
            Server::builder().serve_with_incoming(Paths(shared), incoming.boxed()).await?;
        }
    }
    Ok(())
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
                return Ok(served::<Delta>(shared, request).await);
            }
            Ok(served::<Whole>(shared, request).await)
        })
    }
}

async fn served<D: Dialect>(shared: Arc<Shared>, request: http::Request<Body>) -> http::Response<Body> {
    let codec = ProstCodec::<D::Response, D::Request>::default();
    Grpc::new(codec).streaming(Discovery::<D>(shared, PhantomData), request).await
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
struct Discovery<D>(Arc<Shared>, PhantomData<D>);

impl<D: Dialect> Service<Request<Streaming<D::Request>>> for Discovery<D> {
    type Response = Response<BoxStream<'static, Result<D::Response, Status>>>;
    type Error = Status;
    type Future = Answering<D::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<D::Request>>) -> Self::Future {
        let (send, responses) = mpsc::channel(4);
        tokio::spawn(talk::<D>(self.0.clone(), request.into_inner(), send));
        answer(responses)
    }
}

async fn talk<D: Dialect>(
    shared: Arc<Shared>,
    mut requests: Streaming<D::Request>,
    send: mpsc::Sender<D::Response>,
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
                && send.send(response).await.is_err()
            {
                return;
            }
        }
        shared.world().told.served = version;
    }
}
