//! `weirctl serve`: a control plane for a fleet of proxies, from a folder of Istio and Kubernetes YAML.
//!
//! | file | holds |
//! | --- | --- |
//! | `folder` | the folder, read again when it changes; the last state without mistakes |
//! | `snapshot` | the resources of one proxy, each with a version that is a hash of its content |
//! | `topic` | one type on one stream: what the proxy wants, has and has answered |
//! | `dialect` | delta and state of the world: the same topic, said in two ways |
//! | `stream` | one stream: its requests, the folder's changes, its responses |
//! | `grpc` | the discovery services |
//! | `fleet` | what every proxy was sent and has answered |
//! | `pages` | `/debug`, `/metrics`, `/ready` |

mod dialect;
mod fleet;
mod folder;
mod grpc;
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

use fleet::Fleet;
use folder::{Folder, State};

/// Arguments of `weirctl serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The folder whose *.yaml, *.yml and *.json are read with all below them, and watched.
    dir: PathBuf,
    /// Where proxies open their xDS streams (gRPC without TLS; delta and state of the world).
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15010")]
    listen: SocketAddr,
    /// Where /debug, /metrics and /ready are.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15014")]
    monitoring: SocketAddr,
    /// DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    domain: String,
    /// Takes only Ingresses of this class.
    #[arg(long)]
    ingress_class: Option<String>,
}

/// What all streams share.
#[derive(Debug)]
pub struct Plane {
    /// The folder's last state without mistakes; none before the first.
    state: watch::Receiver<Option<Arc<State>>>,
    /// Every proxy.
    fleet: Fleet,
    /// Descriptors of what is sent.
    pool: Arc<Pool>,
}

impl Serve {
    /// Serves until it is told to stop (SIGTERM, SIGINT).
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
    std::thread::Builder::new().name("folder".into()).spawn(move || folder.follow(&sender))?;
    let pool = Arc::new(Pool::load().context("loading the descriptors")?);
    Ok(Arc::new(Plane { state, fleet: Fleet::default(), pool }))
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("{flag} {address}: cannot be listened on; name another address"))
}
