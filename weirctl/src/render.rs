//! `weirctl render`: the xDS resources that a proxy would get, as JSON.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use weir_config::World;
use weir_config::compile::{Compiled, Lacking, Node, Target, compile, port_pair};
use weir_config::diag::{Diagnostic, has_errors, render_text, sort};
use weir_config::world::{MeshOptions, read_paths};
use weir_proto::google::protobuf::Any;
use weir_proto::{Pool, Secrets, any};

/// Arguments of `weirctl render`.
#[derive(Debug, Args)]
pub struct Render {
    /// Files, and folders whose *.yaml, *.yml and *.json are read with all below them.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The proxy: `sidecar~IP~POD.NAMESPACE~DOMAIN` or `router~...`.
    #[arg(long)]
    node: String,
    /// Who reads the resources.
    #[arg(long, value_enum, default_value_t = Reader::Weir)]
    target: Reader,
    /// Node metadata, such as `INTERCEPTION_MODE=NONE` or `LABELS=app=web,version=v1`; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Binds the listener for a port to another one.
    #[arg(long, value_name = "PORT=BOUND,...", value_delimiter = ',', value_parser = ports)]
    listen_port_map: Vec<(u32, u32)>,
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    domain: String,
    /// Takes only Ingresses of this class.
    #[arg(long)]
    ingress_class: Option<String>,
}

/// Who reads the resources.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reader {
    /// Everything that istiod would send.
    Istiod,
    /// What this release puts in force.
    Weir,
    /// What `weirctl serve` sends to an Envoy that has Istio's extensions.
    Envoy,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn ports(text: &str) -> Result<(u32, u32), String> {
    port_pair(text)
        .ok_or_else(|| format!("{text:?}: write it as PORT=BOUND, both from 1 to 65535, such as 80=8080"))
}

impl Render {
    /// Reads, compiles, prints: resources to standard output, diagnostics to standard error. 1 if there is an
    /// error among them.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut node = Node::parse(&self.node)?;
        for (key, value) in &self.metadata {
            node = node.with(key, value)?;
        }
        node.listen_port_map.extend(self.listen_port_map.iter().copied());
        let read = read_paths(&self.paths);
        let mesh =
            MeshOptions { domain: self.domain, ingress_class: self.ingress_class, ..MeshOptions::default() };
        let (world, found) = World::read_with(mesh, &read.sources);
        let target = match self.target {
            Reader::Istiod => Target::Istiod,
            Reader::Weir => Target::Weir,
            Reader::Envoy => Target::Envoy(Lacking::default()),
        };
        let compiled = compile(&world, &node, target);
        let mut diagnostics: Vec<Diagnostic> = read.diagnostics;
        diagnostics.extend(found);
        diagnostics.extend(compiled.diagnostics.iter().cloned());
        sort(&mut diagnostics);
        if !diagnostics.is_empty() {
            io::stderr().write_all(render_text(&diagnostics).as_bytes())?;
        }
        let pool = Pool::load().context("loading the descriptors")?;
        crate::print(&format!("{:#}\n", resources(&compiled, &pool)))?;
        Ok(if has_errors(&diagnostics) { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }
}

/// All resources by kind, each as JSON with its `@type`.
fn resources(compiled: &Compiled, pool: &Pool) -> Value {
    let list = |resources: Vec<Any>| -> Vec<Value> {
        resources.iter().map(|resource| pool.any_to_json(resource, Secrets::Redact)).collect()
    };
    json!({
        "listeners": list(compiled.listeners.iter().map(any::pack).collect()),
        "routes": list(compiled.routes.iter().map(any::pack).collect()),
        "clusters": list(compiled.clusters.iter().map(any::pack).collect()),
        "endpoints": list(compiled.endpoints.iter().map(any::pack).collect()),
    })
}
