//! What was recorded of a start.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};
use weir_proto::envoy::config::core::v3::Node;

use crate::{corpora, plane};

/// A recorded start of a proxy.
#[derive(Clone)]
pub struct Start {
    /// What is special about it.
    pub name: String,
    /// The proxy's arguments.
    pub arguments: Vec<String>,
    /// What the agent has written for it.
    pub bootstrap: Value,
}

impl Start {
    /// All that were recorded.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let folder = corpora::folder("istiod-recorded/pilot-agent")?;
        let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut all: Vec<Self> =
            entries.flatten().map(|entry| Self::read(entry.path())).collect::<anyhow::Result<_>>()?;
        all.sort_by(|one, other| one.name.cmp(&other.name));
        anyhow::ensure!(all.len() == 4, "{} recorded starts instead of 4", all.len());
        Ok(all)
    }

    fn read(folder: PathBuf) -> anyhow::Result<Self> {
        let name = folder.file_name().context("a folder without a name")?.to_string_lossy().into_owned();
        let arguments = std::fs::read_to_string(folder.join("args.txt")).with_context(|| name.clone())?;
        Ok(Self {
            name,
            arguments: arguments.lines().map(str::to_owned).collect(),
            bootstrap: corpora::json(&folder.join("bootstrap.json"))?,
        })
    }

    /// The same start with another value of a flag.
    pub fn with(mut self, flag: &str, value: &str) -> anyhow::Result<Self> {
        let at = self.arguments.iter().position(|argument| argument == flag);
        let old = at.and_then(|at| self.arguments.get_mut(at + 1));
        value.clone_into(old.with_context(|| format!("no {flag} among the arguments of {}", self.name))?);
        Ok(self)
    }

    /// The same start with statistics that the user asks for, as `proxyStatsMatcher` has it, and further arguments.
    pub fn watched(mut self, prefix: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let listed = "/stats_config/stats_matcher/inclusion_list/patterns";
        let patterns = self.bootstrap.pointer_mut(listed).and_then(Value::as_array_mut);
        patterns.with_context(|| format!("no {listed}"))?.push(json!({ "prefix": prefix }));
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Ok(self)
    }

    /// The value of a flag.
    pub fn flag(&self, flag: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|argument| argument == flag)?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    /// The node that the proxy is to name itself, word by word.
    pub fn node(&self) -> anyhow::Result<Node> {
        plane::parsed(self.bootstrap.get("node").context("a bootstrap without a node")?)
    }

    fn metadata(&self, key: &str) -> Option<&str> {
        self.bootstrap.pointer("/node/metadata")?.get(key)?.as_str()
    }

    /// A gateway; the others are sidecars.
    pub fn is_gateway(&self) -> bool {
        let id = self.bootstrap.pointer("/node/id").and_then(Value::as_str);
        id.is_some_and(|id| id.starts_with("router~"))
    }

    /// Connections come to it by TPROXY.
    pub fn is_transparent(&self) -> bool {
        self.metadata("INTERCEPTION_MODE") == Some("TPROXY")
    }

    /// The agent ends it when the last connection has ended, not after a fixed time.
    pub fn awaits_connections(&self) -> bool {
        self.metadata("EXIT_ON_ZERO_ACTIVE_CONNECTIONS") == Some("true")
    }
}
