//! Resources that are named and not there: waited for, or given up.

use super::update::Kind;
use crate::base::Name;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// State of one that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// Waited for until then; without a time, for ever.
    Open(Option<Instant>),
    /// Whoever names it goes on without it.
    GivenUp,
}

/// All gaps. Its bound is what the resources in force name.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    all: HashMap<Kind, HashMap<Name, Gap>>,
    /// How many are open: the usual answer is none.
    open: usize,
}

impl Gaps {
    /// Something names it and it is not there. A gap that is known stays as it is.
    pub(super) fn open(&mut self, kind: Kind, name: &Name, within: Option<Duration>, now: Instant) {
        self.all.entry(kind).or_default().entry(name.clone()).or_insert_with(|| {
            self.open = self.open.saturating_add(1);
            Gap::Open(within.and_then(|within| now.checked_add(within)))
        });
    }

    fn was(&mut self, before: Option<Gap>) {
        if matches!(before, Some(Gap::Open(_))) {
            self.open = self.open.saturating_sub(1);
        }
    }

    /// It has come, or nobody names it any more.
    pub(super) fn close(&mut self, kind: Kind, name: &Name) {
        let before = self.all.get_mut(&kind).and_then(|gaps| gaps.remove(name));
        self.was(before);
    }

    /// It will not come: nobody waits any longer.
    pub(super) fn give_up(&mut self, kind: Kind, name: &Name) {
        let before = self.all.entry(kind).or_default().insert(name.clone(), Gap::GivenUp);
        self.was(before);
    }

    /// Is it waited for?
    pub(super) fn waits(&self, kind: Kind, name: &Name) -> bool {
        let find = || self.all.get(&kind)?.get(name);
        self.open > 0 && matches!(find(), Some(Gap::Open(_)))
    }

    /// When the next one is given up.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.open == 0 {
            return None;
        }
        let times = self.all.values().flat_map(HashMap::values).filter_map(|gap| match gap {
            Gap::Open(until) => *until,
            Gap::GivenUp => None,
        });
        times.min()
    }

    /// Gives up those whose time has come.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(Kind, Name)> {
        let over = |gap: &Gap| matches!(gap, Gap::Open(Some(until)) if *until <= now);
        let of = |(kind, gaps): (&Kind, &HashMap<Name, Gap>)| {
            let ended = gaps.iter().filter(|(_, gap)| over(gap));
            ended.map(|(name, _)| (*kind, name.clone())).collect::<Vec<_>>()
        };
        let ended: Vec<_> = self.all.iter().flat_map(of).collect();
        for (kind, name) in &ended {
            self.give_up(*kind, name);
        }
        ended
    }

    /// Forgets all of a type.
    pub(super) fn forget(&mut self, kind: Kind) {
        for gap in self.all.remove(&kind).into_iter().flat_map(HashMap::into_values) {
            self.was(Some(gap));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_waited_for_until_its_time_and_no_second_time() {
        let (mut gaps, start) = (Gaps::default(), Instant::now());
        let name: Name = "a".into();
        assert_eq!(gaps.next(), None);
        gaps.open(Kind::Cluster, &name, Some(Duration::from_secs(2)), start);
        gaps.open(Kind::Route, &name, None, start);
        assert!(gaps.waits(Kind::Cluster, &name) && gaps.waits(Kind::Route, &name));
        assert_eq!(gaps.next(), Some(start + Duration::from_secs(2)));
        assert_eq!(gaps.expire(start + Duration::from_secs(1)), []);
        assert_eq!(gaps.expire(start + Duration::from_secs(2)), [(Kind::Cluster, name.clone())]);
        gaps.open(Kind::Cluster, &name, None, start);
        assert!(!gaps.waits(Kind::Cluster, &name), "given up is given up");
        gaps.close(Kind::Cluster, &name);
        gaps.open(Kind::Cluster, &name, None, start);
        assert!(gaps.waits(Kind::Cluster, &name), "what came and went is waited for again");
        gaps.forget(Kind::Cluster);
        assert!(!gaps.waits(Kind::Cluster, &name) && gaps.waits(Kind::Route, &name));
        gaps.give_up(Kind::Route, &name);
        assert_eq!((gaps.next(), gaps.open), (None, 0));
    }
}
