//! `weirctl serve`: a control plane for a fleet of proxies, from a folder of Istio and Kubernetes YAML.
//!
//! | file | holds |
//! | --- | --- |
//! | `folder` | the folder, read again when it changes; the last state without mistakes |
//! | `snapshot` | the resources of one proxy, each with a version that is a hash of its content |
//! | `common` | a resource that many proxies have, held once |
//! | `topic` | one type on one stream: what the proxy wants, has and has answered |
//! | `dialect` | delta and state of the world: the same topic, said in two ways |
//! | `stream` | one stream: its requests, the folder's changes, its responses |
//! | `grpc` | the discovery services |
//! | `log` | what is refused, on standard error |
//! | `fleet` | what every proxy was sent and has answered |
//! | `pages` | `/debug`, `/metrics`, `/ready` |

mod common;
mod dialect;
mod fleet;
mod folder;
mod grpc;
mod log;
mod pages;
mod snapshot;
mod stream;
mod topic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;
use weir_config::world::MeshOptions;
use weir_proto::Pool;

use common::Common;
use fleet::Fleet;
use folder::{Folder, Mistakes, State};

/// Arguments of `weirctl serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The folder whose *.yaml, *.yml and *.json are read with all below them, and watched.
    dir: PathBuf,
    /// Where proxies open their xDS streams (gRPC without TLS; delta and state of the world).
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15010", value_parser = address)]
    listen: SocketAddr,
    /// Where /debug, /metrics and /ready are.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:15014", value_parser = address)]
    monitoring: SocketAddr,
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    domain: String,
    /// Takes only Ingresses of this class.
    #[arg(long)]
    ingress_class: Option<String>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write it as IP:PORT, such as 127.0.0.1:15010 or [::]:15010".to_owned())
}

/// What all streams share.
#[derive(Debug)]
pub struct Plane {
    /// The folder's last state without mistakes; none before the first.
    state: watch::Receiver<Option<Arc<State>>>,
    /// The folder's mistakes now.
    mistakes: Mistakes,
    /// Every proxy.
    fleet: Fleet,
    /// Descriptors of what is sent.
    pool: Arc<Pool>,
    /// What proxies have in common.
    common: Common,
}

impl Serve {
    /// Serves until it is told to stop (SIGTERM, SIGINT).
    pub fn run(self) -> anyhow::Result<ExitCode> {
        // As many proxies are compiled for at once as there are processors: more would only take memory.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(processors)
            .build()?;
        runtime.block_on(self.serve())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn serve(self) -> anyhow::Result<()> {
        let listen = bind("--listen", self.listen).await?;
        let monitoring = bind("--monitoring", self.monitoring).await?;
        let options =
            MeshOptions { domain: self.domain, ingress_class: self.ingress_class, ..MeshOptions::default() };
        let plane = start(Folder::open(&self.dir, options)?)?;
        let (xds, pages) = (listen.local_addr()?, monitoring.local_addr()?);
        crate::print(&format!("{}: xDS on {xds}, /debug and /metrics on {pages}\n", self.dir.display()))?;
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            ended = grpc::serve(listen, plane.clone()) => ended.context("the xDS server ended"),
            ended = pages::serve(monitoring, plane) => ended.context("the monitoring server ended"),
            _ = term.recv() => Ok(()),
            told = tokio::signal::ctrl_c() => Ok(told?),
        }
    }
}

/// Watches a folder from a thread of its own.
fn start(folder: Folder) -> anyhow::Result<Arc<Plane>> {
    let (sender, state) = watch::channel(None);
    let mistakes = folder.mistakes();
    std::thread::Builder::new().name("folder".into()).spawn(move || folder.follow(&sender))?;
    let pool = Arc::new(Pool::load().context("loading the descriptors")?);
    Ok(Arc::new(Plane { state, mistakes, fleet: Fleet::default(), pool, common: Common::default() }))
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("{flag} {address}: cannot be listened on; name another address"))
}
