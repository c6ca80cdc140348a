//! Files as sources (`path_config_source`): a file is a server that speaks state of the world, and says something when
//! it is replaced.

use super::super::compile::source::{Dynamic, Fed};
use super::super::interest::Interest;
use super::super::thread::Inlet;
use super::super::update::Kind;
use super::{NAMED, feed};
use crate::base::Name;
use crate::model::pushed::{File, Source};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use weir_proto::envoy::config::core::v3::Node;
use weir_proto::envoy::service::discovery::v3::DiscoveryResponse;
use weir_proto::{ParseError, ParseOptions};
use weir_xds::{Dialect, Incoming, Refusal, ResourceType, Response, SECRET, Session};

/// Largest file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Changes that come together are read together.
const SETTLE: Duration = Duration::from_millis(100);

/// Files are looked at after this time even when no event came (network file systems send none).
const RECHECK: Duration = Duration::from_secs(5);

/// Which file it was that was read: device, inode, length, time of its last change.
type Seen = (u64, u64, u64, i64, i64);

/// One type of one file.
struct Held {
    session: Session,
    of: &'static ResourceType,
    /// Wanted of it; of a type as a whole none.
    names: BTreeSet<Name>,
    seen: Option<Seen>,
}

/// All files.
pub(super) struct Files {
    inlet: Inlet,
    interest: watch::Receiver<Arc<Interest>>,
    /// Files that hold all there is of a type.
    whole: Vec<(Arc<File>, Kind)>,
    /// What was restored from disk, by type.
    restored: Vec<(Kind, Vec<Name>)>,
    held: BTreeMap<(Arc<File>, Kind), Held>,
    changed: Arc<Notify>,
    /// None until there is a file, or when the system cannot watch.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Files {
    pub(super) fn new(
        dynamic: &Dynamic,
        inlet: Inlet,
        interest: watch::Receiver<Arc<Interest>>,
        restored: Vec<(Kind, Vec<Name>)>,
    ) -> Files {
        let file = |fed: &Option<Fed>| match fed {
            Some(Fed { from: Source::File(file), .. }) => Some(file.clone()),
            _ => None,
        };
        let whole = [(Kind::Cluster, &dynamic.clusters), (Kind::Listener, &dynamic.listeners)];
        let whole = whole.into_iter().filter_map(|(kind, fed)| Some((file(fed)?, kind))).collect();
        Files {
            inlet,
            interest,
            whole,
            restored,
            held: BTreeMap::new(),
            changed: Arc::default(),
            watcher: None,
            folders: BTreeSet::new(),
        }
    }

    /// Follows the files until the control thread ends.
    pub(super) async fn run(mut self) {
        loop {
            self.look().await;
            tokio::select! {
                changed = self.interest.changed() => if changed.is_err() { return },
                () = self.changed.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(RECHECK), if !self.held.is_empty() => {}
            }
        }
    }

    /// Looks at every file that is named now.
    async fn look(&mut self) {
        let interest = self.interest.borrow_and_update().clone();
        let mut named: BTreeMap<(Arc<File>, Kind), BTreeSet<Name>> = BTreeMap::new();
        named.extend(self.whole.iter().map(|key| (key.clone(), BTreeSet::new())));
        for (source, wanted) in &interest.sources {
            let Source::File(file) = source else { continue };
            for (kind, _) in NAMED.into_iter().filter(|(kind, _)| wanted.any(*kind)) {
                named.insert((file.clone(), kind), wanted.names(kind).keys().cloned().collect());
            }
        }
        let over: Vec<_> = self.held.keys().filter(|key| !named.contains_key(*key)).cloned().collect();
        for key in over {
            if let Some(mut held) = self.held.remove(&key) {
                self.want(&mut held, BTreeSet::new()).await;
            }
        }
        for (key, names) in named {
            let Some(mut held) = self.held.remove(&key).or_else(|| self.open(&key)) else { continue };
            self.want(&mut held, names).await;
            self.read(&key.0, &mut held).await;
            self.held.insert(key, held);
        }
        self.follow();
    }

    fn open(&self, (file, kind): &(Arc<File>, Kind)) -> Option<Held> {
        let whole = self.whole.iter().any(|(own, of)| own == file && of == kind);
        let of = ResourceType::of(kind.type_name())?;
        let mut session = Session::new(Dialect::World, Node::default(), true, &[(of, whole)]);
        for (kind, names) in &self.restored {
            session.restore(kind.type_name(), names);
        }
        session.connect();
        Some(Held { session, of, names: BTreeSet::new(), seen: None })
    }

    /// These names are wanted of a file now; for more than before it is read again.
    async fn want(&self, held: &mut Held, names: BTreeSet<Name>) {
        let more = names.difference(&held.names).cloned().collect();
        let less = held.names.difference(&names).cloned().collect();
        held.names = names;
        let unwanted = held.session.want(held.of, more, less);
        // The question that a server would get.
        while held.session.next_request().is_some() {
            held.seen = None;
        }
        if !unwanted.is_empty() {
            feed::apply(&self.inlet, Incoming::unwanted(held.of, unwanted)).await;
        }
    }

    async fn read(&self, file: &File, held: &mut Held) {
        let path = &*file.path;
        let seen = match std::fs::metadata(path) {
            Ok(found) => (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()),
            // It comes back, or not: what it brought stays in force.
            Err(error) => return tracing::debug!(path, %error, "a file of resources is not there"),
        };
        if held.seen == Some(seen) {
            return;
        }
        held.seen = Some(seen);
        let (owned, secret) = (path.to_owned(), *held.of == SECRET);
        // Reading a large text takes time that the control thread does not have.
        let read = tokio::task::spawn_blocking(move || response(&owned, secret)).await;
        let incoming = match read.unwrap_or_else(|error| Err(format!("{path} cannot be read: {error}"))) {
            Ok(mut message) => {
                // The type may be left out, as each resource has its own.
                message.type_url = held.of.url();
                held.session.receive(&message, Instant::now())
            }
            Err(why) => return feed::unread(&self.inlet, unread(held.of, &held.names, &why)).await,
        };
        if let Some(incoming) = incoming {
            tracing::debug!(path, version = incoming.version, "read");
            let refused = feed::apply(&self.inlet, incoming).await;
            held.session.settle(refused);
            while held.session.next_request().is_some() {}
        }
    }

    /// Watches the folders of the files: those that they are in, or those that are swapped.
    fn follow(&mut self) {
        let of = |file: &File| match &file.watched {
            Some(folder) => PathBuf::from(&**folder),
            None => match Path::new(&*file.path).parent() {
                Some(folder) if folder != Path::new("") => folder.to_owned(),
                _ => PathBuf::from("."),
            },
        };
        let wanted: BTreeSet<PathBuf> = self.held.keys().map(|(file, _)| of(file)).collect();
        if wanted == self.folders {
            return;
        }
        if self.watcher.is_none() {
            self.watcher = watcher(self.changed.clone());
        }
        if let Some(watcher) = &mut self.watcher {
            for folder in self.folders.difference(&wanted) {
                // It may be gone, and its watch with it.
                let _ = watcher.unwatch(folder);
            }
            for folder in wanted.difference(&self.folders) {
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    let (folder, every) = (folder.display(), RECHECK.as_secs());
                    tracing::warn!(
                        "{folder} cannot be watched: {error}; its files are looked at every {every} s"
                    );
                }
            }
        }
        self.folders = wanted;
    }
}

fn watcher(changed: Arc<Notify>) -> Option<RecommendedWatcher> {
    let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    });
    made.inspect_err(|error| {
        let every = RECHECK.as_secs();
        tracing::warn!("files cannot be watched: {error}; they are looked at every {every} s");
    })
    .ok()
}

/// A file that cannot be read: every resource that is wanted of it is refused, or the type as a whole.
fn unread(of: &'static ResourceType, names: &BTreeSet<Name>, why: &str) -> Incoming {
    let refusal = |name: Name| Refusal { name, why: why.to_owned() };
    let refused = match of.whole {
        true => vec![refusal("".into())],
        false => names.iter().cloned().map(refusal).collect(),
    };
    Incoming { refused, ..Incoming::removal(of, Vec::new()) }
}

/// What the file says: protobuf's binary form when its name ends in `.pb`, else JSON or YAML. `secret`: what is told of
/// a mistake in it says where it is, and repeats nothing of it.
fn response(path: &str, secret: bool) -> Result<Response, String> {
    let told = |error: io::Error| format!("{path} cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(told)?;
    file.take(MAX_FILE.saturating_add(1)).read_to_end(&mut bytes).map_err(told)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(format!("{path} is longer than {MAX_FILE} bytes (MAX_FILE)"));
    }
    if !path.ends_with(".pb") {
        let text = String::from_utf8(bytes).map_err(|_| format!("{path} is no text in UTF-8"))?;
        // Each resource is judged alone, when it is compiled.
        let options = ParseOptions { skip_rules: true, ..ParseOptions::for_file(path) };
        let parsed = weir_proto::parse::<DiscoveryResponse>(&text, &options);
        let told = |error: ParseError| match (secret, error.problems.first()) {
            (true, Some(first)) => {
                format!("{path}:{}:{}: {}: cannot be read", first.line, first.column, first.path)
            }
            _ => error.to_string(),
        };
        bytes = parsed.map_err(told)?.message.encode_to_vec();
    }
    let read = Response::read(Dialect::World, &bytes.into());
    read.map_err(|error| format!("{path} is no DiscoveryResponse: {error}"))
}
