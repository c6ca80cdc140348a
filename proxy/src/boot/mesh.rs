//! `--mesh-config DIR`: Istio and Kubernetes YAML, compiled in this process to the resources that a control plane
//! would push, and again whenever a file changes. A folder with a mistake leaves the last good state in force.

use super::flags::Flags;
use super::trial::{Names, Trial, update};
use crate::control::{Control, Judge, Verdict};
use anyhow::{Context, bail};
use std::path::PathBuf;
use weir_config::compile::{Compiled, Node, Target, compile, compile_located};
use weir_config::diag::{Diagnostic, has_errors, render_text, sort};
use weir_config::world::{MeshOptions, Read, Watch, World, read_paths};

/// A gateway's node when `--service-node` names none.
const GATEWAY: &str = "router~127.0.0.1~istio-ingressgateway.istio-system~istio-system.svc.cluster.local";

/// Labels of a gateway when `--gateway-labels` names none: those of Istio's own ingress gateway.
const LABELS: &[(&str, &str)] = &[("app", "istio-ingressgateway"), ("istio", "ingressgateway")];

/// Admin address of a process without bootstrap (Istio's).
pub const ADMIN: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}";

/// The folder and the node that it is compiled for.
struct Folder {
    path: PathBuf,
    node: Node,
    options: MeshOptions,
}

impl Folder {
    fn new(dir: &str, flags: &Flags) -> anyhow::Result<Folder> {
        let path = PathBuf::from(dir);
        if !path.is_dir() {
            bail!("--mesh-config: {dir} is no folder");
        }
        let options = MeshOptions { ingress_class: flags.ingress_class.clone(), ..MeshOptions::default() };
        Ok(Folder { path, node: node(flags)?, options })
    }

    /// What the files mean, and everything that is to be said of them.
    fn compile(&self, read: &Read) -> (World, Compiled, Vec<Diagnostic>) {
        let (world, mut all) = read.world(self.options.clone());
        let compiled = compile(&world, &self.node, Target::Weir);
        all.extend(weir_config::check::check(&world));
        all.extend(compiled.diagnostics.iter().cloned());
        sort(&mut all);
        all.dedup();
        (world, compiled, all)
    }
}

/// Judges a folder (`--mode validate`): gives what is to be said of it although it is right.
///
/// # Errors
/// Every mistake.
pub fn judge(dir: &str, flags: &Flags, judge: Judge) -> anyhow::Result<String> {
    let folder = Folder::new(dir, flags)?;
    let (world, _, mut all) = folder.compile(&read_paths(&[&folder.path]));
    let mut wrong = has_errors(&all);
    if !wrong {
        let located = compile_located(&world, &folder.node, Target::Weir);
        let refused = Trial::before(judge).findings(&world, &located);
        wrong = !refused.is_empty();
        all.extend(refused);
        sort(&mut all);
    }
    if wrong {
        bail!("{dir}: mistakes\n{}", render_text(&all));
    }
    Ok(if all.is_empty() { String::new() } else { render_text(&all) })
}

/// The folder, and what is in force of it.
pub struct Mesh {
    folder: Folder,
    control: Control,
    /// What was last read.
    read: Option<Read>,
    in_force: Names,
    version: u64,
    /// What was last refused: it is tried again, for a port may be free by then.
    refused: Vec<String>,
}

/// The node that the flags describe.
///
/// # Errors
/// `--service-node` is no node id.
fn node(flags: &Flags) -> anyhow::Result<Node> {
    let mut node = Node::parse(flags.service_node.as_deref().unwrap_or(GATEWAY))?;
    node = node.with("INTERCEPTION_MODE", "NONE")?;
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
        let folder = Folder::new(dir, flags)?;
        let watch = Watch::new(&folder.path).with_context(|| format!("{dir} cannot be watched"))?;
        let mut mesh =
            Mesh { folder, control, read: None, in_force: Names::default(), version: 0, refused: Vec::new() };
        mesh.apply();
        std::thread::Builder::new().name("mesh".into()).spawn(move || mesh.follow(watch))?;
        Ok(())
    }

    fn follow(&mut self, mut watch: Watch) {
        loop {
            if let Some(trouble) = watch.wait() {
                tracing::warn!("{trouble}");
            }
            self.apply();
        }
    }

    /// Reads the folder; compiles and applies it when it has changed and is free of errors.
    fn apply(&mut self) {
        let read = read_paths(&[&self.folder.path]);
        let same = self.read.as_ref() == Some(&read);
        if same && self.refused.is_empty() {
            return;
        }
        let dir = self.folder.path.display();
        let (_, compiled, all) = self.folder.compile(&read);
        if !same {
            self.version = self.version.saturating_add(1);
            self.read = Some(read);
            if has_errors(&all) {
                let kept = self.in_force.iter().any(|names| !names.is_empty());
                let then =
                    if kept { "the last good state stays in force" } else { "nothing is in force yet" };
                tracing::error!("{dir}: mistakes; {then}\n{}", render_text(&all));
            } else if !all.is_empty() {
                tracing::info!("{dir}\n{}", render_text(&all));
            }
        }
        if has_errors(&all) {
            self.refused.clear();
            return;
        }
        let verdicts = self.control.apply(update(&compiled, &mut self.in_force, self.version));
        let refused = refusals(&verdicts);
        if same && refused == self.refused {
            return;
        }
        for refusal in &refused {
            tracing::error!("{refusal}; the version before, if any, stays in force");
        }
        tracing::info!(
            version = self.version,
            resources = verdicts.len(),
            refused = refused.len(),
            "{} in force",
            self.folder.path.display()
        );
        self.refused = refused;
    }
}

/// What was refused, and why.
fn refusals(verdicts: &[Verdict]) -> Vec<String> {
    let refused = verdicts.iter().filter_map(|verdict| {
        let errors = verdict.result.as_ref().err()?;
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Some(format!("{} {} refused: {text}", verdict.kind, verdict.name))
    });
    refused.collect()
}
