//! The port of load balancing policies, and what a pick knows.

use super::edf::Edf;
use super::host::Host;
use super::hostset::HostList;
use crate::base::rng::Rng;
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::sync::Arc;

/// A load balancing policy with its settings (`upstream::lb` has one file for each). Compared through
/// [`Policy::describe`].
pub trait Policy: Send + Sync + Debug {
    /// Makes the balancer of one list, on the control thread; big tables are built here.
    fn over(&self, list: &HostList) -> Box<dyn Balancer>;

    /// Does it go by the hash of the request? Then there is one list per priority, hash and shares decide.
    fn by_hash(&self) -> bool {
        false
    }

    /// Settings as text; equal text, equal behaviour.
    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Chooses from one list of hosts. Immutable: what changes with every pick is in the worker's [`Cursor`].
pub trait Balancer: Send + Sync + Debug {
    /// Index of the chosen host in the list. `hash` is the request's, or random; `attempt` counts the hosts that
    /// were refused for this pick.
    fn choose(&self, list: &HostList, ctx: &PickContext<'_>, hash: u64, attempt: u32) -> Option<usize>;

    /// Sizes of its table under their names in `cluster.<name>.`; none where there is no table.
    fn sizes(&self) -> &[(&'static str, u64)] {
        &[]
    }
}

/// What a pick knows of the request and its worker.
pub struct PickContext<'a> {
    /// Hash of the route's hash policy.
    pub hash: Option<u64>,
    /// The worker's random source.
    pub rng: &'a Rng,
    /// The worker's state for this cluster.
    pub cursor: &'a Cursor,
    /// Hosts not wanted (previous ones, canaries); another is tried, `avoid_attempts` times at most.
    pub avoid: Option<&'a dyn Fn(&Host) -> bool>,
    /// How often (Envoy's `host_selection_retry_max_attempts`).
    pub avoid_attempts: u32,
    /// Priorities not wanted (previous ones), as long as others have hosts to use.
    pub passed_over: &'a [u32],
    /// Set when a pick found its priority in panic (count it as `lb_healthy_panic`).
    pub panic: Cell<bool>,
}

impl<'a> PickContext<'a> {
    /// Without hash, all hosts wanted.
    pub fn new(rng: &'a Rng, cursor: &'a Cursor) -> Self {
        PickContext {
            hash: None,
            rng,
            cursor,
            avoid: None,
            avoid_attempts: 0,
            passed_over: &[],
            panic: Cell::new(false),
        }
    }
}

/// State of one list on one worker.
#[derive(Debug, Default)]
pub struct Place {
    /// Version of the host set that `edf` belongs to; 0 for none.
    pub version: u64,
    /// Position of the rotation; starts at random.
    pub next: Option<usize>,
    /// Weighted turns.
    pub edf: Edf,
}

/// A worker's state for one cluster: rotation of each list. It outlives host sets, so that a rotation goes on after
/// a change.
#[derive(Debug, Default)]
pub struct Cursor {
    places: RefCell<Vec<Place>>,
}

impl Cursor {
    /// New: every rotation will start at random.
    pub fn new() -> Self {
        Self::default()
    }

    /// Works on the place of a list. `work` must not come back here.
    pub fn at<R>(&self, slot: usize, work: impl FnOnce(&mut Place) -> R) -> Option<R> {
        let mut places = self.places.borrow_mut();
        if slot >= places.len() {
            places.resize_with(slot.saturating_add(1), Place::default);
        }
        places.get_mut(slot).map(work)
    }

    /// Works on the weighted turns of a list, made when the host set is new.
    pub fn turns<R>(
        &self,
        (slot, version): (usize, u64),
        make: impl FnOnce() -> Edf,
        work: impl FnOnce(&mut Edf) -> R,
    ) -> Option<R> {
        self.at(slot, |place| {
            if place.version != version {
                place.edf = make();
                place.version = version;
            }
            work(&mut place.edf)
        })
    }
}

/// A policy as configuration holds it.
pub type SharedPolicy = Arc<dyn Policy>;
