//! The command line: Envoy's flags (spec 6.5) and weir's own. An unknown flag is a warning, never the end: a newer
//! agent must not put a fleet into a crash loop.

use super::flag_table::{FLAGS, Takes, WITH_MESH, help, unknown};
use std::time::Duration;

/// `--mode`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Serve.
    #[default]
    Serve,
    /// Judge the configuration and exit.
    Validate,
}

/// Everything the command line says.
#[derive(Clone, Debug)]
pub struct Flags {
    /// `-c`, `--config-path`
    pub config_path: Option<String>,
    /// `--config-yaml`
    pub config_yaml: Option<String>,
    /// `--mesh-config`
    pub mesh_config: Option<String>,
    /// `--mode`
    pub mode: Mode,
    /// `--concurrency`; none: from the processors and the cgroup.
    pub concurrency: Option<usize>,
    /// `-l`, `--log-level`
    pub log_level: String,
    /// `--component-log-level`
    pub component_log_level: Option<String>,
    /// `--log-path`
    pub log_path: Option<String>,
    /// `--service-node`
    pub service_node: Option<String>,
    /// `--service-cluster`
    pub service_cluster: Option<String>,
    /// `--drain-time-s` (600 s)
    pub drain_time: Duration,
    /// `--drain-strategy immediate`
    pub immediate_drain: bool,
    /// `--shutdown-grace` (25 s): longest time from SIGTERM to the end.
    pub shutdown_grace: Duration,
    /// `--admin-address-path`
    pub admin_address_path: Option<String>,
    /// `--allow-unknown-static-fields`
    pub allow_unknown: bool,
    /// `--listen-port-map 80=8080,...`
    pub listen_port_map: Vec<(u16, u16)>,
    /// `--gateway-labels k=v,...`
    pub gateway_labels: Vec<(String, String)>,
    /// `--ingress-class`
    pub ingress_class: Option<String>,
    /// `--service-zone`
    pub service_zone: Option<String>,
    /// `--stats-tag`, each a name and a value.
    pub stats_tags: Vec<(String, String)>,
    /// `--state-dir`
    pub state_dir: Option<String>,
    /// `--last-good-counts-as-ready`
    pub last_good_counts_as_ready: bool,
    /// Flags of Envoy's that were given and mean nothing here.
    pub idle: Vec<&'static str>,
    /// Flags in the words of `/server_info`.
    pub given: Vec<(String, String)>,
    /// What was not understood.
    pub warnings: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Wish {
    /// Run.
    Run(Box<Flags>),
    /// Print this and exit 0.
    Print(String),
}

impl Default for Flags {
    fn default() -> Self {
        Flags {
            config_path: None,
            config_yaml: None,
            mesh_config: None,
            mode: Mode::Serve,
            concurrency: None,
            log_level: "info".into(),
            component_log_level: None,
            log_path: None,
            service_node: None,
            service_cluster: None,
            drain_time: Duration::from_secs(600),
            immediate_drain: false,
            shutdown_grace: Duration::from_secs(25),
            admin_address_path: None,
            allow_unknown: false,
            listen_port_map: Vec::new(),
            gateway_labels: Vec::new(),
            ingress_class: None,
            service_zone: None,
            stats_tags: Vec::new(),
            state_dir: None,
            last_good_counts_as_ready: false,
            idle: Vec::new(),
            given: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

impl Flags {
    /// Reads the arguments (without the program's name).
    ///
    /// # Errors
    /// A known flag with a value that cannot be, or without the value it needs.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Wish, String> {
        let mut flags = Flags::default();
        let mut args = args.into_iter().peekable();
        while let Some(arg) = args.next() {
            let (name, mut value) = match arg.strip_prefix("--") {
                Some(long) => match long.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (long.to_owned(), None),
                },
                None => (arg.trim_start_matches('-').to_owned(), None),
            };
            match name.as_str() {
                "version" => return Ok(Wish::Print(super::version())),
                "help" | "h" => return Ok(Wish::Print(help())),
                "hot-restart-version" => return Ok(Wish::Print("disabled".into())),
                _ => {}
            }
            let found =
                FLAGS.iter().find(|f| f.name == name || f.short.is_some_and(|s| arg == format!("-{s}")));
            let Some(flag) = found else {
                flags.warnings.push(unknown(&arg, &name));
                // A value that belongs to it, perhaps.
                if value.is_none() && args.peek().is_some_and(|next| !next.starts_with('-')) {
                    args.next();
                }
                continue;
            };
            if matches!(flag.takes, Takes::Value(..) | Takes::Idle(Some(_))) && value.is_none() {
                value = args.next();
                if value.is_none() {
                    return Err(format!("--{} needs a value", flag.name));
                }
            }
            let value = value.unwrap_or_default();
            match &flag.takes {
                Takes::Nothing(set) => set(&mut flags),
                Takes::Value(_, set) => {
                    set(&mut flags, &value).map_err(|why| format!("--{}: {why}", flag.name))?
                }
                Takes::Idle(judge) => {
                    judge
                        .map_or(Ok(()), |judge| judge(&value))
                        .map_err(|why| format!("--{}: {why}", flag.name))?;
                    flags.idle.push(flag.name);
                }
            }
            flags.given.push((flag.name.replace('-', "_"), value));
        }
        if flags.mesh_config.is_none() {
            let idle = FLAGS.iter().filter(|f| f.help.starts_with(WITH_MESH));
            for flag in
                idle.filter(|f| flags.given.iter().any(|(given, _)| *given == f.name.replace('-', "_")))
            {
                flags.warnings.push(format!("--{} has no effect without --mesh-config", flag.name));
            }
        }
        Ok(Wish::Run(Box::new(flags)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Box<Flags>, String> {
        match Flags::parse(text.split_whitespace().map(str::to_owned))? {
            Wish::Run(flags) => Ok(flags),
            Wish::Print(text) => Err(text),
        }
    }

    #[test]
    fn envoys_flags_are_taken() {
        let flags = parse("-c a.yaml --concurrency 2 --drain-time-s=45 --disable-hot-restart --base-id 3 -l debug --service-node n").unwrap();
        assert_eq!((flags.config_path.as_deref(), flags.concurrency), (Some("a.yaml"), Some(2)));
        assert_eq!((flags.drain_time.as_secs(), flags.log_level.as_str()), (45, "debug"));
        assert!(flags.warnings.is_empty());
        assert_eq!(flags.idle, ["disable-hot-restart", "base-id"]);
        let flags = parse("-c a --stats-tag a:b --stats-tag c.d:/e --service-zone z").unwrap();
        assert_eq!(flags.stats_tags, [("a".into(), "b".into()), ("c.d".into(), "/e".into())]);
        assert_eq!(flags.service_zone.as_deref(), Some("z"));
    }

    /// As pilot-agent starts the proxy (recorded).
    #[test]
    fn every_flag_of_envoy_is_known() {
        let known = "--allow-unknown-fields --allow-unknown-static-fields --base-id 1 --base-id-path f --component-log-level admin:info,misc:error --concurrency 1 --config-path f --config-yaml {} --cpuset-threads --disable-extensions a --disable-hot-restart --drain-strategy gradual --drain-time-s 1 --enable-core-dump --enable-fine-grain-logging --enable-mutex-tracing --file-flush-interval-msec 10000 --file-flush-min-size-kb 64 --ignore-unknown-dynamic-fields --local-address-ip-version v6 --log-format %v --log-format-escaped --log-level warn --log-path f --log-stacktrace-single-entry --mode serve --parent-shutdown-time-s 1 --reject-unknown-dynamic-fields --restart-epoch 0 --service-cluster c --service-node n --service-zone z --skip-deprecated-logs --skip-hot-restart-on-no-parent --skip-hot-restart-parent-stats --socket-mode 0600 --socket-path @p --stats-tag a:b --use-dynamic-base-id --admin-address-path f";
        let flags = parse(known).unwrap();
        assert!(flags.warnings.is_empty(), "{:?}", flags.warnings);
    }

    #[test]
    fn unknown_ones_are_warnings() {
        let flags = parse("--concurency 3 -c a").unwrap();
        assert_eq!(flags.warnings, ["unknown flag --concurency is ignored; did you mean --concurrency?"]);
        assert_eq!(flags.config_path.as_deref(), Some("a"));
        assert!(parse("--concurrency x").unwrap_err().contains("not a number"));
        assert!(parse("-c").unwrap_err().contains("needs a value"));
        let idle = parse("-c a --ingress-class x").unwrap();
        assert_eq!(idle.warnings, ["--ingress-class has no effect without --mesh-config"]);
        for (bad, why) in [
            ("-l loud", "--log-level: 'loud' is not trace, debug, info"),
            ("--component-log-level upstream", "'upstream' is not component:level"),
            ("--component-log-level nope:debug", "invalid component 'nope'; there are admin"),
            ("--component-log-level upstream:dbg", "'dbg' is not trace"),
            ("--base-id x", "--base-id: 'x' is not a number"),
            ("--local-address-ip-version v5", "'v5' is not v4 or v6"),
            ("--socket-mode 9", "octal"),
            ("--stats-tag a", "misformatted stats-tag 'a'"),
            ("--drain-strategy fast", "'fast' is not gradual or immediate"),
            ("--shutdown-grace soon", "'soon' is not a duration"),
            ("--shutdown-grace -1", "'-1' is not a duration"),
            ("--listen-port-map 80=99999", "'99999' is not a number in range"),
        ] {
            assert!(parse(bad).unwrap_err().contains(why), "{bad}");
        }
        assert!(parse("--help").unwrap_err().contains("--mesh-config DIR"));
    }
}
