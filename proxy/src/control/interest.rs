//! What the resources that were accepted want to have brought by name, and from where: counted as they come and go, so
//! that a change costs what it changes.

use super::state::State;
use super::subscriptions::{RTDS, ecds, rds, sds};
use super::update::Kind;
use crate::base::Name;
use crate::model::by_name::Names;
use crate::model::cluster::{Cluster, Discovery};
use crate::model::http::RouteSource;
use crate::model::listener::{Listener, Terminal};
use crate::model::pushed::{Place, Pushed, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One use of a resource: what it is to whoever names it.
#[derive(Debug, Clone, Copy)]
enum Use<'a> {
    /// Endpoints of a cluster.
    Endpoints,
    /// Routes of the connection manager with this prefix.
    Routes(&'a Name),
    /// A secret.
    Secret,
    /// The configuration of a filter.
    Filter(Place),
    /// A runtime layer.
    Runtime,
}

impl Use<'_> {
    fn kind(self) -> Kind {
        match self {
            Use::Endpoints => Kind::Endpoints,
            Use::Routes(_) => Kind::Route,
            Use::Secret => Kind::Secret,
            Use::Filter(_) => Kind::Extension,
            Use::Runtime => Kind::Runtime,
        }
    }

    /// Prefix of the statistics; endpoints have those of the clusters that they feed.
    fn prefix(self, name: &str) -> Option<Name> {
        let prefix = match self {
            Use::Endpoints => return None,
            Use::Routes(manager) => rds(manager, name),
            Use::Secret => sds(name),
            Use::Filter(place) => ecds(place, name),
            Use::Runtime => RTDS.to_owned(),
        };
        Some(prefix.into())
    }
}

/// How many resources want one, versions in force and those that wait; and the prefix of its statistics.
#[derive(Debug, Clone)]
pub(super) struct Count(u32, Option<Name>);

/// Names wanted of one source, by type.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted(BTreeMap<Kind, Names<Count>>);

impl Wanted {
    /// Names of a type.
    pub(super) fn names(&self, kind: Kind) -> Names<Count> {
        self.0.get(&kind).cloned().unwrap_or_default()
    }

    /// Is any of a type wanted?
    pub(super) fn any(&self, kind: Kind) -> bool {
        self.0.contains_key(&kind)
    }

    /// Prefixes of the statistics of those of a type that have one of their own.
    pub(super) fn prefixes(&self, kind: Kind) -> impl Iterator<Item = &Name> {
        self.0.get(&kind).into_iter().flat_map(Names::values).filter_map(|count| count.1.as_ref())
    }

    fn get(&self, kind: Kind, name: &str) -> Option<&Count> {
        self.0.get(&kind)?.get(name)
    }
}

/// Names wanted, by source.
#[derive(Debug, Clone, Default)]
pub(super) struct Interest {
    pub(super) sources: BTreeMap<Source, Wanted>,
}

impl Interest {
    /// What is wanted of a source.
    pub(super) fn of(&self, source: &Source) -> Wanted {
        self.sources.get(source).cloned().unwrap_or_default()
    }

    /// Prefixes of the statistics of a resource, in each source that it is wanted of.
    pub(super) fn prefixes(&self, kind: Kind, name: &str) -> impl Iterator<Item = &Name> {
        self.sources.values().filter_map(move |wanted| wanted.get(kind, name)?.1.as_ref())
    }

    /// Is it wanted of any source?
    pub(super) fn has(&self, kind: Kind, name: &str) -> bool {
        self.sources.values().any(|wanted| wanted.get(kind, name).is_some())
    }

    /// All names of a type that are wanted, each once, in order.
    pub(super) fn all(&self, kind: Kind) -> BTreeSet<Name> {
        let all = self.sources.values().filter_map(|wanted| wanted.0.get(&kind));
        all.flat_map(Names::keys).cloned().collect()
    }
}

/// What is wanted now, and what has changed since everybody was told.
#[derive(Debug, Default)]
pub(super) struct Wants {
    pub(super) now: Arc<Interest>,
    changed: bool,
    /// Wanted no more, unless wanted again meanwhile.
    dropped: Vec<(Kind, Name, Option<Name>)>,
}

/// What a cluster wants.
fn of_cluster(cluster: &Arc<Cluster>) -> impl Iterator<Item = (Use<'_>, &Pushed)> {
    let service = match &cluster.discovery {
        Discovery::Eds(pushed) => Some((Use::Endpoints, pushed)),
        _ => None,
    };
    service.into_iter().chain(cluster.sockets.secrets().map(|pushed| (Use::Secret, pushed)))
}

/// What a listener wants.
fn of_listener(listener: &Arc<Listener>) -> impl Iterator<Item = (Use<'_>, &Pushed)> {
    let chains = || listener.chains.iter().chain(&listener.default_chain);
    let routes = chains().filter_map(|chain| match &chain.terminal {
        Terminal::Http(manager) => match &manager.routes {
            RouteSource::Named(pushed) => Some((Use::Routes(&manager.stat_prefix), pushed)),
            RouteSource::Inline(_) => None,
        },
        Terminal::Tcp(_) => None,
    });
    let secrets = chains().filter_map(|chain| chain.tls.as_ref()).flat_map(|tls| tls.secrets());
    let filters = listener.discovered.iter().map(|filter| (Use::Filter(filter.place), &filter.pushed));
    routes.chain(secrets.map(|pushed| (Use::Secret, pushed))).chain(filters)
}

impl Wants {
    /// A cluster takes the place of another.
    pub(super) fn cluster(&mut self, old: Option<&Arc<Cluster>>, new: Option<&Arc<Cluster>>) {
        let of = |cluster| Option::into_iter(cluster).flat_map(of_cluster);
        let key =
            |(used, pushed): (Use<'_>, &Pushed)| (used.kind(), pushed.name.clone(), pushed.source.clone());
        if !of(old).map(key).eq(of(new).map(key)) {
            self.replace(of(old), of(new));
        }
    }

    /// A listener takes the place of another.
    pub(super) fn listener(&mut self, old: Option<&Arc<Listener>>, new: Option<&Arc<Listener>>) {
        let of = |listener| Option::into_iter(listener).flat_map(of_listener);
        self.replace(of(old), of(new));
    }

    /// The bootstrap has this runtime layer.
    pub(super) fn runtime(&mut self, pushed: &Pushed) {
        self.replace(std::iter::empty(), std::iter::once((Use::Runtime, pushed)));
    }

    /// First what is new: what stays is never lost in between. Nobody is asked for what the bootstrap has.
    fn replace<'a>(
        &mut self,
        old: impl Iterator<Item = (Use<'a>, &'a Pushed)>,
        new: impl Iterator<Item = (Use<'a>, &'a Pushed)>,
    ) {
        let pushed = |(_, pushed): &(Use<'a>, &Pushed)| pushed.source != Source::Bootstrap;
        for (used, Pushed { name, source, .. }) in new.filter(pushed) {
            let now = Arc::make_mut(&mut self.now);
            let names = now.sources.entry(source.clone()).or_default().0.entry(used.kind()).or_default();
            match names.get_mut(name) {
                Some(Count(count, prefix)) => {
                    *count = count.saturating_add(1);
                    *prefix = used.prefix(name);
                }
                None => {
                    names.insert(name.clone(), Count(1, used.prefix(name)));
                    self.changed = true;
                }
            }
        }
        for (used, Pushed { name, source, .. }) in old.filter(pushed) {
            self.lose(used.kind(), name, source);
        }
    }

    /// One resource less wants it.
    fn lose(&mut self, kind: Kind, name: &Name, source: &Source) {
        let now = Arc::make_mut(&mut self.now);
        let Some(wanted) = now.sources.get_mut(source) else { return };
        let Some(names) = wanted.0.get_mut(&kind) else { return };
        let Some(Count(count, prefix)) = names.get_mut(name) else { return };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        let prefix = prefix.take();
        names.remove(name);
        if names.is_empty() {
            wanted.0.remove(&kind);
        }
        if wanted.0.is_empty() {
            now.sources.remove(source);
        }
        self.changed = true;
        self.dropped.push((kind, name.clone(), prefix));
    }
}

impl State {
    /// Tells whoever asks for resources what is wanted now. Nobody waits any more for what nobody wants.
    pub(super) fn tell_interest(&mut self) {
        let wants = &mut self.wants;
        for (kind, name, prefix) in wants.dropped.drain(..) {
            if !wants.now.has(kind, &name) {
                self.force.gaps.close(kind, &name);
                prefix.into_iter().for_each(|prefix| self.stats.subscriptions.forget(&prefix));
            }
        }
        if self.force.waiting.is_empty() {
            self.force.gaps.forget(Kind::Cluster);
        }
        if std::mem::take(&mut wants.changed) {
            self.interest.send_replace(wants.now.clone());
        }
    }
}
