//! Streams to control planes: each is a session driven by a task of the control thread, and a source of updates like
//! any other. (On a thread of their own every update would cross threads twice, which costs more than most updates.)

mod connect;
mod feed;

use super::compile::source::{Dynamic, Grpc};
use super::interest::Interest;
use super::state::State;
use super::subscriptions::{CDS, LDS, Subscriptions};
use super::thread::Inlet;
use super::update::Kind;
use crate::base::Name;
use crate::base::ledger::{CompileError, Sink};
use crate::model::cluster::Discovery;
use crate::model::snapshot::Published;
use crate::model::transport::{UpstreamSocket, UpstreamSockets};
use connect::Connector;
use feed::Feed;
use std::sync::Arc;
use tokio::sync::watch;
use weir_proto::envoy::config::core::v3::Node;
use weir_xds::{CLUSTER, Call, Dialect, ENDPOINTS, LISTENER, ROUTE, ResourceType, Session, agent, drive};

/// Paths of the aggregated stream.
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const WORLD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Every server of a stream is a host of a cluster of the bootstrap, whose endpoints need no stream.
pub(super) fn judge(dynamic: &Dynamic, state: &State) -> Vec<CompileError> {
    let sink = Sink::new();
    let own = |source: &Option<super::compile::source::Source>| source.as_ref().and_then(|s| s.own.clone());
    let all = [
        ("ads_config", dynamic.ads.clone()),
        ("lds_config.api_config_source", own(&dynamic.listeners)),
        ("cds_config.api_config_source", own(&dynamic.clusters)),
    ];
    for (field, grpc) in all {
        let Some(Grpc { cluster, .. }) = grpc else { continue };
        let path = format!("dynamic_resources.{field}.grpc_services[0].envoy_grpc.cluster_name");
        let at = sink.root(&path);
        match state.clusters.get(&cluster) {
            // Refused, and told already.
            None if state.clusters.refused.contains_key(&cluster) => {}
            None => at.error_with(
                format!("Unknown gRPC client cluster '{cluster}'"),
                "define it in static_resources.clusters",
            ),
            Some(found) if matches!(found.discovery, Discovery::Eds(_)) => at.error_with(
                format!("the endpoints of cluster '{cluster}' would come over the stream itself"),
                "use a cluster of type STATIC or STRICT_DNS",
            ),
            Some(found) if !is_plain(&found.sockets) => at.error_with(
                format!("cluster '{cluster}' has a transport socket, and this release reaches control planes in plain text only"),
                "use a cluster without transport_socket",
            ),
            Some(_) => {}
        }
    }
    sink.into_errors()
}

/// Are connections made as they are? Nothing that is to be encrypted ever goes out otherwise.
fn is_plain(sockets: &UpstreamSockets) -> bool {
    matches!(sockets.default, UpstreamSocket::Plain) && sockets.matches.is_empty()
}

/// What the streams need of `control`; to be started when that runs.
pub(super) struct Streams {
    dynamic: Dynamic,
    node: Node,
    published: Arc<Published>,
    interest: watch::Receiver<Arc<Interest>>,
    stats: Arc<Subscriptions>,
    /// What was restored from disk, by type.
    restored: Vec<(Kind, Vec<Name>)>,
}

/// One stream to be.
struct Stream {
    grpc: Grpc,
    path: String,
    types: Vec<(&'static ResourceType, bool)>,
    /// Prefix of `control_plane.` in statistics.
    prefix: &'static str,
}

impl Streams {
    /// Of a process that starts.
    pub(super) fn of(state: &State) -> Streams {
        Streams {
            dynamic: state.settings.dynamic.clone(),
            node: agent(state.settings.identity.clone(), "weir", env!("CARGO_PKG_VERSION")),
            published: state.published.clone(),
            interest: state.interest.subscribe(),
            stats: state.stats.subscriptions.clone(),
            restored: state.restored(),
        }
    }

    /// Starts the streams that the bootstrap names, as tasks of the calling thread. They end with it.
    pub(super) fn start(self, inlet: &Inlet) {
        for stream in self.list() {
            tokio::task::spawn_local(self.drive(stream, inlet.clone()));
        }
    }

    /// The streams of the bootstrap. Clusters are asked for first, and endpoints and routes wherever those come from.
    fn list(&self) -> Vec<Stream> {
        let Dynamic { ads, listeners, clusters } = &self.dynamic;
        let mut all = Vec::new();
        let mut aggregated = Vec::new();
        for (source, kind, prefix) in [(clusters, &CLUSTER, CDS), (listeners, &LISTENER, LDS)] {
            match source.as_ref().map(|source| &source.own) {
                Some(Some(grpc)) => all.push(Stream {
                    grpc: grpc.clone(),
                    path: kind.path(grpc.dialect == Dialect::Delta),
                    types: vec![(kind, true)],
                    prefix,
                }),
                Some(None) => aggregated.push((kind, true)),
                None => {}
            }
            aggregated.push((if *kind == CLUSTER { &ENDPOINTS } else { &ROUTE }, false));
        }
        if let Some(grpc) = ads {
            let path = if grpc.dialect == Dialect::Delta { DELTA } else { WORLD };
            all.push(Stream { grpc: grpc.clone(), path: path.into(), types: aggregated, prefix: "" });
        }
        all
    }

    fn drive(&self, stream: Stream, inlet: Inlet) -> impl Future<Output = ()> + 'static {
        let Stream { grpc, path, types, prefix } = stream;
        let connector = Connector::new(self.published.clone(), grpc.cluster.clone());
        let mut session = Session::new(grpc.dialect, self.node.clone(), grpc.node_once, &types);
        for (kind, names) in &self.restored {
            session.restore(kind.type_name(), names);
        }
        let mut feed =
            Feed::new(inlet, self.interest.clone(), self.stats.clone(), &types, prefix, grpc.cluster);
        let published = self.published.clone();
        async move {
            let keepalive =
                published.load().clusters.get(feed.cluster()).and_then(|c| c.http.http2.keepalive);
            let call = Call {
                authority: grpc.authority,
                path: path.into(),
                metadata: grpc.metadata,
                keepalive,
                backoff: grpc.backoff,
            };
            drive(session, call, connector, &mut feed).await;
        }
    }
}
