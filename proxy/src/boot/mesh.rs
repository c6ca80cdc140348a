//! `--mesh-config DIR`: Istio and Kubernetes YAML, compiled in this process to the resources that a control plane
//! would push, and again whenever a file changes. A folder with a mistake leaves the last good state in force.

use super::flags::Flags;
use crate::base::Name;
use crate::control::{Change, Control, Resource, Update};
use anyhow::Context;
use notify::{RecursiveMode, Watcher};
use prost::Message;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use weir_config::compile::{Compiled, Node, Target, compile};
use weir_config::diag::{Diagnostic, has_errors, render_text, sort};
use weir_config::world::{MeshOptions, World, read_paths};

/// Changes that come together are applied together; an editor writes a file in several steps.
const SETTLE: Duration = Duration::from_millis(100);

/// The folder is read again after this time even when no event came (network file systems send none).
const RECHECK: Duration = Duration::from_secs(5);

/// A gateway's node when `--service-node` names none.
const GATEWAY: &str = "router~127.0.0.1~istio-ingressgateway.istio-system~istio-system.svc.cluster.local";

/// Labels of a gateway when `--gateway-labels` names none: those of Istio's own ingress gateway.
const LABELS: &[(&str, &str)] = &[("app", "istio-ingressgateway"), ("istio", "ingressgateway")];

/// Admin address of a process without bootstrap (Istio's).
pub const ADMIN: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}";

/// The folder, the node, and what is in force of it.
pub struct Mesh {
    dir: PathBuf,
    node: Node,
    options: MeshOptions,
    control: Control,
    sources: Vec<(String, String)>,
    in_force: [HashSet<Name>; 4],
    version: u64,
}

/// The node that the flags describe.
///
/// # Errors
/// `--service-node` is no node id.
fn node(flags: &Flags) -> anyhow::Result<Node> {
    let mut node = Node::parse(flags.service_node.as_deref().unwrap_or(GATEWAY))?;
    node = node.with("INTERCEPTION_MODE", "NONE");
    if flags.service_node.is_none() && flags.gateway_labels.is_empty() {
        node.labels.extend(LABELS.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    }
    node.labels.extend(flags.gateway_labels.iter().cloned());
    node.listen_port_map
        .extend(flags.listen_port_map.iter().map(|(from, to)| (u32::from(*from), u32::from(*to))));
    Ok(node)
}

impl Mesh {
    /// Reads the folder once, applies it, and starts the thread that watches it.
    ///
    /// # Errors
    /// The folder does not exist or cannot be watched, or the node id is wrong. A mistake inside a file is no error
    /// of this kind: it is logged, and the process waits for the file to be mended.
    pub fn start(dir: &str, flags: &Flags, control: Control) -> anyhow::Result<()> {
        let path = PathBuf::from(dir);
        if !path.is_dir() {
            anyhow::bail!("--mesh-config: {dir} is no folder");
        }
        let options = MeshOptions { ingress_class: flags.ingress_class.clone(), ..MeshOptions::default() };
        let mut mesh = Mesh {
            dir: path.clone(),
            node: node(flags)?,
            options,
            control,
            sources: Vec::new(),
            in_force: Default::default(),
            version: 0,
        };
        let (events, inbox) = channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // The receiver lives as long as the process.
                let _ = events.send(());
            }
        })?;
        watcher
            .watch(Path::new(dir), RecursiveMode::Recursive)
            .with_context(|| format!("{dir} cannot be watched"))?;
        mesh.apply();
        std::thread::Builder::new().name("mesh".into()).spawn(move || {
            let _watcher = watcher;
            mesh.watch(&inbox);
        })?;
        Ok(())
    }

    fn watch(&mut self, inbox: &Receiver<()>) {
        loop {
            match inbox.recv_timeout(RECHECK) {
                Ok(()) => {
                    std::thread::sleep(SETTLE);
                    while inbox.try_recv().is_ok() {}
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.apply();
        }
    }

    /// Reads the folder; compiles and applies it when it has changed and is free of errors.
    fn apply(&mut self) {
        let read = read_paths(&[&self.dir]);
        if self.version > 0 && read.sources == self.sources && !has_errors(&read.diagnostics) {
            return;
        }
        let (world, found) = World::read_with(self.options.clone(), &read.sources);
        let compiled = compile(&world, &self.node, Target::Weir);
        let mut all: Vec<Diagnostic> = read.diagnostics;
        all.extend(found);
        all.extend(weir_config::check::check(&world));
        all.extend(compiled.diagnostics.iter().cloned());
        sort(&mut all);
        all.dedup();
        let repeated = read.sources == self.sources && self.version > 0;
        self.sources = read.sources;
        self.version = self.version.saturating_add(1);
        if has_errors(&all) {
            if !repeated {
                tracing::error!(
                    "{}: mistakes; the last good state stays in force\n{}",
                    self.dir.display(),
                    render_text(&all)
                );
            }
            return;
        }
        if !all.is_empty() {
            tracing::info!("{}\n{}", self.dir.display(), render_text(&all));
        }
        self.push(&compiled);
    }

    fn push(&mut self, compiled: &Compiled) {
        let update = Update {
            version: self.version.to_string().into(),
            clusters: change(
                &mut self.in_force[0],
                compiled.clusters.iter().map(|m| (m.name.as_str(), m.encode_to_vec())),
            ),
            endpoints: change(
                &mut self.in_force[1],
                compiled.endpoints.iter().map(|m| (m.cluster_name.as_str(), m.encode_to_vec())),
            ),
            listeners: change(
                &mut self.in_force[2],
                compiled.listeners.iter().map(|m| (m.name.as_str(), m.encode_to_vec())),
            ),
            routes: change(
                &mut self.in_force[3],
                compiled.routes.iter().map(|m| (m.name.as_str(), m.encode_to_vec())),
            ),
        };
        let verdicts = self.control.apply(update);
        let refused: Vec<_> = verdicts.iter().filter(|verdict| verdict.result.is_err()).collect();
        for verdict in &refused {
            if let Err(errors) = &verdict.result {
                let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::error!(name = %verdict.name, kind = ?verdict.kind, "refused, its previous version stays in force: {text}");
            }
        }
        tracing::info!(
            version = self.version,
            resources = verdicts.len(),
            refused = refused.len(),
            "{} in force",
            self.dir.display()
        );
    }
}

/// What is new and what is gone of one type.
fn change<'a>(in_force: &mut HashSet<Name>, now: impl Iterator<Item = (&'a str, Vec<u8>)>) -> Change {
    let added: Vec<Resource> = now.map(|(name, body)| Resource::new(name, body)).collect();
    let names: HashSet<Name> = added.iter().map(|resource| resource.name.clone()).collect();
    let removed = in_force.difference(&names).cloned().collect();
    *in_force = names;
    Change { added, removed }
}
