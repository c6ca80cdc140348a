//! The discovery services: aggregated, and one stream per type, in both dialects.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService};
use tonic::transport::Server;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::Plane;
use super::dialect::{Delta, Dialect, Whole};

/// Largest request, in bytes: the names of a whole mesh.
const MAX_REQUEST: usize = 64 << 20;

/// Responses of one stream that wait for the proxy to read them.
const WAITING: usize = 4;

/// The aggregated service.
const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService";

/// Serves the discovery services.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, plane: Arc<Plane>) -> anyhow::Result<()> {
    let incoming = stream::unfold(listener, async |listener| {
        Some((listener.accept().await.map(|(io, _)| io), listener))
    });
    // A descriptor that is missing now may be there later.
    let incoming = incoming.filter(|accepted| std::future::ready(accepted.is_ok()));
    let server = Server::builder().http2_keepalive_interval(Some(std::time::Duration::from_secs(30)));
    Ok(server.serve_with_incoming(Services(plane), incoming.boxed()).await?)
}

/// Every service by its path.
#[derive(Debug, Clone)]
struct Services(Arc<Plane>);

/// Is a path one of a dialect's?
fn serves(path: &str, delta: bool) -> bool {
    let aggregated = if delta { "DeltaAggregatedResources" } else { "StreamAggregatedResources" };
    path.strip_prefix(ADS).and_then(|rest| rest.strip_prefix('/')) == Some(aggregated)
        || weir_xds::ALL.iter().any(|kind| path == kind.path(delta))
}

impl Service<http::Request<Body>> for Services {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let plane = self.0.clone();
        Box::pin(async move {
            let path = request.uri().path();
            Ok(match (serves(path, true), serves(path, false)) {
                (true, _) => answer(Discovery(plane, Delta), request).await,
                (_, true) => answer(Discovery(plane, Whole), request).await,
                _ => Status::unimplemented(format!("{path} is not served here")).into_http(),
            })
        })
    }
}

async fn answer<D: Dialect>(service: Discovery<D>, request: http::Request<Body>) -> http::Response<Body> {
    let codec = ProstCodec::<D::Response, D::Request>::default();
    let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(MAX_REQUEST), None);
    grpc.streaming(service, request).await
}

/// A discovery service in one dialect.
#[derive(Debug, Clone)]
struct Discovery<D>(Arc<Plane>, D);

impl<D: Dialect> StreamingService<D::Request> for Discovery<D> {
    type Response = D::Response;
    type ResponseStream = BoxStream<'static, Result<D::Response, Status>>;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send + 'static>>;

    fn call(&mut self, request: Request<Streaming<D::Request>>) -> Self::Future {
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let peer = peer.map_or_else(String::new, |address| address.to_string());
        let (send, responses) = mpsc::channel(WAITING);
        tokio::spawn(super::stream::serve::<D>(self.0.clone(), peer, request.into_inner(), send));
        let responses =
            stream::unfold(responses, async |mut responses| Some((responses.recv().await?, responses)));
        Box::pin(async move { Ok(Response::new(responses.boxed())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_the_dialect() {
        assert!(serves(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            true
        ));
        assert!(!serves(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            false
        ));
        assert!(serves("/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters", false));
        assert!(!serves("/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters", false));
    }
}
