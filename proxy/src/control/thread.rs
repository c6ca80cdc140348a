//! The control thread, and the handle that others hold.

use super::compile::bootstrap::{self, Settings};
use super::compile::endpoints;
use super::dump;
use super::last_good::{LastGood, Shown, StateDir};
use super::sockets::Bound;
use super::state::State;
use super::update::{Change, Resource, StartError, Update, Verdict};
use super::workers::Workers;
use super::xds::Streams;
use crate::base::Name;
use crate::base::ledger::{CompileError, Sink};
use crate::live::registry;
use crate::model::cluster::Assignment;
use crate::model::snapshot::Published;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};
use weir_proto::envoy::config::bootstrap::v3::Bootstrap;

/// Most commands that wait for the control thread; further senders wait.
const MAX_COMMANDS: usize = 64;

/// After so long without work the memory that it took is given back, and the code that did it.
const QUIET: Duration = Duration::from_secs(1);

/// Bytes of resources whose compilation is worth it.
const MUCH: usize = 256 * 1024;

/// What others ask of the control thread.
enum Command {
    Apply(Box<Update>, oneshot::Sender<Vec<Verdict>>),
    Dump(dump::Options, oneshot::Sender<serde_json::Value>),
    Endpoints(Vec<Name>, oneshot::Sender<Vec<Box<[u8]>>>),
    Bound(oneshot::Sender<Vec<Bound>>),
    StopListening(bool, oneshot::Sender<()>),
    SaveLast(oneshot::Sender<()>),
}

impl Command {
    /// Bytes that it brings or sets free; a dump makes about as much as [`MUCH`].
    fn size(&self) -> usize {
        match self {
            Command::Apply(update, _) => update.size(),
            Command::Dump(..) => MUCH,
            Command::Endpoints(..)
            | Command::Bound(_)
            | Command::StopListening(..)
            | Command::SaveLast(_) => 0,
        }
    }
}

/// What `control` starts from.
pub struct Start {
    /// The bootstrap.
    pub bootstrap: Bootstrap,
    /// `--service-node`; replaces the bootstrap's.
    pub service_node: Option<Box<str>>,
    /// `--service-cluster`; replaces the bootstrap's.
    pub service_cluster: Option<Box<str>>,
    /// Where snapshots are published.
    pub published: Arc<Published>,
    /// The workers.
    pub workers: Arc<dyn Workers>,
    /// Where the last good state is kept, if it is.
    pub state_dir: Option<StateDir>,
}

/// The control thread's handle. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    settings: Arc<Settings>,
    initialised: Arc<AtomicBool>,
    last_good: Option<Shown>,
}

fn no_thread(error: std::io::Error) -> StartError {
    let message = format!("a thread cannot be started: {error}");
    StartError { errors: vec![CompileError { path: String::new(), message, remedy: None, lacking: false }] }
}

/// A way in that does not keep the control thread alive.
#[derive(Clone)]
pub(super) struct Inlet(mpsc::WeakSender<Command>);

impl Inlet {
    /// Applies an update and gives a verdict on every resource; none when the control thread has ended.
    pub(super) async fn apply(&self, update: Update) -> Vec<Verdict> {
        let (reply, answer) = oneshot::channel();
        let Some(commands) = self.0.upgrade() else { return Vec::new() };
        if commands.send(Command::Apply(Box::new(update), reply)).await.is_err() {
            return Vec::new();
        }
        drop(commands);
        answer.await.unwrap_or_default()
    }
}

/// Settings of a bootstrap with the flags' node.
fn settings(start: &Start) -> (Settings, Vec<CompileError>) {
    let sink = Sink::new();
    let mut settings = bootstrap::settings(&sink.root(""), &start.bootstrap);
    if let Some(id) = &start.service_node {
        settings.node.id = id.clone();
    }
    if let Some(cluster) = &start.service_cluster {
        settings.node.cluster = cluster.clone();
    }
    settings.identity.id = settings.node.id.to_string();
    settings.identity.cluster = settings.node.cluster.to_string();
    (settings, sink.into_errors())
}

/// The bootstrap's resources.
fn static_update(bootstrap: &Bootstrap) -> Update {
    let Some(resources) = &bootstrap.static_resources else { return Update::default() };
    let place = |kind: &str, i: usize| format!("static_resources.{kind}[{i}]").into_boxed_str();
    let clusters = resources.clusters.iter().enumerate().map(|(i, message)| Resource {
        place: place("clusters", i),
        ..Resource::new(message.name.as_str(), message.encode_to_vec())
    });
    let listeners = resources.listeners.iter().enumerate().map(|(i, message)| {
        let unnamed = format!("listener_{i}");
        let name: Name =
            if message.name.is_empty() { unnamed.as_str() } else { message.name.as_str() }.into();
        Resource { place: place("listeners", i), ..Resource::new(name, message.encode_to_vec()) }
    });
    let secrets = resources.secrets.iter().enumerate().map(|(i, message)| Resource {
        place: place("secrets", i),
        ..Resource::new(message.name.as_str(), message.encode_to_vec())
    });
    Update {
        secrets: Change { added: secrets.collect(), ..Change::default() },
        clusters: Change { added: clusters.collect(), ..Change::default() },
        listeners: Change { added: listeners.collect(), ..Change::default() },
        ..Update::default()
    }
}

impl Control {
    /// Compiles the bootstrap, opens its sockets, publishes the first snapshot, and starts the thread.
    ///
    /// # Errors
    /// Every mistake of the bootstrap; nothing has been started then.
    pub fn start(start: Start) -> Result<(Control, JoinHandle<()>), StartError> {
        let (settings, mut errors) = settings(&start);
        let update = static_update(&start.bootstrap);
        let mut state = State::new(settings.clone(), start.published.clone(), start.workers);
        errors.extend(state.begin(update));
        if !errors.is_empty() {
            return Err(StartError { errors });
        }
        if let Some(at) = start.state_dir {
            state.keep_in(at);
        }
        let last_good = state.last_good.as_ref().map(LastGood::shown);
        let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
        let since = SystemTime::now();
        let bytes = start.bootstrap.encode_to_vec();
        let initialised = state.initialised.clone();
        let streams = Streams::of(&state);
        let inlet = Inlet(commands.downgrade());
        let (tell, told) = std::sync::mpsc::channel();
        let life = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            let (made, runtime) = match runtime {
                Ok(runtime) => (Ok(()), Some(runtime)),
                Err(error) => (Err(error), None),
            };
            // `start` waits for it.
            let _ = tell.send(made);
            if let Some(runtime) = runtime {
                runtime.block_on(async {
                    streams.start(&inlet);
                    serve(state, inbox, &bytes, since).await;
                });
            }
        };
        let thread = std::thread::Builder::new().name("control".into()).spawn(life).map_err(no_thread)?;
        told.recv().map_err(std::io::Error::other).and_then(|made| made).map_err(no_thread)?;
        let control = Control { commands, settings: Arc::new(settings), initialised, last_good };
        Ok((control, thread))
    }

    /// Has everything come, or been given up, that the process starts with?
    pub fn is_initialised(&self) -> bool {
        self.initialised.load(Ordering::Acquire)
    }

    /// The state that is kept on disk; null: none is.
    pub fn last_good(&self) -> serde_json::Value {
        self.last_good.as_ref().map(Shown::json).unwrap_or_default()
    }

    /// What the bootstrap says of the process.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Applies an update and gives a verdict on every resource; none when the control thread has ended. Blocks: not
    /// for a thread that runs tasks.
    pub fn apply(&self, update: Update) -> Vec<Verdict> {
        self.ask(|reply| Command::Apply(Box::new(update), reply)).unwrap_or_default()
    }

    /// `/config_dump`; null when the control thread has ended.
    pub async fn dump(&self, options: dump::Options) -> serde_json::Value {
        self.ask_async(|reply| Command::Dump(options, reply)).await.unwrap_or_default()
    }

    /// [`Control::dump`] for a thread that may block.
    pub fn dump_blocking(&self, options: dump::Options) -> serde_json::Value {
        self.ask(|reply| Command::Dump(options, reply)).unwrap_or_default()
    }

    /// The endpoints that were pushed for these services; empty ones where there are none. The control thread is asked
    /// for their bytes only. For a thread that may block.
    pub fn assignments_blocking(&self, services: Vec<Name>) -> Vec<Assignment> {
        let bodies = self.ask(|reply| Command::Endpoints(services, reply)).unwrap_or_default();
        bodies.iter().map(|body| endpoints::judged(body)).collect()
    }

    /// Every bound address.
    pub async fn bound(&self) -> Vec<Bound> {
        self.ask_async(Command::Bound).await.unwrap_or_default()
    }

    /// [`Control::bound`] for a thread that may block.
    pub fn bound_blocking(&self) -> Vec<Bound> {
        self.ask(Command::Bound).unwrap_or_default()
    }

    /// Closes the listening sockets of all listeners, or of the inbound ones, for good; connections go on.
    pub async fn stop_listening(&self, inbound_only: bool) {
        self.ask_async(|done| Command::StopListening(inbound_only, done)).await;
    }

    /// [`Control::stop_listening`] for a thread that may block.
    pub fn stop_listening_blocking(&self, inbound_only: bool) {
        self.ask(|done| Command::StopListening(inbound_only, done));
    }

    /// The process ends: the last good state is written, if one is kept and has changed. Waits for it at most 5 s.
    pub fn save_last_blocking(&self) {
        self.ask(Command::SaveLast);
    }

    fn ask<R>(&self, command: impl FnOnce(oneshot::Sender<R>) -> Command) -> Option<R> {
        let (reply, answer) = oneshot::channel();
        self.commands.blocking_send(command(reply)).ok()?;
        answer.blocking_recv().ok()
    }

    async fn ask_async<R>(&self, command: impl FnOnce(oneshot::Sender<R>) -> Command) -> Option<R> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Judges without opening sockets (`--mode validate`).
pub struct Judge(State);

impl Judge {
    /// What would become of an update of the configuration.
    pub fn apply(&mut self, update: Update) -> Vec<Verdict> {
        self.0.apply(update)
    }
}

/// Judges a bootstrap; gives what judges updates of it.
///
/// # Errors
/// Every mistake.
pub fn validate(bootstrap: &Bootstrap) -> Result<Judge, StartError> {
    struct Nobody;
    impl Workers for Nobody {
        fn count(&self) -> usize {
            0
        }
        fn publish(&self, _: Arc<crate::model::snapshot::Snapshot>) {}
        fn open(&self, _: usize, _: super::sockets::Opened) {}
        fn close(&self, _: &Name, _: &crate::base::addr::Address) {}
    }
    let start = Start {
        bootstrap: bootstrap.clone(),
        service_node: None,
        service_cluster: None,
        published: Arc::default(),
        workers: Arc::new(Nobody),
        state_dir: None,
    };
    let (settings, mut errors) = settings(&start);
    let mut state = State::new(settings, start.published, start.workers).without_sockets();
    errors.extend(state.begin(static_update(&start.bootstrap)));
    if errors.is_empty() { Ok(Judge(state)) } else { Err(StartError { errors }) }
}

async fn serve(mut state: State, mut inbox: mpsc::Receiver<Command>, bootstrap: &[u8], since: SystemTime) {
    // Bytes that were applied since memory was given back; the start was much.
    let mut worked = MUCH;
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                None => return,
                Some(command) => {
                    worked = worked.saturating_add(command.size());
                    obey(&mut state, command, bootstrap, since);
                }
            },
            asked = registry::asked() => {
                worked = MUCH;
                state.materialise(&asked);
            }
            unused = registry::unused() => state.cool(&unused),
            () = until(state.deadline()) => state.tick(Instant::now()),
            () = tokio::time::sleep(QUIET), if worked >= MUCH => {
                weir_sys::give_back_memory();
                weir_sys::give_back_code();
                worked = 0;
            }
        }
    }
}

/// Never ready without a time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// A reply that nobody waits for any more is dropped.
fn obey(state: &mut State, command: Command, bootstrap: &[u8], since: SystemTime) {
    match command {
        Command::Apply(update, reply) => {
            let verdicts = state.apply(*update);
            for verdict in &verdicts {
                if let Err(errors) = &verdict.result {
                    for error in errors {
                        tracing::debug!(kind = %verdict.kind, name = %verdict.name, "refused: {error}");
                    }
                }
            }
            drop(reply.send(verdicts));
        }
        Command::Dump(options, reply) => drop(reply.send(dump::dump(state, bootstrap, since, &options))),
        Command::Endpoints(services, reply) => {
            let body = |service: Name| Box::<[u8]>::from(state.endpoints.body(&service).unwrap_or_default());
            drop(reply.send(services.into_iter().map(body).collect()));
        }
        Command::Bound(reply) => drop(reply.send(state.bound())),
        Command::StopListening(inbound_only, reply) => {
            state.stop_listening(inbound_only);
            // Nobody may be waiting for it.
            let _ = reply.send(());
        }
        Command::SaveLast(reply) => {
            state.save_last();
            // As above.
            let _ = reply.send(());
        }
    }
}
