//! From a cluster of the bootstrap to a byte stream to one of its hosts.

use crate::base::Name;
use crate::base::addr::Address;
use crate::base::rng;
use crate::live::host::flag;
use crate::model::cluster::Cluster;
use crate::model::snapshot::Published;
use crate::transport::Io;
use crate::transport::io::{Source, set_keepalive};
use http::Uri;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tower::Service;

/// Most hosts that are tried in one attempt.
const MAX_DIALS: usize = 8;

/// TCP keepalive where the cluster says nothing: idle time, interval, probes. A control plane is silent for hours;
/// one whose machine is gone would never be missed.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(10), 3);

/// Bytes both ways.
pub(super) trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// Dials the hosts of a cluster.
#[derive(Clone)]
pub(super) struct Connector {
    published: Arc<Published>,
    cluster: Name,
}

impl Connector {
    pub(super) fn new(published: Arc<Published>, cluster: Name) -> Connector {
        Connector { published, cluster }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Both>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let found = self.published.load().clusters.get(&self.cluster).cloned();
        let name = self.cluster.clone();
        Box::pin(async move {
            let cluster =
                found.ok_or_else(|| io::Error::other(format!("the cluster '{name}' is not in force")))?;
            // It may have been replaced since the stream was judged.
            if let Some((what, _)) = super::unusable(&cluster) {
                return Err(io::Error::other(what));
            }
            dial(&cluster).await.map(TokioIo::new)
        })
    }
}

async fn dial(cluster: &Cluster) -> io::Result<Box<dyn Both>> {
    // A cold cluster's hosts are made now; names are looked up.
    let waited = timeout(cluster.connect_timeout, cluster.live.ready()).await;
    waited.map_err(|_| told(cluster, "its hosts are not known yet"))?;
    let mut last = told(cluster, "it has no hosts");
    for address in addresses(cluster).into_iter().take(MAX_DIALS) {
        let from = cluster.source.map(|own| Source::own(own.towards(&address)));
        match timeout(cluster.connect_timeout, Io::connect(&address, from)).await {
            Ok(Ok(io)) => return Ok(stream(io, cluster)),
            Ok(Err(error)) => last = told(cluster, &format!("{address}: {error}")),
            Err(_) => last = told(cluster, &format!("{address}: no connection within the connect_timeout")),
        }
    }
    Err(last)
}

fn told(cluster: &Cluster, what: &str) -> io::Error {
    io::Error::other(format!("cluster '{}': {what}", cluster.name))
}

/// Hosts in the order of their priorities, from a random one on; unhealthy ones last.
fn addresses(cluster: &Cluster) -> Vec<Address> {
    let Some(set) = cluster.live.hosts() else { return Vec::new() };
    let mut all = Vec::new();
    for locality in &set.members.localities {
        for (host, _) in &locality.hosts {
            let bad = host.flags() & (flag::FAILED_EDS | flag::FAILED_ACTIVE_HC | flag::FAILED_OUTLIER) != 0;
            all.push((bad, locality.priority, rng::with(|rng| rng.next_u64()), host.address.clone()));
        }
    }
    all.sort_by_key(|(bad, priority, random, _)| (*bad, *priority, *random));
    all.into_iter().map(|(.., address)| address).collect()
}

fn stream(io: Io, cluster: &Cluster) -> Box<dyn Both> {
    match io {
        Io::Unix(stream) => Box::new(stream),
        Io::Tcp(stream) => {
            let (time, interval, probes) = KEEPALIVE;
            match &cluster.keepalive {
                Some(own) => set_keepalive(&stream, own.probes, own.time, own.interval),
                None => set_keepalive(&stream, Some(probes), Some(time), Some(interval)),
            }
            Box::new(stream)
        }
    }
}
