//! What a compiled resource says of another one that a source brings apart.

use crate::base::Name;
use std::sync::Arc;
use std::time::Duration;

/// Where resources come from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Source {
    /// The aggregated stream.
    #[default]
    Aggregated,
    /// A stream of their own: its encoded settings, which `control` reads. Equal ones share the stream.
    Stream(Arc<[u8]>),
    /// A file.
    File(Arc<File>),
    /// The bootstrap itself.
    Bootstrap,
}

/// A file that holds resources.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct File {
    /// Its path.
    pub path: Box<str>,
    /// The folder whose swaps replace it; none: the one it is in.
    pub watched: Option<Box<str>>,
}

/// A resource of another type, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pushed {
    /// Its name.
    pub name: Name,
    /// Where it comes from.
    pub source: Source,
    /// How long it is waited for (`initial_fetch_timeout`, 15 s); none: for ever.
    pub fetch: Option<Duration>,
}

/// What kind of filter takes its configuration from a source (ECDS).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A filter of a connection manager.
    Http,
    /// A network filter.
    Network,
    /// A listener filter.
    Listener,
}

/// A filter whose configuration a source brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discovered {
    /// What it is.
    pub place: Place,
    /// Its configuration.
    pub pushed: Pushed,
    /// False: its default configuration serves until another one comes.
    pub awaited: bool,
}
