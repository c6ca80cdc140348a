//! From the command line to a serving process, and to its end: flags, bootstrap, threads, signals, shutdown.

mod bootstrap;
mod crew;
mod flag_table;
mod flags;
mod limits;
mod logging;
mod mesh;
mod options;
mod shutdown;
mod trial;
mod values;
mod view;

use crate::admin;
use crate::base::addr::Address;
use crate::control::{Control, Start, StateDir, validate};
use crate::live::{drain, limit};
use crate::model::snapshot::Published;
use crate::observe::metrics::{Cells, Registry, Source};
use crate::observe::stats::server;
use crate::upstream::stats::LiveStats;
use crate::upstream::watch;
use anyhow::{Context, anyhow};
use bootstrap::Written;
use crew::Crew;
pub use flags::{Flags, Mode, Wish};
use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;
pub use trial::check_mesh;
use view::View;

/// What `--version` prints.
pub fn version() -> String {
    format!("weir {}", env!("CARGO_PKG_VERSION"))
}

/// Runs the program; returns when it has shut down.
///
/// # Errors
/// Everything that keeps it from serving, with file, place and remedy where there is one.
pub fn run(flags: Flags) -> anyhow::Result<()> {
    logging::start(&flags);
    for warning in &flags.warnings {
        tracing::warn!("{warning}");
    }
    if !flags.idle.is_empty() {
        tracing::info!("flags that have no effect here: --{}", flags.idle.join(", --"));
    }
    let started = Instant::now();
    let written = apart(|| Written::read(&flags))?;
    if flags.mode == Mode::Validate {
        return judge(&flags, &written);
    }
    let signals = shutdown::Signals::catch().context("signals cannot be received")?;
    limits::raise_descriptors();
    drain::set_time(flags.drain_time, !flags.immediate_drain);
    let workers = flags.concurrency.unwrap_or_else(limits::cpus);
    let published = Arc::new(Published::new());
    let crew = Crew::start(workers, published.clone()).context("the worker threads cannot be started")?;
    let start = Start {
        bootstrap: written.message.clone(),
        service_node: flags.service_node.as_deref().map(Into::into),
        service_cluster: flags.service_cluster.as_deref().map(Into::into),
        published: published.clone(),
        workers: crew.clone(),
        state_dir: state_dir(&flags, &written),
    };
    let (control, _thread) = Control::start(start).map_err(|error| written.explain(&error))?;
    let unknown = written.unknown;
    drop(written);
    let ignored = &control.settings().not_obeyed;
    if !ignored.is_empty() {
        tracing::warn!("accepted and not obeyed by this release: {}", ignored.join(", "));
    }
    limit::set(control.settings().connection_limit());
    health(published.clone())?;
    if let Some(dir) = &flags.mesh_config {
        mesh::Mesh::start(dir, &flags, control.clone())?;
    }
    let admin_address = control.settings().admin.clone();
    let shutdown = shutdown::Shutdown::new(crew.clone(), control.clone(), flags.shutdown_grace);
    let view = Arc::new(View::new(control, published, crew, shutdown.clone(), &flags, workers, started));
    // The view owns the control thread's handle: it lives as long as the process, with or without an admin listener.
    let _admin = admin_address.map(|address| serve_admin(&address, view.clone(), &flags)).transpose()?;
    let _server = counted(started, unknown);
    tracing::info!(workers, "serving");
    weir_sys::give_back_memory();
    shutdown.wait(signals);
    Ok(())
}

/// Where the last good state is kept.
fn state_dir(flags: &Flags, written: &Written) -> Option<StateDir> {
    let given = flags.state_dir.clone().map(OsString::from).or_else(|| std::env::var_os("WEIR_STATE_DIR"));
    let path = given.filter(|path| !path.is_empty())?;
    if written.message.dynamic_resources.is_none() {
        tracing::warn!("--state-dir has no effect: the bootstrap has no dynamic_resources");
        return None;
    }
    if flags.mesh_config.is_some() {
        tracing::warn!(
            "--state-dir has no effect with --mesh-config: the folder itself is the last good state"
        );
        return None;
    }
    let ready = flags.last_good_counts_as_ready;
    Some(StateDir { path: path.into(), bootstrap: written.hash(), ready })
}

fn serve_admin(address: &Address, view: Arc<View>, flags: &Flags) -> anyhow::Result<admin::Admin> {
    let listening =
        admin::bind(address).with_context(|| format!("the admin address {address} cannot be bound"))?;
    let admin = admin::start(listening, view, admin::Options::default())?;
    if let (Some(path), Some(at)) = (&flags.admin_address_path, admin.address) {
        std::fs::write(path, at.to_string())
            .with_context(|| format!("--admin-address-path: {path} cannot be written"))?;
    }
    Ok(admin)
}

/// The statistics of the process that do not change once it serves.
fn counted(started: Instant, unknown: u64) -> Cells {
    let server = Registry::global().cells(&server::SCHEMA, "server.");
    server.add(server::STATIC_UNKNOWN_FIELDS, unknown);
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    server.record(server::INITIALIZATION_TIME_MS, took);
    server.gauge_set(server::HOT_RESTART_EPOCH, 0);
    server.gauge_set(server::PARENT_CONNECTIONS, 0);
    server
}

/// The thread that gives ejected hosts back, and the live clusters' own statistics.
fn health(published: Arc<Published>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let shown = published.clone();
    let stats: Arc<dyn Source> = LiveStats::new(move || shown.load());
    Registry::global().add_source(Arc::downgrade(&stats));
    std::thread::Builder::new().name("health".into()).spawn(move || {
        // The registry asks the source as long as this thread holds it.
        let _stats = stats;
        runtime.block_on(watch::run(move || published.load()));
    })?;
    Ok(())
}

/// Runs on a thread of its own: what it allocates and frees (the descriptor pool: 15 MB) goes back to the system when
/// the thread ends.
fn apart<R: Send>(work: impl FnOnce() -> anyhow::Result<R> + Send) -> anyhow::Result<R> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(anyhow!("the configuration cannot be read")))
}

/// `--mode validate`: judges the bootstrap and the folder of `--mesh-config`, and opens no socket.
fn judge(flags: &Flags, written: &Written) -> anyhow::Result<()> {
    let judgement = validate(&written.message).map_err(|error| written.explain(&error))?;
    let mut out = std::io::stdout();
    if let Some(path) = &flags.config_path {
        writeln!(out, "configuration '{path}' OK")?;
    } else if flags.config_yaml.is_some() {
        writeln!(out, "configuration '--config-yaml' OK")?;
    }
    if let Some(dir) = &flags.mesh_config {
        let told = mesh::judge(dir, flags, judgement)?;
        writeln!(out, "{told}configuration '{dir}' OK")?;
    }
    Ok(())
}
