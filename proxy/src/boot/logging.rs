//! The program's own log.

use super::flags::Flags;
use tracing_subscriber::EnvFilter;

/// Envoy's level names in tracing's words.
pub fn level(name: &str) -> &'static str {
    match name {
        "trace" => "trace",
        "debug" => "debug",
        "warning" | "warn" => "warn",
        "error" | "critical" => "error",
        "off" => "off",
        _ => "info",
    }
}

/// Starts logging to standard error or `--log-path`. A second call changes nothing.
pub fn start(flags: &Flags) {
    let mut filter = level(&flags.log_level).to_owned();
    for part in flags.component_log_level.as_deref().unwrap_or_default().split(',') {
        if let Some((component, wanted)) = part.split_once(':') {
            filter.push_str(&format!(",weir_proxy::{component}={}", level(wanted)));
        }
    }
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_target(true);
    let file = flags.log_path.as_ref().map(|path| {
        std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(|error| (path, error))
    });
    let started = match file {
        Some(Ok(file)) => builder.with_ansi(false).with_writer(std::sync::Mutex::new(file)).try_init(),
        None => builder.with_ansi(false).with_writer(std::io::stderr).try_init(),
        Some(Err((path, error))) => {
            let started = builder.with_ansi(false).with_writer(std::io::stderr).try_init();
            tracing::error!(%error, "--log-path: {path} cannot be opened; logging to standard error");
            started
        }
    };
    // Already started by an embedding program: its choice stands.
    drop(started);
}
