//! A map by name whose versions share what did not change: a snapshot of many thousands is published for the price of
//! the few that are new.

use crate::base::Name;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};

/// Parts that versions share. A change copies one part: of 10,000 names about 40 pointers.
const PARTS: usize = 256;

type Part<V> = HashMap<Name, V, foldhash::fast::RandomState>;

/// Says which part a name is in: the same in all maps, so that two of them are compared part by part.
static PLACE: LazyLock<foldhash::fast::RandomState> = LazyLock::new(Default::default);

/// Map by name. A clone costs the same whatever its size.
pub struct Names<V> {
    parts: Box<[Arc<Part<V>>]>,
    len: usize,
}

/// Shared values by name.
pub type ByName<T> = Names<Arc<T>>;

impl<V> Default for Names<V> {
    fn default() -> Self {
        let empty = Arc::new(Part::default());
        Names { parts: (0..PARTS).map(|_| empty.clone()).collect(), len: 0 }
    }
}

impl<V> Clone for Names<V> {
    fn clone(&self) -> Self {
        Names { parts: self.parts.clone(), len: self.len }
    }
}

impl<V: fmt::Debug> fmt::Debug for Names<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn place(name: &str) -> usize {
    // The upper half: a part's own map goes by other bits.
    usize::try_from(PLACE.hash_one(name) >> 32).map_or(0, |hash| hash % PARTS)
}

impl<V> Names<V> {
    fn part(&self, name: &str) -> Option<&Part<V>> {
        self.parts.get(place(name)).map(Arc::as_ref)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.part(name)?.get(name)
    }

    /// Is the name there?
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &V)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// All names, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.iter().map(|(name, _)| name)
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Names of the parts that are not those of another version, on either side: whatever differs is among them.
    pub fn suspects<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Name> {
        let pairs = self.parts.iter().zip(&other.parts).filter(|(a, b)| !Arc::ptr_eq(a, b));
        pairs.flat_map(|(a, b)| a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))))
    }

    /// Names that another version lacks.
    pub fn beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Name> {
        let pairs = self.parts.iter().zip(&other.parts).filter(|(a, b)| !Arc::ptr_eq(a, b));
        pairs.flat_map(|(a, b)| a.keys().filter(|name| !b.contains_key(*name)))
    }
}

impl<V: Clone> Names<V> {
    fn part_mut(&mut self, name: &str) -> Option<&mut Part<V>> {
        self.parts.get_mut(place(name)).map(Arc::make_mut)
    }

    /// Puts a value under a name; gives the one before.
    pub fn insert(&mut self, name: Name, value: V) -> Option<V> {
        let before = self.part_mut(&name)?.insert(name, value);
        if before.is_none() {
            self.len = self.len.saturating_add(1);
        }
        before
    }

    /// Takes a name away; gives its value.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        // What is not there costs no copy.
        if !self.contains_key(name) {
            return None;
        }
        let before = self.part_mut(name)?.remove(name);
        if before.is_some() {
            self.len = self.len.saturating_sub(1);
        }
        before
    }

    /// The value of a name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        if !self.contains_key(name) {
            return None;
        }
        self.part_mut(name)?.get_mut(name)
    }
}

impl<V: Clone> FromIterator<(Name, V)> for Names<V> {
    fn from_iter<I: IntoIterator<Item = (Name, V)>>(all: I) -> Self {
        let mut names = Names::default();
        for (name, value) in all {
            names.insert(name, value);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn name(n: usize) -> Name {
        format!("name-{n}").into()
    }

    #[test]
    fn versions_are_apart_and_share_what_did_not_change() {
        let first: Names<usize> = (0..1000).map(|n| (name(n), n)).collect();
        let mut second = first.clone();
        assert_eq!(second.insert(name(7), 70), Some(7));
        assert_eq!(second.insert(name(1000), 1000), None);
        assert_eq!(second.remove("name-8"), Some(8));
        assert_eq!(second.remove("nobody"), None);
        *second.get_mut("name-9").unwrap() = 90;
        assert_eq!((first.len(), second.len()), (1000, 1000));
        assert_eq!((first.get("name-7"), second.get("name-7")), (Some(&7), Some(&70)));
        assert_eq!((first.get("name-9"), second.get("name-9")), (Some(&9), Some(&90)));
        assert!(first.contains_key("name-8") && !second.contains_key("name-8"));
        let sums = [&first, &second].map(|names| names.values().sum::<usize>());
        assert_eq!(sums, [499_500, 499_500 + 63 + 1000 - 8 + 81]);

        let suspects: BTreeSet<&str> = second.suspects(&first).map(|name| &**name).collect();
        for changed in ["name-7", "name-8", "name-9", "name-1000"] {
            assert!(suspects.contains(changed), "{changed}");
        }
        assert!(suspects.len() < 100, "four parts of 256: {}", suspects.len());
        assert_eq!(second.beyond(&first).collect::<Vec<_>>(), [&name(1000)]);
        assert_eq!(first.beyond(&second).collect::<Vec<_>>(), [&name(8)]);
        assert_eq!(first.suspects(&first.clone()).count(), 0);
    }

    #[test]
    fn an_empty_one_holds_nothing() {
        let empty = Names::<usize>::default();
        assert!(empty.is_empty() && empty.iter().next().is_none() && empty.get("").is_none());
    }
}
