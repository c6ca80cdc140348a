//! Streams to control planes, and files: each is a session driven by a task of the control thread, and a source of
//! updates like any other. (On a thread of their own every update would cross threads twice, which costs more than
//! most updates.)

mod connect;
mod feed;
mod files;

use super::compile::source::{self, Dynamic, Fed, Grpc};
use super::interest::{Count, Interest};
use super::state::State;
use super::subscriptions::{CDS, LDS, Subscriptions};
use super::thread::Inlet;
use super::update::Kind;
use crate::base::Name;
use crate::base::ledger::{CompileError, Sink};
use crate::model::by_name::Names;
use crate::model::cluster::{Cluster, Discovery};
use crate::model::pushed::{Pushed, Source};
use crate::model::snapshot::Published;
use crate::model::transport::{UpstreamSocket, UpstreamSockets};
use connect::Connector;
use feed::Feed;
use files::Files;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use weir_proto::envoy::config::core::v3::Node;
use weir_xds::{
    CLUSTER, Call, Dialect, ENDPOINTS, EXTENSION, Incoming, LISTENER, ROUTE, RUNTIME, ResourceType, SECRET,
    Session, agent, drive,
};

/// Paths of the aggregated stream.
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const WORLD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// Every server of a stream is a host of a cluster of the bootstrap, whose endpoints need no stream.
pub(super) fn judge(dynamic: &Dynamic, state: &State) -> Vec<CompileError> {
    let sink = Sink::new();
    let own = |fed: &Option<Fed>| match fed {
        Some(Fed { from: Source::Stream(settings), .. }) => source::stream(settings),
        _ => None,
    };
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
            Some(found) => {
                if let Some((what, remedy)) = unusable(found) {
                    at.error_with(what, remedy);
                }
            }
        }
    }
    sink.into_errors()
}

/// Why a stream cannot go to this cluster, and what to do.
fn unusable(cluster: &Cluster) -> Option<(String, &'static str)> {
    let name = &cluster.name;
    if let Discovery::Eds(Pushed { source: Source::Aggregated | Source::Stream(_), .. }) = &cluster.discovery
    {
        let what = format!("the endpoints of cluster '{name}' would come over the stream itself");
        return Some((what, "use a cluster of type STATIC or STRICT_DNS"));
    }
    if !is_plain(&cluster.sockets) {
        let what = format!(
            "cluster '{name}' has a transport socket, and this release reaches control planes in plain text only"
        );
        return Some((what, "use a cluster without transport_socket"));
    }
    None
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

/// Types whose resources are named by others, in the order in which they are asked for.
static NAMED: [(Kind, &ResourceType); 5] = [
    (Kind::Runtime, &RUNTIME),
    (Kind::Secret, &SECRET),
    (Kind::Endpoints, &ENDPOINTS),
    (Kind::Extension, &EXTENSION),
    (Kind::Route, &ROUTE),
];

/// One stream to be.
struct Stream {
    grpc: Grpc,
    path: String,
    types: Vec<(&'static ResourceType, bool)>,
    source: Source,
    /// Prefix of `control_plane.` in statistics.
    prefix: &'static str,
}

impl Stream {
    /// One of a type's own.
    fn own(
        source: &Source,
        kind: &'static ResourceType,
        whole: bool,
        prefix: &'static str,
    ) -> Option<Stream> {
        let Source::Stream(settings) = source else { return None };
        let grpc = source::stream(settings)?;
        let path = kind.path(grpc.dialect == Dialect::Delta);
        Some(Stream { grpc, path, types: vec![(kind, whole)], source: source.clone(), prefix })
    }
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

    /// Starts the streams and the files that the bootstrap names, and whatever else comes to be named, as tasks of the
    /// calling thread. They end with it.
    pub(super) fn start(self, inlet: &Inlet) {
        for stream in self.fixed() {
            tokio::task::spawn_local(self.drive(stream, inlet.clone()));
        }
        let files = Files::new(&self.dynamic, inlet.clone(), self.interest.clone(), self.restored.clone());
        tokio::task::spawn_local(files.run());
        tokio::task::spawn_local(self.follow(inlet.clone()));
    }

    /// Keeps the streams open that resources name.
    async fn follow(self, inlet: Inlet) {
        let mut interest = self.interest.clone();
        let mut running: BTreeMap<(Source, Kind), (AbortHandle, Names<Count>)> = BTreeMap::new();
        loop {
            let wanted = interest.borrow_and_update().clone();
            let mut over = Vec::new();
            running.retain(|(source, kind), (stream, names)| {
                let before = std::mem::replace(names, wanted.of(source).names(*kind));
                over.extend(before.beyond(names).map(|name| (*kind, name.clone())));
                if names.is_empty() {
                    stream.abort();
                }
                !names.is_empty()
            });
            // A stream that ends, or is away, does not tell.
            for (kind, of) in NAMED {
                let gone = over.iter().filter(|(other, _)| *other == kind).map(|(_, name)| name.clone());
                let unwanted: Vec<Name> = gone.collect();
                if !unwanted.is_empty() {
                    feed::apply(&inlet, Incoming::unwanted(of, unwanted)).await;
                }
            }
            for (source, names) in &wanted.sources {
                for (kind, of) in NAMED.into_iter().filter(|(kind, _)| names.any(*kind)) {
                    let key = (source.clone(), kind);
                    if !running.contains_key(&key)
                        && let Some(stream) = Stream::own(source, of, false, "")
                    {
                        let task = tokio::task::spawn_local(self.drive(stream, inlet.clone()));
                        running.insert(key, (task.abort_handle(), names.names(kind)));
                    }
                }
            }
            if interest.changed().await.is_err() {
                return;
            }
        }
    }

    /// The streams of the bootstrap. Clusters are asked for first, and endpoints and routes wherever those come from.
    fn fixed(&self) -> Vec<Stream> {
        let Dynamic { ads, listeners, clusters } = &self.dynamic;
        let mut all = Vec::new();
        let mut aggregated = Vec::new();
        for (fed, kind, prefix) in [(clusters, &CLUSTER, CDS), (listeners, &LISTENER, LDS)] {
            match fed.as_ref().map(|fed| &fed.from) {
                Some(Source::Aggregated) => aggregated.push((kind, true)),
                Some(own) => all.extend(Stream::own(own, kind, true, prefix)),
                None => {}
            }
            aggregated.push((if *kind == CLUSTER { &ENDPOINTS } else { &ROUTE }, false));
        }
        if let Some(grpc) = ads {
            aggregated.extend([&SECRET, &EXTENSION, &RUNTIME].map(|kind| (kind, false)));
            let path = if grpc.dialect == Dialect::Delta { DELTA } else { WORLD };
            let (grpc, source) = (grpc.clone(), Source::Aggregated);
            all.push(Stream { grpc, path: path.into(), types: aggregated, source, prefix: "" });
        }
        all
    }

    fn drive(&self, stream: Stream, inlet: Inlet) -> impl Future<Output = ()> + 'static {
        let Stream { grpc, path, types, source, prefix } = stream;
        let connector = Connector::new(self.published.clone(), grpc.cluster.clone());
        let mut session = Session::new(grpc.dialect, self.node.clone(), grpc.node_once, &types);
        for (kind, names) in &self.restored {
            session.restore(kind.type_name(), names);
        }
        let interest = self.interest.clone();
        let types = types.into_iter().map(|(kind, _)| kind).collect();
        let mut feed = Feed::new(
            inlet,
            (source, interest),
            (self.stats.clone(), self.published.clone()),
            types,
            prefix,
            grpc.cluster,
        );
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
