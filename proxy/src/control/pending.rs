//! What an update changes, on its way into force.

use super::sockets::Opened;
use super::update::{Kind, Outcome, Verdict};
use crate::base::Name;
use crate::base::addr::Address;
use crate::base::ledger::CompileError;
use std::collections::HashSet;

/// What an update changes, gathered while its resources are judged.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) verdicts: Vec<Verdict>,
    /// Accepted, not in force yet.
    pub(super) accepted: Vec<(Kind, Name)>,
    /// May they wait?
    pub(super) waits: bool,
    /// Clusters that come into force.
    pub(super) clusters: Vec<Name>,
    /// Services whose endpoints have changed.
    pub(super) services: HashSet<Name>,
    pub(super) handed: Vec<(usize, Opened)>,
    pub(super) closed: Vec<(Name, Address)>,
    pub(super) publish: bool,
    /// A cluster whose hosts are looked up came into force, or went.
    pub(super) named: bool,
}

impl Pending {
    /// It is accepted, in the place of another or not.
    pub(super) fn accept(&mut self, kind: Kind, name: Name, replaces: bool) {
        self.judge(kind, name, Ok(if replaces { Outcome::Changed } else { Outcome::Added }));
    }

    /// Clusters, listeners and route configurations are parts of the snapshot, the rest is not.
    pub(super) fn judge(&mut self, kind: Kind, name: Name, result: Result<Outcome, Vec<CompileError>>) {
        match result {
            _ if !matches!(kind, Kind::Cluster | Kind::Listener | Kind::Route) => {}
            Ok(Outcome::Added | Outcome::Changed) => self.accepted.push((kind, name.clone())),
            Ok(Outcome::Removed) => self.publish = true,
            Ok(Outcome::Unchanged) | Err(_) => {}
        }
        self.verdicts.push(Verdict { kind, name, result });
    }
}
