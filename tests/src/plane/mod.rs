//! A control plane for tests: an xDS server in both dialects, aggregated and one stream per type, whose resources a
//! test changes at will, and which can go away and come back.

mod build;
mod reach;
mod serve;
mod topic;

pub use build::{assignment, cluster, listener, route};
pub use reach::{aggregated, dynamic, reached_at};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use prost::Message;
use tokio::sync::watch;
use weir_proto::envoy::config::core::v3::Node;
use weir_proto::google::protobuf::Any;
use weir_xds::ResourceType;

use crate::grpc::{Listening, Server};
use serve::Services;

/// A resource and its version.
pub type Held = (String, Any);

/// What the server has, and what clients have told it.
#[derive(Default)]
struct World {
    resources: BTreeMap<&'static str, BTreeMap<String, Held>>,
    /// Types that are held back.
    silent: BTreeSet<&'static str>,
    /// A subscription to everything is answered even when there is nothing.
    empty: bool,
    version: u64,
    told: Told,
}

/// What clients have told, and what they were sent.
#[derive(Default, Clone, Debug)]
pub struct Told {
    /// Streams opened.
    pub streams: usize,
    /// Texts of NACKs by type.
    pub nacks: Vec<(String, String)>,
    /// Positive answers by type.
    pub acks: BTreeMap<String, usize>,
    /// Resources sent.
    pub sent: usize,
    /// Responses sent.
    pub responses: usize,
    /// Responses that were answered.
    pub answers: usize,
    /// The version of everything that the last stream has been sent.
    pub served: u64,
    /// Breaches of the protocol.
    pub breaches: Vec<String>,
    /// Names that clients ask for, by type.
    pub names: BTreeMap<String, BTreeSet<String>>,
    /// The last stream's node.
    pub node: Node,
}

/// What the streams share.
struct Shared {
    world: Mutex<World>,
    changes: watch::Sender<u64>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server on a port of its own; it ends with this.
pub struct Plane {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its socket in the file system, in the port's place.
    pub path: Option<PathBuf>,
    shared: Arc<Shared>,
    running: Option<Server>,
}

impl Plane {
    /// A control plane that is not there yet.
    pub fn absent() -> anyhow::Result<Self> {
        let shared = Shared { world: Mutex::default(), changes: watch::Sender::new(0) };
        Ok(Self { port: crate::ports::free()?, path: None, shared: Arc::new(shared), running: None })
    }

    /// One that is not there yet, and will be on a Unix socket.
    pub fn absent_at(path: PathBuf) -> anyhow::Result<Self> {
        Ok(Self { path: Some(path), ..Self::absent()? })
    }

    /// One that runs, on a Unix socket.
    pub fn start_at(path: PathBuf) -> anyhow::Result<Self> {
        let mut plane = Self::absent_at(path)?;
        plane.up()?;
        Ok(plane)
    }

    /// One that runs.
    pub fn start() -> anyhow::Result<Self> {
        let mut plane = Self::absent()?;
        plane.up()?;
        Ok(plane)
    }

    /// It comes, or comes back, with what it has.
    pub fn up(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.running.is_none(), "it runs already");
        let listening = match &self.path {
            Some(path) => Listening::at(path)?,
            None => Listening::on_port(self.port)?,
        };
        self.running = Some(Server::start(listening, Services(self.shared.clone()))?);
        Ok(())
    }

    /// It goes away: every stream breaks.
    pub fn down(&mut self) {
        self.running = None;
    }

    /// Changes several things at once: clients are told when it is done.
    pub fn change(&self, change: impl FnOnce(&mut Batch<'_>)) {
        {
            let mut world = self.shared.world();
            world.version += 1;
            change(&mut Batch(&mut world));
        }
        self.shared.changes.send_modify(|n| *n += 1);
    }

    /// Adds or replaces resources.
    pub fn put(&self, kind: &'static ResourceType, resources: Vec<(String, Any)>) {
        self.change(|batch| batch.put(kind, resources));
    }

    /// Removes resources.
    pub fn remove(&self, kind: &'static ResourceType, names: &[&str]) {
        self.change(|batch| names.iter().for_each(|name| batch.remove(kind, name)));
    }

    /// Holds a type back: nothing of it is sent.
    pub fn hold(&self, kind: &'static ResourceType, silent: bool) {
        self.change(|batch| {
            if silent {
                batch.0.silent.insert(kind.name);
            } else {
                batch.0.silent.remove(kind.name);
            }
        });
    }

    /// Answers a subscription to everything even when there is nothing, as istiod does.
    pub fn tell_empty(&self) {
        self.shared.world().empty = true;
    }

    /// Has its one client been sent everything, and answered it?
    pub fn settled(&self) -> bool {
        let world = self.shared.world();
        world.told.streams > 0
            && world.told.served == world.version
            && world.told.responses == world.told.answers
    }

    /// What clients have told so far.
    pub fn told(&self) -> Told {
        self.shared.world().told.clone()
    }

    /// Waits until what clients have told satisfies `enough`.
    pub fn wait(&self, what: &str, enough: impl Fn(&Told) -> bool) -> anyhow::Result<Told> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let told = self.told();
            if enough(&told) {
                return Ok(told);
            }
            if Instant::now() > end {
                let nacks = &told.nacks;
                anyhow::bail!("waited 20 s for: {what}; acks {:?}, nacks {nacks:?}", told.acks);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Breaches of the protocol, if any.
    pub fn honoured(&self) -> anyhow::Result<()> {
        let breaches = self.told().breaches;
        anyhow::ensure!(breaches.is_empty(), "the protocol: {}", breaches.join("; "));
        Ok(())
    }
}

/// Changes under way.
pub struct Batch<'a>(&'a mut World);

impl Batch<'_> {
    /// Adds or replaces resources.
    pub fn put(&mut self, kind: &'static ResourceType, resources: Vec<(String, Any)>) {
        let version = self.0.version.to_string();
        let all = self.0.resources.entry(kind.name).or_default();
        all.extend(resources.into_iter().map(|(name, any)| (name, (version.clone(), any))));
    }

    /// Removes a resource.
    pub fn remove(&mut self, kind: &'static ResourceType, name: &str) {
        self.0.resources.entry(kind.name).or_default().remove(name);
    }
}

/// A message as a resource.
pub fn any<M: Message + prost::Name>(message: &M) -> Any {
    weir_proto::any::pack(message)
}

/// A resource as a message.
pub fn unpacked<M: Message + Default>(resource: &Any) -> anyhow::Result<M> {
    Ok(M::decode(&*resource.value)?)
}

/// Parses what Envoy's JSON says into a message.
pub fn parsed<M: Message + Default + prost::Name>(json: &serde_json::Value) -> anyhow::Result<M> {
    let options = weir_proto::ParseOptions::for_file("resource.json");
    let parsed = weir_proto::parse::<M>(&json.to_string(), &options).map_err(|e| anyhow::anyhow!("{e}"));
    parsed.map(|parsed| parsed.message).context("a resource of the test")
}
