//! The engine's own judge over resources that the compiler made of YAML: what it refuses, told at the lines that say it.

use crate::base::Name;
use crate::base::ledger::CompileError;
use crate::control::{Change, Judge, Kind, Resource, Update, Verdict, validate};
use prost::Message;
use std::collections::HashSet;
use weir_config::check::check_with;
use weir_config::compile::{self, Compiled, placed};
use weir_config::diag::Diagnostic;
use weir_config::world::World;
use weir_proto::envoy::config::bootstrap::v3::Bootstrap;

/// Names in force of each type.
pub type Names = [HashSet<Name>; 4];

/// Every check of a world, and what proxies would refuse of it.
pub fn check_mesh(world: &World) -> Vec<Diagnostic> {
    match validate(&Bootstrap::default()) {
        Ok(judge) => {
            let mut trial = Trial::before(judge);
            check_with(world, &mut |compiled| trial.findings(world, compiled))
        }
        Err(error) => {
            let message = format!("what proxies would refuse is not known: {error}");
            let mut all = weir_config::check::check(world);
            all.push(Diagnostic::error("refused", message).remedy("report this"));
            all
        }
    }
}

/// A judge who is shown the resources of one proxy after the other. What several have in common is judged once.
pub struct Trial {
    judge: Judge,
    shown: Names,
}

impl Trial {
    /// Before a judge who has taken a bootstrap.
    pub fn before(judge: Judge) -> Trial {
        Trial { judge, shown: Names::default() }
    }

    /// What is refused of the resources of a proxy (from [`compile::compile_located`], so that lines can be named). What
    /// an Envoy may take, and this release does not have, is a warning.
    pub fn findings(&mut self, world: &World, compiled: &Compiled) -> Vec<Diagnostic> {
        let verdicts = self.judge.apply(update(compiled, &mut self.shown, 0));
        let of = |verdict: &Verdict| {
            let errors = verdict.result.as_ref().err().map(Vec::as_slice).unwrap_or_default();
            errors.iter().map(|error| finding(world, compiled, verdict, error)).collect::<Vec<_>>()
        };
        verdicts.iter().flat_map(of).collect()
    }
}

fn finding(world: &World, compiled: &Compiled, verdict: &Verdict, error: &CompileError) -> Diagnostic {
    let (kind, rest) = match verdict.kind {
        Kind::Cluster => (Some(compile::Kind::Cluster), "the cluster"),
        Kind::Endpoints => (Some(compile::Kind::Endpoints), "all endpoints of the service"),
        Kind::Listener => (Some(compile::Kind::Listener), "the listener"),
        Kind::Route => (Some(compile::Kind::Route), "all routes of the port"),
        Kind::Secret | Kind::Extension | Kind::Runtime => (None, "the resource"),
    };
    let placed = kind.map(|kind| placed(compiled, kind, &verdict.name, &error.path));
    let (title, field) = match placed.and_then(|placed| Some((placed.title(world)?, placed.field))) {
        Some(found) => found,
        None => (format!("{} {}", verdict.kind, verdict.name), error.path.as_str()),
    };
    let what = if field.is_empty() { error.message.clone() } else { format!("{field}: {}", error.message) };
    let remedy =
        error.remedy.as_deref().unwrap_or("put it right; until then nothing of the change comes into force");
    let found = if error.lacking {
        let message = format!("{title}: weir refuses {rest}: {what}");
        Diagnostic::warning("not-in-weir", message).remedy(format!("{remedy}; an Envoy may take it"))
    } else {
        let message = format!("{title}: proxies refuse {rest}: {what}");
        Diagnostic::error("refused", message).remedy(remedy)
    };
    placed.map_or(found.clone(), |placed| placed.at(world, found))
}

/// Everything compiled, and the removal of what is gone since the last time.
pub fn update(compiled: &Compiled, in_force: &mut Names, version: u64) -> Update {
    let [clusters, endpoints, listeners, routes] = in_force;
    Update {
        version: version.to_string().into(),
        sent: None,
        later: false,
        clusters: change(clusters, compiled.clusters.iter().map(|m| (m.name.as_str(), m.encode_to_vec()))),
        endpoints: change(
            endpoints,
            compiled.endpoints.iter().map(|m| (m.cluster_name.as_str(), m.encode_to_vec())),
        ),
        listeners: change(listeners, compiled.listeners.iter().map(|m| (m.name.as_str(), m.encode_to_vec()))),
        routes: change(routes, compiled.routes.iter().map(|m| (m.name.as_str(), m.encode_to_vec()))),
        ..Update::default()
    }
}

/// What is new and what is gone of one type.
fn change<'a>(in_force: &mut HashSet<Name>, now: impl Iterator<Item = (&'a str, Vec<u8>)>) -> Change {
    let added: Vec<Resource> = now.map(|(name, body)| Resource::new(name, body)).collect();
    let names: HashSet<Name> = added.iter().map(|resource| resource.name.clone()).collect();
    let removed = in_force.difference(&names).cloned().collect();
    *in_force = names;
    Change { added, removed, ..Change::default() }
}
