//! One type on one stream: what the proxy wants, what it has, and what it said to what it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::snapshot::{Held, Resources};

/// Names that a proxy may ask for in one type.
const MOST_NAMES: usize = 200_000;

/// What a proxy said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It took what it was sent last.
    Ack,
    /// It did not, and why.
    Nack(String),
    /// Nothing to what it was sent last: it asks, or speaks of something older.
    Nothing,
}

/// One type on one stream.
#[derive(Debug, Default)]
pub struct Topic {
    /// All resources are wanted.
    wildcard: bool,
    names: BTreeSet<String>,
    /// Versions that the proxy has; empty: it was told that there is none.
    has: BTreeMap<String, String>,
    /// The response that waits for an answer.
    unanswered: Option<String>,
    responses: u64,
    begun: bool,
    /// The proxy asked for something new (state of the world).
    asked: bool,
}

/// What a response carries.
#[derive(Debug, PartialEq)]
pub struct Owed<'a> {
    /// Names and resources.
    pub resources: Vec<(&'a String, &'a Arc<Held>)>,
    /// Names of what is gone.
    pub removed: Vec<String>,
    /// Names of what the proxy had in another version.
    pub renewed: Vec<String>,
    /// The response's nonce.
    pub nonce: String,
}

impl Topic {
    /// An answer with a nonce and, if it is a refusal, its reason.
    pub fn answered(&mut self, nonce: &str, refused: Option<String>) -> Said {
        if nonce.is_empty() || self.unanswered.as_deref() != Some(nonce) {
            return Said::Nothing;
        }
        self.unanswered = None;
        refused.map_or(Said::Ack, Said::Nack)
    }

    /// Delta: the first request. `all`: without names all are wanted.
    pub fn begin(&mut self, all: bool, versions: BTreeMap<String, String>) -> bool {
        let first = !std::mem::replace(&mut self.begun, true);
        if first {
            self.wildcard = all;
            self.has = versions;
        }
        first
    }

    /// Delta: names come and go; false when they are too many.
    pub fn subscribe(&mut self, first: bool, more: Vec<String>, fewer: &[String]) -> bool {
        for name in fewer {
            self.wildcard &= name != "*";
            self.names.remove(name);
            self.has.remove(name);
        }
        for name in more {
            if name == "*" {
                self.wildcard = true;
            } else if !first && self.names.contains(&name) {
                // Asked for again: it is sent again.
                self.has.remove(&name);
            } else {
                self.names.insert(name);
            }
        }
        self.names.len() <= MOST_NAMES
    }

    /// State of the world: the names that are wanted now; false when they are too many.
    pub fn want(&mut self, all: bool, names: BTreeSet<String>) -> bool {
        let first = !std::mem::replace(&mut self.begun, true);
        self.wildcard = all && (names.is_empty() || names.contains("*"));
        self.asked |= first || names.difference(&self.names).next().is_some();
        self.has.retain(|name, _| self.wildcard || names.contains(name));
        self.names = names;
        self.names.len() <= MOST_NAMES
    }

    /// What the proxy has of a name is of no use to it any more: it is sent again, if it is wanted.
    pub fn forget(&mut self, name: &str) {
        self.has.remove(name);
    }

    /// Those of some names that the proxy has in another version.
    fn renewed(&self, now: &[(&String, &Arc<Held>)]) -> Vec<String> {
        let other = |(name, held): &&(&String, &Arc<Held>)| {
            self.has.get(*name).is_some_and(|has| !has.is_empty() && *has != held.version)
        };
        now.iter().filter(other).map(|(name, _)| (*name).clone()).collect()
    }

    /// How many of all there are the proxy wants.
    pub fn wanted(&self, all: &Resources) -> usize {
        if self.wildcard {
            all.len()
        } else {
            self.names.iter().filter(|name| all.contains_key(*name)).count()
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    fn next_nonce(&mut self) -> String {
        self.responses = self.responses.saturating_add(1);
        let nonce = self.responses.to_string();
        self.unanswered = Some(nonce.clone());
        nonce
    }

    /// Does the proxy wait for nothing, and has it answered?
    pub fn is_quiet(&self) -> bool {
        !self.begun || self.unanswered.is_some()
    }

    /// Has the proxy something, and is nothing of its answer outstanding?
    pub fn is_content(&self) -> bool {
        !self.is_quiet() && self.has.values().any(|version| !version.is_empty())
    }

    /// Delta: what the proxy lacks, and what it has that is gone. One response at a time waits for its answer.
    pub fn changes<'a>(&mut self, all: &'a Resources) -> Option<Owed<'a>> {
        if self.is_quiet() {
            return None;
        }
        let lacks = |(name, held): &(&'a String, &'a Arc<Held>)| {
            self.wants(name) && self.has.get(*name) != Some(&held.version)
        };
        let resources: Vec<_> = all.iter().filter(lacks).collect();
        let gone = self.has.iter().filter(|(name, version)| !version.is_empty() && !all.contains_key(*name));
        let never =
            self.names.iter().filter(|name| !all.contains_key(*name) && !self.has.contains_key(*name));
        let removed: Vec<String> = gone.map(|(name, _)| name).chain(never).cloned().collect();
        if resources.is_empty() && removed.is_empty() {
            return None;
        }
        let renewed = self.renewed(&resources);
        for (name, held) in &resources {
            self.has.insert((*name).clone(), held.version.clone());
        }
        for name in &removed {
            self.has.insert(name.clone(), String::new());
        }
        Some(Owed { resources, removed, renewed, nonce: self.next_nonce() })
    }

    /// State of the world: all that is wanted, if something of it changed or was asked for. `whole`: what a response
    /// lacks is gone; otherwise only what changed is in it.
    pub fn state<'a>(&mut self, all: &'a Resources, whole: bool) -> Option<Owed<'a>> {
        if self.is_quiet() {
            return None;
        }
        let wanted: Vec<_> = all.iter().filter(|(name, _)| self.wants(name)).collect();
        let now: BTreeMap<String, String> =
            wanted.iter().map(|(name, held)| ((*name).clone(), held.version.clone())).collect();
        let changed = |(name, held): &(&'a String, &'a Arc<Held>)| self.has.get(*name) != Some(&held.version);
        let resources: Vec<_> = if whole { wanted } else { wanted.into_iter().filter(changed).collect() };
        let due = if whole { self.asked || now != self.has } else { !resources.is_empty() };
        if !due {
            return None;
        }
        let renewed = self.renewed(&resources);
        self.asked = false;
        self.has = now;
        Some(Owed { resources, removed: Vec::new(), renewed, nonce: self.next_nonce() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::google::protobuf::Any;

    fn world(all: &[(&str, &str)]) -> Resources {
        let held = |version: &str| Arc::new(Held { version: version.to_owned(), resource: Any::default() });
        all.iter().map(|(name, version)| ((*name).to_owned(), held(version))).collect()
    }

    fn names<'a>(owed: &'a Owed<'_>) -> Vec<&'a str> {
        owed.resources.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn delta_sends_what_is_lacking_and_waits_for_the_answer() {
        let mut topic = Topic::default();
        assert!(topic.changes(&world(&[("a", "1")])).is_none());
        let known = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("gone".to_owned(), "1".to_owned())]);
        assert!(topic.begin(true, known) && topic.subscribe(true, Vec::new(), &[]));
        let all = world(&[("a", "1"), ("b", "1")]);
        let owed = topic.changes(&all).unwrap();
        assert_eq!((names(&owed), &owed.removed[..]), (vec!["b"], &["gone".to_owned()][..]));
        let later = world(&[("a", "2"), ("b", "1")]);
        assert!(topic.changes(&later).is_none());
        assert_eq!(topic.answered("7", None), Said::Nothing);
        assert_eq!(topic.answered("1", Some("no".to_owned())), Said::Nack("no".to_owned()));
        assert_eq!(names(&topic.changes(&later).unwrap()), ["a"]);
        assert_eq!(topic.answered("2", None), Said::Ack);
        assert!(topic.changes(&later).is_none());
    }

    #[test]
    fn delta_names_come_and_go() {
        let mut topic = Topic::default();
        let first = topic.begin(false, BTreeMap::new());
        assert!(topic.subscribe(first, vec!["a".to_owned(), "none".to_owned()], &[]));
        let all = world(&[("a", "1"), ("b", "1")]);
        let owed = topic.changes(&all).unwrap();
        assert_eq!((names(&owed), &owed.removed[..]), (vec!["a"], &["none".to_owned()][..]));
        topic.answered("1", None);
        // What was missing comes.
        let all = world(&[("a", "1"), ("none", "1")]);
        assert_eq!(names(&topic.changes(&all).unwrap()), ["none"]);
        topic.answered("2", None);
        assert!(topic.subscribe(false, vec!["a".to_owned()], &["none".to_owned()]));
        assert_eq!(names(&topic.changes(&all).unwrap()), ["a"]);
    }

    #[test]
    fn a_state_of_the_world_is_whole_or_what_changed() {
        let mut clusters = Topic::default();
        assert!(clusters.want(true, BTreeSet::new()));
        assert!(names(&clusters.state(&world(&[]), true).unwrap()).is_empty());
        clusters.answered("1", None);
        let all = world(&[("a", "1"), ("b", "1")]);
        assert_eq!(names(&clusters.state(&all, true).unwrap()), ["a", "b"]);
        clusters.answered("2", None);
        assert!(clusters.state(&all, true).is_none());
        assert_eq!(names(&clusters.state(&world(&[("b", "1")]), true).unwrap()), ["b"]);

        let later = world(&[("b", "2"), ("c", "1")]);
        clusters.answered("3", None);
        assert_eq!(clusters.state(&later, true).unwrap().renewed, ["b"]);

        let mut endpoints = Topic::default();
        assert!(endpoints.want(false, set(&["a"])));
        assert_eq!(names(&endpoints.state(&all, false).unwrap()), ["a"]);
        endpoints.answered("1", None);
        assert!(endpoints.want(false, set(&["a", "b"])));
        assert_eq!(names(&endpoints.state(&all, false).unwrap()), ["b"]);
        endpoints.answered("2", None);
        endpoints.forget("a");
        assert_eq!(names(&endpoints.state(&all, false).unwrap()), ["a"]);
        assert!(endpoints.want(false, set(&["a", "none"])));
        assert_eq!((endpoints.wanted(&all), clusters.wanted(&all)), (1, 2));
    }
}
