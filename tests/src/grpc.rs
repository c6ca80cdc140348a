//! gRPC servers for tests: on a port or a socket in the file system, in a thread of their own.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::marker::PhantomData;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use prost::Message;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

/// Responses of a stream that wait to be sent.
const WAITING: usize = 4;

/// Where a server listens.
pub enum Listening {
    /// On a port.
    Tcp(std::net::TcpListener),
    /// On a socket in the file system.
    Unix(std::os::unix::net::UnixListener),
}

impl Listening {
    /// On a port of 127.0.0.1, also one that was just given up.
    pub fn on_port(port: u16) -> anyhow::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        socket.listen(64)?;
        socket.set_nonblocking(true)?;
        Ok(Self::Tcp(socket.into()))
    }

    /// On a socket, in the place of what a server before left behind.
    pub fn at(path: &Path) -> anyhow::Result<Self> {
        let _ = std::fs::remove_file(path);
        let socket = std::os::unix::net::UnixListener::bind(path)?;
        socket.set_nonblocking(true)?;
        Ok(Self::Unix(socket))
    }
}

/// What a server does with a request.
pub trait Answers: Clone + Send + Sync + 'static {
    /// The answer.
    fn answer(self, request: http::Request<Body>) -> impl Future<Output = http::Response<Body>> + Send;
}

/// A server; it ends, and its connections break, when this is dropped.
pub struct Server {
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Server {
    /// Starts it.
    pub fn start(listening: Listening, answers: impl Answers) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("server".into());
        let thread = thread.spawn(move || run(listening, answers, stopped))?;
        Ok(Self { running: Some((stop, thread)) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            // A server that has ended needs no telling.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

fn run(listening: Listening, answers: impl Answers, stop: oneshot::Receiver<()>) {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = made else { return println!("a server of the test has no runtime") };
    runtime.block_on(async {
        tokio::select! {
            ended = serve(listening, Paths(answers)) => println!("a server of the test ended: {ended:?}"),
            _ = stop => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

async fn serve(listening: Listening, paths: Paths<impl Answers>) -> anyhow::Result<()> {
    let server = tonic::transport::Server::builder();
    match listening {
        Listening::Tcp(listener) => {
            let incoming = stream::unfold(TcpListener::from_std(listener)?, async |listener| {
                Some((listener.accept().await.map(|(stream, _)| stream), listener))
            });
            server.serve_with_incoming(paths, incoming.boxed()).await?;
        }
        Listening::Unix(listener) => {
            let incoming = stream::unfold(UnixListener::from_std(listener)?, async |listener| {
                Some((listener.accept().await.map(|(stream, _)| stream), listener))
            });
            server.serve_with_incoming(paths, incoming.boxed()).await?;
        }
    }
    Ok(())
}

/// Every path of a server.
#[derive(Clone)]
struct Paths<A>(A);

impl<A: Answers> Service<http::Request<Body>> for Paths<A> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answers = self.0.clone();
        Box::pin(async move { Ok(answers.answer(request).await) })
    }
}

/// Where the responses of a stream go. An error ends it.
pub type Responses<R> = mpsc::Sender<Result<R, Status>>;

/// Answers a stream of requests by a task that takes them and sends responses; the stream ends with it.
pub async fn streaming<Q, R, T, F>(request: http::Request<Body>, talk: T) -> http::Response<Body>
where
    Q: Message + Default + Send + 'static,
    R: Message + Default + Send + 'static,
    T: FnOnce(Streaming<Q>, Responses<R>) -> F + Send + Sync,
    F: Future<Output = ()> + Send + 'static,
{
    Grpc::new(ProstCodec::<R, Q>::default()).streaming(Talk(Some(talk), PhantomData::<R>), request).await
}

struct Talk<T, R>(Option<T>, PhantomData<R>);

impl<Q, R, T, F> StreamingService<Q> for Talk<T, R>
where
    R: Send + 'static,
    T: FnOnce(Streaming<Q>, Responses<R>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    type Response = R;
    type ResponseStream = BoxStream<'static, Result<R, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Q>>) -> Self::Future {
        let (send, responses) = mpsc::channel(WAITING);
        if let Some(talk) = self.0.take() {
            tokio::spawn(talk(request.into_inner(), send));
        }
        let stream = stream::unfold(responses, async |mut responses| {
            responses.recv().await.map(|response| (response, responses))
        });
        ready(Ok(Response::new(stream.boxed())))
    }
}
