//! The table of flags: Envoy's (spec 6.5) and weir's own.

use super::flags::{Flags, Mode};
use super::logging;
use super::values::{duration, level, number, pairs};
use std::time::Duration;

pub(super) type Set = fn(&mut Flags, &str) -> Result<(), String>;

pub(super) enum Takes {
    /// No value.
    Nothing(fn(&mut Flags)),
    /// A value.
    Value(&'static str, Set),
    /// Of Envoy's, without meaning here; a value must be as Envoy wants it.
    Idle(Option<Judge>),
}

/// Says what is wrong with a value.
type Judge = fn(&str) -> Result<(), String>;

pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) short: Option<char>,
    pub(super) takes: Takes,
    pub(super) help: &'static str,
}

/// What the help of a flag begins with that means nothing without `--mesh-config`.
pub(super) const WITH_MESH: &str = "with --mesh-config:";

pub(super) const FLAGS: &[Flag] = &[
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
                let (component, wanted) =
                    part.split_once(':').ok_or_else(|| format!("'{part}' is not component:level"))?;
                logging::component(component)?;
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
    Flag {
        name: "service-zone",
        short: None,
        takes: Takes::Value("ZONE", |f, v| {
            f.service_zone = Some(v.into());
            Ok(())
        }),
        help: "node's zone",
    },
    Flag {
        name: "stats-tag",
        short: None,
        takes: Takes::Value("NAME:VALUE", |f, v| {
            f.stats_tags.push(stats_tag(v)?);
            Ok(())
        }),
        help: "a tag on every statistic; may be given again",
    },
    Flag {
        name: "state-dir",
        short: None,
        takes: Takes::Value("DIR", |f, v| {
            f.state_dir = Some(v.into());
            Ok(())
        }),
        help: "keep the last good state here (WEIR_STATE_DIR)",
    },
    Flag {
        name: "last-good-counts-as-ready",
        short: None,
        takes: Takes::Nothing(|f| f.last_good_counts_as_ready = true),
        help: "ready with it, before a control plane answers",
    },
    idle("parent-shutdown-time-s", Some(whole)),
    idle("local-address-ip-version", Some(ip_version)),
    idle("log-format", Some(any)),
    idle("base-id", Some(whole)),
    idle("base-id-path", Some(any)),
    idle("restart-epoch", Some(whole)),
    idle("socket-path", Some(any)),
    idle("socket-mode", Some(octal)),
    idle("file-flush-min-size-kb", Some(whole)),
    idle("disable-extensions", Some(any)),
    idle("disable-hot-restart", None),
    idle("use-dynamic-base-id", None),
    idle("cpuset-threads", None),
    idle("log-format-escaped", None),
    idle("log-stacktrace-single-entry", None),
    idle("enable-fine-grain-logging", None),
    idle("skip-hot-restart-on-no-parent", None),
    idle("skip-hot-restart-parent-stats", None),
    idle("reject-unknown-dynamic-fields", None),
    idle("ignore-unknown-dynamic-fields", None),
    idle("enable-mutex-tracing", None),
    idle("enable-core-dump", None),
    idle("skip-deprecated-logs", None),
];

const fn idle(name: &'static str, value: Option<Judge>) -> Flag {
    Flag { name, short: None, takes: Takes::Idle(value), help: "" }
}

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn whole(value: &str) -> Result<(), String> {
    number::<u64>(value).map(drop)
}

fn octal(value: &str) -> Result<(), String> {
    match u32::from_str_radix(value, 8) {
        Ok(mode) if mode <= 0o777 => Ok(()),
        _ => Err(format!("'{value}' is not a mode in octal digits (0600)")),
    }
}

fn ip_version(value: &str) -> Result<(), String> {
    match value {
        "v4" | "v6" => Ok(()),
        _ => Err(format!("'{value}' is not v4 or v6")),
    }
}

/// `NAME:VALUE`, both in the characters that Envoy takes.
fn stats_tag(text: &str) -> Result<(String, String), String> {
    let misformatted = || format!("misformatted stats-tag '{text}'; write NAME:VALUE");
    let (name, value) = text.split_once(':').ok_or_else(misformatted)?;
    let named = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let valued = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:/@".contains(&b));
    if name.is_empty() || value.is_empty() || !named || !valued {
        return Err(misformatted());
    }
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn help() -> String {
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
    text.push_str(
        "  --version\n\nEnvoy's other flags are accepted and have no effect; the program's log names them.\n",
    );
    text
}

pub(super) fn unknown(arg: &str, name: &str) -> String {
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
