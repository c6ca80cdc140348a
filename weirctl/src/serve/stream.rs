//! One stream: its requests, the folder's changes, its responses.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use weir_proto::any::{name_in_url, type_url};
use weir_xds::{CLUSTER, ENDPOINTS, LISTENER, ROUTE, ResourceType};

use super::Plane;
use super::dialect::Dialect;
use super::fleet::Line;
use super::snapshot::{Proxy, Snapshot};
use super::topic::Topic;

/// Types in the order in which they are sent: what others name comes first.
const ORDER: [&ResourceType; 4] = [&CLUSTER, &ENDPOINTS, &LISTENER, &ROUTE];

/// Types that one stream may ask for.
const MOST_TYPES: usize = 32;

/// What a stream sends.
type Responses<D> = mpsc::Sender<Result<<D as Dialect>::Response, Status>>;

/// A stream of a proxy that is known.
struct Stream<D: Dialect> {
    plane: Arc<Plane>,
    proxy: Proxy,
    line: Line,
    snapshot: Snapshot,
    topics: BTreeMap<String, Topic>,
    /// Clusters that were sent anew. To Envoy such a one is another: it waits for its endpoints, those that it has
    /// do not count, and it does not ask for them again.
    warming: Vec<String>,
    responses: Responses<D>,
}

/// Serves a stream until one side ends it.
pub async fn serve<D: Dialect>(
    plane: Arc<Plane>,
    peer: String,
    mut requests: Streaming<D::Request>,
    responses: Responses<D>,
) {
    let mut states = plane.state.clone();
    let first = match requests.message().await {
        Ok(Some(first)) => first,
        Ok(None) | Err(_) => return,
    };
    let node = D::node(&first).cloned().unwrap_or_default();
    let refuse = async |why: String| {
        plane.fleet.refuses(&peer, &node.id, &why);
        // The proxy may be gone.
        let _ = responses.send(Err(Status::invalid_argument(why))).await;
    };
    let proxy = match D::node(&first).map(Proxy::of) {
        Some(Ok(proxy)) => proxy,
        Some(Err(error)) => return refuse(error.to_string()).await,
        None => return refuse("the first request names no node".to_owned()).await,
    };
    let line = plane.fleet.joins(&node, peer.clone(), D::NAME);
    let mut stream: Stream<D> = Stream {
        plane: plane.clone(),
        proxy,
        line,
        snapshot: Snapshot::default(),
        topics: BTreeMap::new(),
        warming: Vec::new(),
        responses: responses.clone(),
    };
    let mut request = Some(first);
    loop {
        if let Some(request) = request.take()
            && let Err(why) = stream.take(request)
        {
            return refuse(why).await;
        }
        let state = states.borrow_and_update().as_ref().map(|state| state.number);
        if state.is_some_and(|state| state != stream.line.state()) {
            stream.catch_up().await;
        }
        if stream.send().await.is_err() {
            return;
        }
        tokio::select! {
            next = requests.message() => match next {
                Ok(Some(next)) => request = Some(next),
                // The proxy went away: it comes back by itself.
                Ok(None) | Err(_) => return,
            },
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}

impl<D: Dialect> Stream<D> {
    fn take(&mut self, request: D::Request) -> Result<(), String> {
        let kind = name_in_url(D::type_url(&request)).to_owned();
        if !self.topics.contains_key(&kind) && self.topics.len() >= MOST_TYPES {
            return Err(format!("more than {MOST_TYPES} types on one stream"));
        }
        let whole = ResourceType::of(&kind).is_some_and(|kind| kind.whole);
        let topic = self.topics.entry(kind.clone()).or_default();
        match D::take(topic, request, whole) {
            Some(said) => {
                self.line.said(&kind, &said);
                Ok(())
            }
            None => Err(format!("too many names of {kind}")),
        }
    }

    /// The folder has another state: what it means for this proxy is compiled beside the thread that serves. There may
    /// be a queue; it is the state of its end that counts.
    async fn catch_up(&mut self) {
        let (proxy, plane) = (self.proxy.clone(), self.plane.clone());
        let compiled = tokio::task::spawn_blocking(move || {
            let state = plane.state.borrow().clone()?;
            Some((Snapshot::of(&state.world, &proxy, &plane.pool, &plane.common), state.number))
        });
        match compiled.await {
            Ok(Some((snapshot, number))) => {
                self.snapshot = snapshot;
                self.line.moves_to(number);
            }
            Ok(None) => {}
            // The proxy keeps what it has.
            Err(error) => super::folder::tell(&format!("{}: {error}\n", self.proxy.node.id)),
        }
    }

    /// Sends what is owed, type by type.
    async fn send(&mut self) -> Result<(), ()> {
        if self.line.state() == 0 {
            // Nothing good was read yet: the proxies keep what they have.
            return Ok(());
        }
        let others = self.topics.keys().filter(|kind| ORDER.iter().all(|known| known.name != *kind));
        let kinds: Vec<String> =
            ORDER.iter().map(|kind| kind.name.to_owned()).chain(others.cloned()).collect();
        // All is noted before anything is awaited: who looks sees a state as a whole.
        let mut owed = Vec::new();
        for kind in kinds {
            let Some(topic) = self.topics.get_mut(&kind) else { continue };
            let whole = ResourceType::of(&kind).is_some_and(|kind| kind.whole);
            let all = self.snapshot.resources(&kind);
            if kind == ENDPOINTS.name {
                self.warming.drain(..).for_each(|name| topic.forget(&name));
            }
            if let Some(mut one) = D::owed(topic, all, whole) {
                self.line.sent(&kind, one.resources.len(), topic.wanted(all));
                if kind == CLUSTER.name {
                    self.warming.append(&mut one.renewed);
                }
                owed.push(D::response(one, &type_url(&kind)));
            } else if topic.is_content() {
                self.line.holds(&kind, topic.wanted(all));
            }
        }
        for response in owed {
            self.responses.send(Ok(response)).await.map_err(|_| ())?;
        }
        Ok(())
    }
}
