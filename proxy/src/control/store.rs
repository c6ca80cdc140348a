//! What is kept of every resource: the bytes as received, what they compiled to, and what was refused since.

use super::compile::secret::Secret;
use super::state::{Origin, State};
use super::update::Resource;
use crate::base::Name;
use crate::base::ledger::CompileError;
use crate::model::cluster::Cluster;
use crate::model::listener::Listener;
use crate::model::route::RouteConfig;
use crate::model::runtime::Values;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;
use weir_proto::google::protobuf::Any;

/// A version that was refused.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) body: Box<[u8]>,
    pub(super) version: Name,
    pub(super) details: String,
    pub(super) since: SystemTime,
}

/// A version in force.
#[derive(Debug, Clone)]
pub(super) struct Kept<T> {
    pub(super) body: Box<[u8]>,
    pub(super) value: T,
    /// From the bootstrap: not to be changed by others.
    pub(super) fixed: bool,
    /// Shared by all resources of an update.
    pub(super) version: Name,
    pub(super) since: SystemTime,
    /// It goes by itself unless its source says it again.
    pub(super) ttl: bool,
}

/// What is kept of a resource that is compiled when it is needed: that it was judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged;

/// All resources of one type, by name.
#[derive(Debug)]
pub(super) struct Table<T> {
    pub(super) kept: HashMap<Name, Kept<T>, foldhash::fast::RandomState>,
    pub(super) refused: BTreeMap<Name, Refused>,
    /// Versions that serve on while those accepted since wait to come into force.
    serving: BTreeMap<Name, Kept<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { kept: HashMap::default(), refused: BTreeMap::new(), serving: BTreeMap::new() }
    }
}

/// Longest text of a refusal that is kept for the dump, in bytes.
const MAX_DETAILS: usize = 8 * 1024;

impl<T: Clone> Table<T> {
    /// Takes a version; gives the one before. `serves`: that one is in force until the new one has [`Table::settled`].
    pub(super) fn accept(
        &mut self,
        resource: Resource,
        value: T,
        origin: &Origin<'_>,
        serves: bool,
    ) -> Option<T> {
        self.refused.remove(&resource.name);
        // A copy of its own: a piece would keep the whole message that it came in.
        let body = resource.body[..].into();
        let version = resource.version.unwrap_or_else(|| origin.version.clone());
        let fixed = origin.fixed;
        let kept = Kept { body, value, fixed, version, since: SystemTime::now(), ttl: resource.ttl };
        let before = self.kept.insert(resource.name.clone(), kept)?;
        let value = before.value.clone();
        if serves {
            self.serving.entry(resource.name).or_insert(before);
        }
        Some(value)
    }
}

impl<T> Table<T> {
    /// The version in force.
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.kept.get(name).map(|kept| &kept.value)
    }

    /// Is it in force?
    pub(super) fn has(&self, name: &str) -> bool {
        self.kept.contains_key(name)
    }

    /// Are these the bytes in force? Then a refused version that came between is forgotten too.
    pub(super) fn unchanged(&mut self, resource: &Resource) -> bool {
        let same = self.kept.get(&resource.name).is_some_and(|kept| *kept.body == *resource.body);
        if same {
            self.refused.remove(&resource.name);
        }
        same
    }

    /// From the bootstrap?
    pub(super) fn fixed(&self, name: &str) -> bool {
        self.kept.get(name).is_some_and(|kept| kept.fixed)
    }

    /// The version that was accepted last is in force.
    pub(super) fn settled(&mut self, name: &str) {
        self.serving.remove(name);
    }

    /// The version that serves while the one that was accepted last waits.
    pub(super) fn serving(&self, name: &str) -> Option<&Kept<T>> {
        self.serving.get(name)
    }

    /// The same version, compiled to something else; gives what it was compiled to before.
    pub(super) fn replace(&mut self, name: &str, value: T) -> Option<T> {
        self.kept.get_mut(name).map(|kept| std::mem::replace(&mut kept.value, value))
    }

    /// Remembers a refused version; the one in force stays.
    pub(super) fn refuse(&mut self, resource: Resource, errors: &[CompileError], version: &Name) {
        let mut details = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        if details.len() > MAX_DETAILS {
            details = details.chars().take(MAX_DETAILS / 4).collect();
        }
        let body = resource.body[..].into();
        let version = resource.version.unwrap_or_else(|| version.clone());
        let refused = Refused { body, version, details, since: SystemTime::now() };
        self.refused.insert(resource.name, refused);
    }

    /// Forgets a name; gives what was in force.
    pub(super) fn remove(&mut self, name: &str) -> Option<T> {
        self.refused.remove(name);
        self.serving.remove(name);
        self.kept.remove(name).map(|kept| kept.value)
    }

    /// The bytes in force.
    pub(super) fn body(&self, name: &str) -> Option<&[u8]> {
        self.kept.get(name).map(|kept| &*kept.body)
    }

    /// All that are in force, in the order of their names.
    pub(super) fn sorted(&self) -> Vec<(&Name, &Kept<T>)> {
        let mut all: Vec<_> = self.kept.iter().collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    /// How many are in force.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Names and versions in force, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &T)> {
        self.kept.iter().map(|(name, kept)| (name, &kept.value))
    }
}

/// The table of a compiled type.
pub(super) trait HasTable<T> {
    fn table(&mut self) -> &mut Table<T>;
}

macro_rules! tables {
    ($($field:ident: $type:ty,)+) => {
        $(impl HasTable<$type> for State {
            fn table(&mut self) -> &mut Table<$type> {
                &mut self.$field
            }
        })+
    };
}

tables! {
    clusters: Arc<Cluster>,
    endpoints: Judged,
    listeners: Arc<Listener>,
    routes: Arc<RouteConfig>,
    secrets: Secret,
    extensions: Arc<Any>,
    runtimes: Values,
}
