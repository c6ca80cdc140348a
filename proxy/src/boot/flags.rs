//! The command line: Envoy's flags (spec 6.5) and weir's own. An unknown flag is a warning, never the end: a newer
//! agent must not put a fleet into a crash loop.

use super::values::{duration, level, number, pairs};
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

type Set = fn(&mut Flags, &str) -> Result<(), String>;

enum Takes {
    /// No value.
    Nothing(fn(&mut Flags)),
    /// A value.
    Value(&'static str, Set),
    /// A value that has no meaning here; Envoy knows the flag.
    Ignored(bool),
}

struct Flag {
    name: &'static str,
    short: Option<char>,
    takes: Takes,
    help: &'static str,
}

/// What the help of a flag begins with that means nothing without `--mesh-config`.
const WITH_MESH: &str = "with --mesh-config:";

const FLAGS: &[Flag] = &[
    Flag {
        name: "config-path",
        short: Some('c'),
        takes: Takes::Value("FILE", |f, v| {
            f.config_path = Some(v.into());
            Ok(())
        }),
        help: "bootstrap, YAML or JSON (Envoy v3)",
    },
    Flag {
        name: "config-yaml",
        short: None,
        takes: Takes::Value("TEXT", |f, v| {
            f.config_yaml = Some(v.into());
            Ok(())
        }),
        help: "bootstrap text, merged over the file",
    },
    Flag {
        name: "mesh-config",
        short: None,
        takes: Takes::Value("DIR", |f, v| {
            f.mesh_config = Some(v.into());
            Ok(())
        }),
        help: "Istio and Kubernetes YAML, watched; no control plane",
    },
    Flag {
        name: "listen-port-map",
        short: None,
        takes: Takes::Value("80=8080,..", |f, v| {
            f.listen_port_map =
                pairs(v)?.iter().map(|(a, b)| Ok((number(a)?, number(b)?))).collect::<Result<_, String>>()?;
            Ok(())
        }),
        help: "with --mesh-config: ports to listen on instead",
    },
    Flag {
        name: "gateway-labels",
        short: None,
        takes: Takes::Value("k=v,..", |f, v| {
            f.gateway_labels = pairs(v)?;
            Ok(())
        }),
        help: "with --mesh-config: labels that Gateway selectors match",
    },
    Flag {
        name: "ingress-class",
        short: None,
        takes: Takes::Value("NAME", |f, v| {
            f.ingress_class = Some(v.into());
            Ok(())
        }),
        help: "with --mesh-config: take Ingresses of this class only",
    },
    Flag {
        name: "mode",
        short: None,
        takes: Takes::Value("MODE", |f, v| {
            f.mode = match v {
                "serve" => Mode::Serve,
                "validate" | "init_only" => Mode::Validate,
                _ => return Err(format!("'{v}' is not serve, validate or init_only")),
            };
            Ok(())
        }),
        help: "serve (default), validate, init_only",
    },
    Flag {
        name: "concurrency",
        short: None,
        takes: Takes::Value("N", |f, v| {
            let n: usize = number(v)?;
            if n > crate::live::worker::MAX_WORKERS {
                return Err(format!("{n} is more than {} workers", crate::live::worker::MAX_WORKERS));
            }
            f.concurrency = Some(n).filter(|n| *n > 0);
            Ok(())
        }),
        help: "worker threads; default: processors within the cgroup's limit",
    },
    Flag {
        name: "log-level",
        short: Some('l'),
        takes: Takes::Value("LEVEL", |f, v| {
            f.log_level = level(v)?.into();
            Ok(())
        }),
        help: "trace, debug, info (default), warning, error, critical, off",
    },
    Flag {
        name: "component-log-level",
        short: None,
        takes: Takes::Value("a:debug,..", |f, v| {
            for part in v.split(',') {
                let (_, wanted) =
                    part.split_once(':').ok_or_else(|| format!("'{part}' is not component:level"))?;
                level(wanted)?;
            }
            f.component_log_level = Some(v.into());
            Ok(())
        }),
        help: "levels of single components",
    },
    Flag {
        name: "log-path",
        short: None,
        takes: Takes::Value("FILE", |f, v| {
            f.log_path = Some(v.into());
            Ok(())
        }),
        help: "log to a file",
    },
    Flag {
        name: "service-node",
        short: None,
        takes: Takes::Value("ID", |f, v| {
            f.service_node = Some(v.into());
            Ok(())
        }),
        help: "node id",
    },
    Flag {
        name: "service-cluster",
        short: None,
        takes: Takes::Value("NAME", |f, v| {
            f.service_cluster = Some(v.into());
            Ok(())
        }),
        help: "node cluster",
    },
    Flag {
        name: "drain-time-s",
        short: None,
        takes: Takes::Value("S", |f, v| {
            f.drain_time = Duration::from_secs(number(v)?);
            Ok(())
        }),
        help: "time over which connections drain (600)",
    },
    Flag {
        name: "drain-strategy",
        short: None,
        takes: Takes::Value("HOW", |f, v| {
            f.immediate_drain = match v {
                "gradual" => false,
                "immediate" => true,
                _ => return Err(format!("'{v}' is not gradual or immediate")),
            };
            Ok(())
        }),
        help: "gradual (default), immediate",
    },
    Flag {
        name: "shutdown-grace",
        short: None,
        takes: Takes::Value("S", |f, v| {
            f.shutdown_grace = duration(v)?;
            Ok(())
        }),
        help: "longest time from SIGTERM to the end (25s)",
    },
    Flag {
        name: "admin-address-path",
        short: None,
        takes: Takes::Value("FILE", |f, v| {
            f.admin_address_path = Some(v.into());
            Ok(())
        }),
        help: "write the admin address to a file",
    },
    Flag {
        name: "file-flush-interval-msec",
        short: None,
        takes: Takes::Value("MS", |_, v| {
            crate::observe::log::set_flush_interval(Duration::from_millis(number(v)?));
            Ok(())
        }),
        help: "access log flush interval",
    },
    Flag {
        name: "allow-unknown-static-fields",
        short: None,
        takes: Takes::Nothing(|f| f.allow_unknown = true),
        help: "ignore unknown fields of the bootstrap",
    },
    Flag {
        name: "allow-unknown-fields",
        short: None,
        takes: Takes::Nothing(|f| f.allow_unknown = true),
        help: "the same (deprecated)",
    },
    Flag { name: "service-zone", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "parent-shutdown-time-s", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "local-address-ip-version", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "log-format", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "base-id", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "base-id-path", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "restart-epoch", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "socket-path", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "socket-mode", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "file-flush-min-size-kb", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "disable-extensions", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "stats-tag", short: None, takes: Takes::Ignored(true), help: "" },
    Flag { name: "disable-hot-restart", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "use-dynamic-base-id", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "cpuset-threads", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "log-format-escaped", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "enable-fine-grain-logging", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "skip-hot-restart-on-no-parent", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "skip-hot-restart-parent-stats", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "reject-unknown-dynamic-fields", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "ignore-unknown-dynamic-fields", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "enable-mutex-tracing", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "enable-core-dump", short: None, takes: Takes::Ignored(false), help: "" },
    Flag { name: "skip-deprecated-logs", short: None, takes: Takes::Ignored(false), help: "" },
];

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
            if matches!(flag.takes, Takes::Value(..) | Takes::Ignored(true)) && value.is_none() {
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
                Takes::Ignored(_) => {}
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

fn unknown(arg: &str, name: &str) -> String {
    let near = FLAGS.iter().map(|f| (distance(f.name, name), f.name)).min();
    match near {
        Some((steps, near)) if steps <= 3 => format!("unknown flag {arg} is ignored; did you mean --{near}?"),
        _ => format!("unknown flag {arg} is ignored"),
    }
}

/// Edit distance (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.chars().enumerate() {
            let (left, above) = (row.get(j).copied().unwrap_or(0), row.get(j + 1).copied().unwrap_or(0));
            let cost = (before + usize::from(x != y)).min(left + 1).min(above + 1);
            before = above;
            if let Some(slot) = row.get_mut(j + 1) {
                *slot = cost;
            }
        }
    }
    row.last().copied().unwrap_or(0)
}

fn help() -> String {
    let mut text = String::from(
        "weir: a service-mesh data plane\n\nweir -c FILE [flags]\nweir --mesh-config DIR [flags]\n\n",
    );
    for flag in FLAGS.iter().filter(|f| !f.help.is_empty()) {
        let value = match flag.takes {
            Takes::Value(value, _) => format!(" {value}"),
            _ => String::new(),
        };
        let short = flag.short.map(|s| format!("-{s}, ")).unwrap_or_default();
        text.push_str(&format!("  {:<38}{}\n", format!("{short}--{}{value}", flag.name), flag.help));
    }
    text.push_str("  --version\n\nEnvoy's other flags are accepted and have no effect.\n");
    text
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
            ("--component-log-level upstream:dbg", "'dbg' is not trace"),
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
