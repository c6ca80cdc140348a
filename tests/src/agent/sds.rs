//! The agent's SDS server: state of the world alone, every stream for itself. A response has what is new on its stream,
//! not all that the stream has asked for; one that cannot be made ends the stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tonic::body::Body;
use tonic::{Status, Streaming};
use weir_proto::any;
use weir_proto::envoy::extensions::transport_sockets::tls::v3::Secret;
use weir_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use weir_xds::SECRET;

use crate::grpc::{Answers, Listening, Responses, Server, streaming};

/// What one stream has told.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Id of its node.
    pub node: String,
    /// Names that it asks for.
    pub names: BTreeSet<String>,
    /// Versions that were accepted.
    pub acks: Vec<String>,
    /// Texts of refusals.
    pub nacks: Vec<String>,
}

/// What was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// By every stream, also those that have ended.
    pub streams: Vec<Heard>,
    /// Calls that the agent does not serve.
    pub unimplemented: usize,
    /// Breaches of the protocol.
    pub breaches: Vec<String>,
}

impl Told {
    /// The last stream that asks for a name.
    pub fn of(&self, name: &str) -> Option<&Heard> {
        self.streams.iter().rev().find(|heard| heard.names.contains(name))
    }
}

#[derive(Default)]
struct World {
    /// Secrets, each with the number of the change that it came with.
    secrets: BTreeMap<String, (u64, Secret)>,
    change: u64,
    /// Responses so far.
    responses: u64,
    told: Told,
}

struct Shared {
    world: Mutex<World>,
    changes: watch::Sender<u64>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server; it ends with this.
pub struct Sds {
    shared: Arc<Shared>,
    _server: Server,
}

impl Sds {
    /// Starts it on a socket.
    pub fn start(path: &Path) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared { world: Mutex::default(), changes: watch::Sender::new(0) });
        let server = Server::start(Listening::at(path)?, Services(shared.clone()))?;
        Ok(Self { shared, _server: server })
    }

    /// Adds or rotates a secret: those who have asked for it are sent it.
    pub fn put(&self, secret: Secret) {
        {
            let mut world = self.shared.world();
            world.change += 1;
            let change = world.change;
            world.secrets.insert(secret.name.clone(), (change, secret));
        }
        self.shared.changes.send_modify(|n| *n += 1);
    }

    /// What was told so far.
    pub fn told(&self) -> Told {
        self.shared.world().told.clone()
    }
}

#[derive(Clone)]
struct Services(Arc<Shared>);

impl Answers for Services {
    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        if request.uri().path() == SECRET.path(false) {
            return streaming(request, |requests, send| talk(self.0, requests, send)).await;
        }
        self.0.world().told.unimplemented += 1;
        Status::unimplemented(request.uri().path().to_owned()).into_http()
    }
}

async fn talk(
    shared: Arc<Shared>,
    mut requests: Streaming<DiscoveryRequest>,
    send: Responses<DiscoveryResponse>,
) {
    let mut changes = shared.changes.subscribe();
    let mut stream = {
        let mut world = shared.world();
        world.told.streams.push(Heard::default());
        Stream { at: world.told.streams.len() - 1, ..Stream::default() }
    };
    loop {
        tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) => stream.take(request, &mut shared.world()),
                Ok(None) | Err(_) => return,
            },
            changed = changes.changed() => if changed.is_err() { return },
        }
        let owed = stream.owed(&mut shared.world());
        let response = match owed {
            Ok(None) => continue,
            Ok(Some(response)) => Ok(response),
            Err(status) => Err(status),
        };
        let ends = response.is_err();
        if send.send(response).await.is_err() || ends {
            return;
        }
    }
}

/// A stream, as its server sees it.
#[derive(Default)]
struct Stream {
    at: usize,
    begun: bool,
    /// Names that are asked for, with the change that was sent last.
    names: BTreeMap<String, u64>,
    /// Nonces and versions that were not answered yet.
    open: VecDeque<(String, String)>,
    /// The version that was accepted last.
    accepted: String,
}

impl Stream {
    fn take(&mut self, request: DiscoveryRequest, world: &mut World) {
        let told = &mut world.told;
        if !self.begun {
            match request.node {
                Some(node) if !node.id.is_empty() => {
                    if let Some(heard) = told.streams.get_mut(self.at) {
                        heard.node = node.id;
                    }
                }
                _ => told.breaches.push("the first message of a stream names no node".to_owned()),
            }
            if request.type_url != SECRET.url() || !request.response_nonce.is_empty() {
                let strange = (&request.type_url, &request.response_nonce);
                told.breaches.push(format!("a stream begins with type and nonce {strange:?}"));
            }
            self.begun = true;
        } else {
            let error = request.error_detail.map(|error| error.message);
            self.answered(&request.response_nonce, &request.version_info, error, told);
        }
        let names: BTreeSet<String> = request.resource_names.into_iter().collect();
        self.names.retain(|name, _| names.contains(name));
        for name in &names {
            self.names.entry(name.clone()).or_default();
        }
        if let Some(heard) = told.streams.get_mut(self.at) {
            heard.names = names;
        }
    }

    fn answered(&mut self, nonce: &str, version: &str, error: Option<String>, told: &mut Told) {
        let Some(at) = self.open.iter().position(|(sent, _)| sent == nonce) else {
            // A change of names bears the nonce that was answered already.
            if !self.open.is_empty() || version != self.accepted {
                told.breaches.push(format!("nonce '{nonce}' and version '{version}' were not sent"));
            }
            return;
        };
        let (_, sent) = self.open.drain(..=at).next_back().unwrap_or_default();
        if error.is_none() {
            self.accepted.clone_from(&sent);
        }
        if version != self.accepted {
            told.breaches
                .push(format!("version '{version}' with nonce '{nonce}', '{}' is due", self.accepted));
        }
        let Some(heard) = told.streams.get_mut(self.at) else { return };
        match error {
            Some(text) => heard.nacks.push(text),
            None => heard.acks.push(sent),
        }
    }

    /// What is new for the stream.
    fn owed(&mut self, world: &mut World) -> Result<Option<DiscoveryResponse>, Status> {
        let mut resources = Vec::new();
        for (name, sent) in &mut self.names {
            match world.secrets.get(name) {
                Some((change, secret)) if change > sent => {
                    *sent = *change;
                    resources.push(any::pack(secret));
                }
                Some(_) => {}
                None => return Err(Status::unavailable(format!("failed to generate {name}"))),
            }
        }
        if resources.is_empty() {
            return Ok(None);
        }
        world.responses += 1;
        let version = format!("2026-11-22T06:00:00Z/{}", world.responses);
        let nonce = format!("nonce-{}", world.responses);
        self.open.push_back((nonce.clone(), version.clone()));
        Ok(Some(DiscoveryResponse {
            version_info: version,
            resources,
            type_url: SECRET.url(),
            nonce,
            ..DiscoveryResponse::default()
        }))
    }
}
