//! The program's own log, and its levels while it runs.

use super::flags::Flags;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The levels, for messages.
pub const LEVELS: &str = "trace, debug, info, warning, error, critical or off";

/// What has a level of its own: the rooms of this crate.
const COMPONENTS: [&str; 13] = [
    "admin",
    "base",
    "boot",
    "codec",
    "control",
    "http",
    "listen",
    "live",
    "observe",
    "route",
    "tcp",
    "transport",
    "upstream",
];

/// The further names that Envoy 1.40 has: `--component-log-level` takes them, for those who start Envoy with them, and they
/// have no effect.
const ENVOYS: &str = "a2a ai_protocol_manager alternate_protocols_cache assert aws backtrace basic_auth cache_filter \
     client compression config conn_handler connection credential_injector decompression dns dubbo \
     dynamic_modules envoy_bug ext_authz ext_proc file filter forward_proxy geolocation golang grpc \
     happy_eyeballs hc health_checker http2 hystrix init io ip_tagging json_rpc jwt kafka key_value_store \
     local_rate_limit lua main matcher mcp misc mongo multi_connection notification oauth2 pool quic \
     quic_stream rate_limit_quota rbac rds redis rocketmq router runtime secret sse stats stats_sinks tap \
     testing thrift tracing udp wasm websocket";

/// Whether `--component-log-level` may name a component.
///
/// # Errors
/// Neither we nor Envoy have it.
pub fn component(name: &str) -> Result<(), String> {
    if COMPONENTS.contains(&name) || ENVOYS.split(' ').any(|known| known == name) {
        return Ok(());
    }
    let own = COMPONENTS.join(", ");
    Err(format!(
        "invalid component '{name}'; there are {own}; Envoy's, such as misc and router, are taken without effect"
    ))
}

/// Envoy's level names in tracing's words.
pub fn level(name: &str) -> Option<&'static str> {
    match name {
        "trace" => Some("trace"),
        "debug" => Some("debug"),
        "info" => Some("info"),
        "warning" | "warn" => Some("warn"),
        "error" | "critical" => Some("error"),
        "off" => Some("off"),
        _ => None,
    }
}

/// Levels in force.
struct Levels {
    others: &'static str,
    components: Vec<(String, &'static str)>,
}

impl Levels {
    /// Sets the level of one component, or of all.
    fn set(&mut self, component: Option<&str>, wanted: &'static str) {
        let Some(component) = component else {
            self.components.clear();
            self.others = wanted;
            return;
        };
        self.components.retain(|(known, _)| known != component);
        self.components.push((component.to_owned(), wanted));
    }

    fn of(&self, component: &str) -> &'static str {
        self.components.iter().find(|(known, _)| known == component).map_or(self.others, |(_, level)| level)
    }

    fn filter(&self) -> EnvFilter {
        let parts = self.components.iter().map(|(name, level)| format!(",weir_proxy::{name}={level}"));
        EnvFilter::new(std::iter::once(self.others.to_owned()).chain(parts).collect::<String>())
    }
}

static IN_FORCE: Mutex<Levels> = Mutex::new(Levels { others: "info", components: Vec::new() });

/// Puts another filter in force.
type Reload = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;
static RELOAD: OnceLock<Reload> = OnceLock::new();

fn in_force() -> MutexGuard<'static, Levels> {
    IN_FORCE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts logging to standard error or `--log-path`. A second call changes nothing.
pub fn start(flags: &Flags) {
    let mut levels = in_force();
    levels.set(None, level(&flags.log_level).unwrap_or("info"));
    for part in flags.component_log_level.as_deref().unwrap_or_default().split(',') {
        if let Some((component, wanted)) = part.split_once(':')
            && let Some(wanted) = level(wanted)
        {
            levels.set(Some(component), wanted);
        }
    }
    let file = flags.log_path.as_ref().map(|path| {
        std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(|error| (path, error))
    });
    match file {
        Some(Ok(file)) => install(levels.filter(), Mutex::new(file)),
        None => install(levels.filter(), std::io::stderr),
        Some(Err((path, error))) => {
            install(levels.filter(), std::io::stderr);
            tracing::error!(%error, "--log-path: {path} cannot be opened; logging to standard error");
        }
    }
}

fn install<W>(filter: EnvFilter, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_target(true)
        .with_ansi(false)
        .with_writer(writer)
        .with_env_filter(filter)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    // Where an embedding program has started to log already, its choice stands.
    if builder.try_init().is_ok() {
        // The only setter: a second `try_init` fails.
        let _ = RELOAD.set(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
    }
}

/// Every component and its level.
pub fn levels() -> Vec<(String, String)> {
    let levels = in_force();
    COMPONENTS.iter().map(|name| ((*name).to_owned(), levels.of(name).to_owned())).collect()
}

/// Changes the level of a component, or of all, while the process runs.
///
/// # Errors
/// There is no such component or level, or an embedding program has a log of its own.
pub fn set(component: Option<&str>, wanted: &str) -> Result<(), String> {
    let wanted = level(wanted).ok_or_else(|| format!("'{wanted}' is not {LEVELS}"))?;
    if let Some(name) = component.filter(|name| !COMPONENTS.contains(name)) {
        return Err(format!("unknown logger name '{name}'; there are {}", COMPONENTS.join(", ")));
    }
    let reload = RELOAD.get().ok_or("this process does not keep its own log")?;
    let mut levels = in_force();
    levels.set(component, wanted);
    reload(levels.filter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_for_all_replaces_those_of_components() {
        let mut levels = Levels { others: "info", components: Vec::new() };
        levels.set(Some("http"), "debug");
        levels.set(Some("http"), "trace");
        assert_eq!((levels.of("http"), levels.of("tcp")), ("trace", "info"));
        assert_eq!(levels.filter().to_string(), "weir_proxy::http=trace,info");
        levels.set(None, "off");
        assert_eq!((levels.of("http"), levels.of("tcp")), ("off", "off"));
        assert!(set(Some("nonsense"), "info").unwrap_err().contains("unknown logger"));
        assert!(set(None, "loud").unwrap_err().contains("'loud' is not"));
    }
}
