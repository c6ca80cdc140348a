//! `/logging`

use super::Endpoint;
use super::call::{Call, Reply};
use hyper::StatusCode;
use std::fmt::Write;

pub(super) const ENDPOINT: Endpoint = Endpoint {
    path: "/logging",
    changes: true,
    help: "query/change logging levels",
    params: &[
        ("paths", "change several levels: <logger>:<level>,<logger>:<level>"),
        ("level", "desired level of all loggers; One of (trace, debug, info, warning, error, critical, off)"),
        ("<logger>", "desired level of that logger"),
    ],
    answer,
};

const LEVELS: [&str; 7] = ["trace", "debug", "info", "warning", "error", "critical", "off"];

const USAGE: &str = concat!(
    "usage: /logging?<name>=<level> (change single level)\n",
    "usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n",
    "usage: /logging?level=<level> (change all levels)\n",
    "levels: trace debug info warning error critical off \n",
);

/// The changes that a query asks for, logger (none: all) and level.
fn changes<'a>(call: &'a Call<'_>) -> Result<Vec<(Option<&'a str>, &'a str)>, String> {
    let mut changes = Vec::new();
    for (key, value) in call.query.iter() {
        match key {
            "level" => changes.push((None, value)),
            "paths" => {
                for part in value.split(',') {
                    let (logger, level) =
                        part.rsplit_once(':').ok_or("empty logger name or empty logger level")?;
                    changes.push((Some(logger), level));
                }
            }
            "group" => return Err("groups of loggers are not supported: use paths".into()),
            logger => changes.push((Some(logger), value)),
        }
    }
    let unknown = changes.iter().any(|(_, level)| !LEVELS.contains(level) && *level != "warn");
    if unknown { Err("unknown logger level".into()) } else { Ok(changes) }
}

fn answer(call: &Call<'_>) -> Reply {
    let done = changes(call).and_then(|changes| {
        changes.iter().try_for_each(|(logger, level)| call.state.set_log_level(*logger, level))
    });
    let mut out = String::new();
    if let Err(error) = &done {
        let _ = writeln!(out, "error: {error}\n\n{USAGE}");
    }
    out.push_str("active loggers:\n");
    for (logger, level) in call.state.log_levels() {
        let _ = writeln!(out, "  {logger}: {level}");
    }
    match done {
        Ok(()) => Reply::text(out),
        Err(_) => Reply::refused(StatusCode::BAD_REQUEST, out),
    }
}
