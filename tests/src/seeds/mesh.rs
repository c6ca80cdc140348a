//! The folder of YAML, the endpoints that the test adds, and the proxy in front.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

use crate::process::Proxy;

/// Node id of a client's sidecar.
pub const SIDECAR: &str = "sidecar~127.0.0.1~client.default~default.svc.cluster.local";

/// A folder for `--mesh-config`, removed when dropped.
pub struct Folder {
    path: PathBuf,
    corpus: PathBuf,
}

impl Folder {
    /// An empty folder that takes files of the corpus at `corpus`.
    pub fn new(corpus: PathBuf) -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("weir-seeds-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path)?;
        Ok(Self { path, corpus })
    }

    /// A folder with these files of the corpus, under their own names.
    pub fn with(corpus: PathBuf, files: &[&str]) -> anyhow::Result<Self> {
        let folder = Self::new(corpus)?;
        for file in files {
            folder.seed(file, file)?;
        }
        Ok(folder)
    }

    /// Puts a file of the corpus there under `name`, in place of what has that name.
    pub fn seed(&self, file: &str, name: &str) -> anyhow::Result<()> {
        let from = self.corpus.join(file);
        self.write(name, &fs::read_to_string(&from).with_context(|| from.display().to_string())?)
    }

    /// Puts text there; written beside and renamed, as an editor does.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (new, file) = (self.path.join(format!(".{name}.tmp")), self.path.join(name));
        fs::write(&new, text)?;
        fs::rename(&new, &file).with_context(|| file.display().to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind harms nobody.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// One version of a service: a pod with one address.
pub struct Version<'a> {
    /// Name of the pod; that of a workload in the folder, with a suffix, gives it the workload's labels.
    pub pod: &'a str,
    /// Labels of a Pod to write down; empty when a workload gives them.
    pub labels: &'a str,
    /// Loopback address.
    pub address: &'a str,
    /// Name of the service's port and the number behind it.
    pub ports: &'a [(&'a str, u16)],
}

/// An EndpointSlice per version, and the Pods that no workload stands for.
pub fn endpoints(service: &str, versions: &[Version<'_>]) -> String {
    let mut text = String::new();
    for Version { pod, labels, address, ports } in versions {
        let ports: Vec<String> =
            ports.iter().map(|(name, port)| format!("{{name: {name}, port: {port}}}")).collect();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {service}-{pod}, labels: {{kubernetes.io/service-name: {service}}}}}\n\
             addressType: IPv4\nports: [{}]\n\
             endpoints: [{{addresses: [{address}], targetRef: {{kind: Pod, name: {pod}}}}}]\n",
            ports.join(", ")
        );
        if !labels.is_empty() {
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, labels: {{{labels}}}}}\n\
                 status: {{podIP: {address}, phase: Running}}\n"
            );
        }
    }
    text
}

/// A proxy in front of a folder.
pub struct Listening {
    /// The process.
    pub proxy: Proxy,
    /// Where it listens instead of the ports that the YAML names, in the order of the request.
    pub ports: Vec<u16>,
}

impl Listening {
    /// Starts it on `folder` as `node`, or as a gateway; waits until the first of `ports` accepts.
    pub fn start(folder: &Folder, node: Option<&str>, ports: &[u16]) -> anyhow::Result<Self> {
        let mut mapped = Vec::new();
        for _ in ports {
            mapped.push(crate::ports::free()?);
        }
        let map: Vec<String> = ports.iter().zip(&mapped).map(|(from, to)| format!("{from}={to}")).collect();
        let admin = crate::ports::free()?;
        let own =
            format!("admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}");
        let (dir, map) = (folder.path.display().to_string(), map.join(","));
        let mut arguments = vec!["--mesh-config", &dir, "--listen-port-map", &map, "--config-yaml", &own];
        arguments.extend(["--file-flush-interval-msec", "100"]);
        if let Some(node) = node {
            arguments.extend(["--service-node", node]);
        }
        let first = *mapped.first().context("a proxy without ports")?;
        Ok(Self { proxy: Proxy::start_with(&arguments, first)?, ports: mapped })
    }
}
