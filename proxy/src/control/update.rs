//! What goes in and what comes out: resources added and removed by type, and a verdict on each.

use crate::base::Name;
use crate::base::ledger::CompileError;
use bytes::Bytes;
use std::fmt;

/// What a removed resource is taken to have held, in bytes: most clusters with their endpoints hold about so much.
const REMOVED: usize = 4096;

/// Type of a resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoints,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    Route,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
    /// `envoy.config.core.v3.TypedExtensionConfig`
    Extension,
    /// `envoy.service.runtime.v3.Runtime`
    Runtime,
}

impl Kind {
    /// Every type, in the order in which updates are applied (make before break).
    pub const ALL: [Kind; 7] = [
        Kind::Runtime,
        Kind::Secret,
        Kind::Cluster,
        Kind::Endpoints,
        Kind::Route,
        Kind::Extension,
        Kind::Listener,
    ];

    /// Full name of the message.
    pub const fn type_name(self) -> &'static str {
        match self {
            Kind::Cluster => "envoy.config.cluster.v3.Cluster",
            Kind::Endpoints => "envoy.config.endpoint.v3.ClusterLoadAssignment",
            Kind::Listener => "envoy.config.listener.v3.Listener",
            Kind::Route => "envoy.config.route.v3.RouteConfiguration",
            Kind::Secret => "envoy.extensions.transport_sockets.tls.v3.Secret",
            Kind::Extension => "envoy.config.core.v3.TypedExtensionConfig",
            Kind::Runtime => "envoy.service.runtime.v3.Runtime",
        }
    }

    /// The type with this full name.
    pub fn of(type_name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.type_name() == type_name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Cluster => "cluster",
            Kind::Endpoints => "endpoints",
            Kind::Listener => "listener",
            Kind::Route => "route configuration",
            Kind::Secret => "secret",
            Kind::Extension => "filter configuration",
            Kind::Runtime => "runtime layer",
        })
    }
}

/// One resource as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: Name,
    /// The encoded message; may be a piece of a larger one.
    pub body: Bytes,
    /// What field paths in diagnostics begin with; empty for a resource of its own.
    pub place: Box<str>,
    /// Its version; none: the update's.
    pub version: Option<Name>,
    /// It goes by itself unless its source says it again.
    pub ttl: bool,
}

impl Resource {
    /// A resource of its own.
    pub fn new(name: impl Into<Name>, body: impl Into<Bytes>) -> Self {
        Resource { name: name.into(), body: body.into(), place: Box::default(), version: None, ttl: false }
    }
}

/// Resources of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// New or changed.
    pub added: Vec<Resource>,
    /// Gone.
    pub removed: Vec<Name>,
    /// Wanted no more of one source: gone unless somebody wants it of another.
    pub unwanted: Vec<Name>,
    /// Asked for, and the source says that there is none: nobody waits for it any longer.
    pub missing: Vec<Name>,
    /// What cannot be read at all, and why. Without a name: the source itself.
    pub refused: Vec<(Name, String)>,
}

/// Resources of all types that a source brings at once. What it does not mention stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The source's version, shown in `/config_dump`.
    pub version: Box<str>,
    /// The type that a control plane has sent.
    pub sent: Option<Kind>,
    /// The source itself could not be read: what is refused here was never seen.
    pub unread: bool,
    /// What it names and is not there comes later. False: the update is whole, and nothing is waited for.
    pub later: bool,
    /// Clusters.
    pub clusters: Change,
    /// Endpoints of EDS clusters, by service name.
    pub endpoints: Change,
    /// Listeners.
    pub listeners: Change,
    /// Named route configurations.
    pub routes: Change,
    /// Secrets.
    pub secrets: Change,
    /// Configurations of filters.
    pub extensions: Change,
    /// Runtime layers.
    pub runtimes: Change,
}

impl Update {
    /// Bytes that it brings or sets free.
    pub fn size(&self) -> usize {
        let all = Kind::ALL.map(|kind| self.of(kind));
        let bodies = all.into_iter().flat_map(|change| &change.added).map(|resource| resource.body.len());
        let removed = all.into_iter().map(|change| change.removed.len().saturating_mul(REMOVED));
        bodies.chain(removed).fold(0, usize::saturating_add)
    }

    /// What a control plane has sent of one type.
    pub fn sent(kind: Kind, version: &str, change: Change) -> Update {
        let mut update =
            Update { version: version.into(), sent: Some(kind), later: true, ..Update::default() };
        *update.of_mut(kind) = change;
        update
    }

    /// What it brings of a type.
    pub fn of(&self, kind: Kind) -> &Change {
        match kind {
            Kind::Cluster => &self.clusters,
            Kind::Endpoints => &self.endpoints,
            Kind::Listener => &self.listeners,
            Kind::Route => &self.routes,
            Kind::Secret => &self.secrets,
            Kind::Extension => &self.extensions,
            Kind::Runtime => &self.runtimes,
        }
    }

    /// What it brings of a type.
    pub fn of_mut(&mut self, kind: Kind) -> &mut Change {
        match kind {
            Kind::Cluster => &mut self.clusters,
            Kind::Endpoints => &mut self.endpoints,
            Kind::Listener => &mut self.listeners,
            Kind::Route => &mut self.routes,
            Kind::Secret => &mut self.secrets,
            Kind::Extension => &mut self.extensions,
            Kind::Runtime => &mut self.runtimes,
        }
    }
}

/// What became of a resource that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The same bytes as before: nothing was done.
    Unchanged,
    /// New.
    Added,
    /// In the place of another version.
    Changed,
    /// Removed, or was not there.
    Removed,
}

/// A resource, and whether it is in force now.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// In force, or why not (the previous version stays in force then).
    pub result: Result<Outcome, Vec<CompileError>>,
}

/// Why the process cannot start with its bootstrap.
#[derive(Debug)]
pub struct StartError {
    /// Every mistake.
    pub errors: Vec<CompileError>,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StartError {}
