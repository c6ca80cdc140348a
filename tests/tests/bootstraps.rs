//! Bootstraps of the public and of pilot-agent: which load, and what the others lack, against a committed table
//! (`BOOTSTRAPS_WRITE=1` writes it anew). And bootstraps with one mistake each: Envoy refuses them, and weir does with
//! the field and the reason.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use weir_tests::oracle::binaries;
use weir_tests::suite::Suite;

/// Corpora of public bootstraps, each with Envoy's verdicts.
const PUBLIC: [&str; 3] = ["envoy-config-yaml", "envoy-examples-yaml", "go-control-plane-bootstraps"];
/// Recorded starts of pilot-agent.
const RECORDED: &str = "istiod-recorded/pilot-agent";
const TABLE: &str = "tests/data/bootstraps.txt";
const REFUSED: &str = "tests/data/refused-bootstraps.yaml";

fn corpora() -> PathBuf {
    std::env::var_os("WEIR_CORPORA").map_or_else(|| binaries::root().join("../shared/corpora"), PathBuf::from)
}

/// What a program says of a bootstrap.
struct Verdict {
    accepted: bool,
    said: String,
}

fn validate(program: &Path, arguments: &[&str]) -> anyhow::Result<Verdict> {
    let shown = || program.display().to_string();
    let out =
        Command::new(program).args(arguments).args(["--mode", "validate"]).output().with_context(shown)?;
    let said = [String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)].concat();
    match out.status.code() {
        Some(code @ (0 | 1)) => Ok(Verdict { accepted: code == 0, said }),
        _ => anyhow::bail!("{} ended with {}: {said}", shown(), out.status),
    }
}

/// The paths and reasons of a refusal; those behind the first line of each are its excerpt.
fn complaints(said: &str) -> Vec<(String, String)> {
    let place = |text: &str| text.split(':').count() == 3 && text.split(':').skip(1).all(is_number);
    said.lines()
        .filter_map(|line| {
            let (at, rest) = line.strip_prefix("weir: ").unwrap_or(line).split_once(": ")?;
            let (path, reason) = rest.split_once(": ")?;
            place(at).then(|| (path.to_owned(), reason.to_owned()))
        })
        .collect()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// What a refused bootstrap needs: the type of an extension where the reason names one, else the field.
fn lacking(path: &str, reason: &str) -> String {
    let quoted = |text: &'_ str| text.split('\'').nth(1).filter(|word| word.contains('.')).map(str::to_owned);
    let typed = reason.find("type '").and_then(|at| quoted(reason.get(at..)?));
    let named = typed.or_else(|| quoted(reason)).filter(|word| !word.contains('/'));
    named.unwrap_or_else(|| {
        let fields = path.split('.').map(|step| step.split('[').next().unwrap_or(step));
        let all: Vec<&str> = fields.collect();
        all.iter().skip(all.len().saturating_sub(2)).copied().collect::<Vec<_>>().join(".")
    })
}

fn row(weir: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let verdict = validate(weir, arguments)?;
    if verdict.accepted {
        return Ok("loads".into());
    }
    let lacks: BTreeSet<String> =
        complaints(&verdict.said).iter().map(|(path, reason)| lacking(path, reason)).collect();
    anyhow::ensure!(!lacks.is_empty(), "{}", verdict.said);
    Ok(format!("lacks {}", Vec::from_iter(lacks).join(", ")))
}

/// The corpus' files that Envoy accepts.
fn accepted(corpus: &Path) -> anyhow::Result<Vec<String>> {
    let verdicts: Value = serde_json::from_slice(&std::fs::read(corpus.join("verdicts.json"))?)?;
    let results = verdicts.get("results").and_then(Value::as_object).context("no results")?;
    let fine = |verdict: &Value| verdict.get("verdict").and_then(Value::as_str) == Some("OK");
    Ok(results.iter().filter(|(_, verdict)| fine(verdict)).map(|(file, _)| file.clone()).collect())
}

fn rows(weir: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut rows = BTreeMap::new();
    for corpus in PUBLIC {
        for file in accepted(&corpora().join(corpus))? {
            let path = corpora().join(corpus).join(&file);
            let found = match path.is_file() {
                true => row(weir, &["-c", &path.display().to_string()])
                    .with_context(|| format!("{corpus}/{file}"))?,
                false => "is not among the files".into(),
            };
            rows.insert(format!("{corpus}/{file}"), found);
        }
    }
    for case in std::fs::read_dir(corpora().join(RECORDED))?.flatten() {
        let path = case.path().join("bootstrap.json").display().to_string();
        let text = std::fs::read_to_string(case.path().join("args.txt"))?;
        // As recorded, but for the place of the file.
        let arguments: Vec<&str> =
            text.lines().map(|line| if line.ends_with(".json") { path.as_str() } else { line }).collect();
        rows.insert(format!("{RECORDED}/{}", case.file_name().to_string_lossy()), row(weir, &arguments)?);
    }
    Ok(rows)
}

fn table(rows: &BTreeMap<String, String>) -> String {
    let count = |what: &str| rows.values().filter(|row| row.starts_with(what)).count();
    let mut text = format!(
        "{} bootstraps that Envoy 1.40 accepts: {} load, {} lack something, {} are not among the files\n\n",
        rows.len(),
        count("loads"),
        count("lacks"),
        count("is not")
    );
    rows.iter().for_each(|(file, row)| text.push_str(&format!("{file}: {row}\n")));
    text
}

fn compare(weir: &Path) -> anyhow::Result<()> {
    let found = table(&rows(weir)?);
    println!("{}", found.lines().next().unwrap_or_default());
    let path = binaries::root().join(TABLE);
    if std::env::var_os("BOOTSTRAPS_WRITE").is_some() {
        return Ok(std::fs::write(path, found)?);
    }
    let listed = std::fs::read_to_string(&path)?;
    let (was, now): (BTreeSet<&str>, BTreeSet<&str>) = (listed.lines().collect(), found.lines().collect());
    let changed: Vec<String> = (was.difference(&now).map(|line| format!("- {line}")))
        .chain(now.difference(&was).map(|line| format!("+ {line}")))
        .collect();
    anyhow::ensure!(
        changed.is_empty(),
        "{TABLE} says otherwise (BOOTSTRAPS_WRITE=1 writes it anew):\n{}",
        changed.join("\n")
    );
    Ok(())
}

/// A bootstrap with one mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistake {
    r#in: String,
    text: String,
    at: String,
    says: String,
}

/// What is around a place: the next place outwards, the text there, and the way from there to the inner one.
fn around(place: &str, text: &str) -> anyhow::Result<(&'static str, String, &'static str)> {
    let (next, outer, path) = match place {
        "action" => ("route", format!("match: {{prefix: /}}, route: {{{text}}}"), "route."),
        "route" => ("vhost", format!("routes: [{{{text}}}]"), "routes[0]."),
        "vhost" => {
            ("routes", format!("virtual_hosts: [{{name: v, domains: [\"*\"], {text}}}]"), "virtual_hosts[0].")
        }
        "routes" => {
            ("hcm", format!("http_filters: [${{router}}], route_config: {{{text}}}"), "route_config.")
        }
        "hcm" => ("network", format!("${{hcm}}, stat_prefix: h, {text}"), ""),
        "network" => (
            "top",
            format!(
                "static_resources: {{clusters: [{{name: c, connect_timeout: 1s}}], listeners: [{{name: l, ${{address}}, \
                 filter_chains: [{{filters: [{{name: f, typed_config: {{{text}}}}}]}}]}}]}}"
            ),
            "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.",
        ),
        "listener" => ("listeners", format!("{{name: l, {text}}}"), "listeners[0]."),
        "listeners" => ("top", format!("static_resources: {{listeners: [{text}]}}"), "static_resources."),
        "cluster" => ("clusters", format!("{{name: c, {text}}}"), "clusters[0]."),
        "clusters" => ("top", format!("static_resources: {{clusters: [{text}]}}"), "static_resources."),
        other => anyhow::bail!("there is no place '{other}'"),
    };
    Ok((next, outer, path))
}

/// What the abbreviations stand for.
fn spelt_out(text: &str) -> String {
    let filter = "${T}.extensions.filters";
    let typed = |kind: &str| format!("\"@type\": {filter}.{kind}");
    text.replace("${router}", &format!("{{name: r, typed_config: {{{}}}}}", typed("http.router.v3.Router")))
        .replace("${hcm}", &typed("network.http_connection_manager.v3.HttpConnectionManager"))
        .replace("${tcp}", &typed("network.tcp_proxy.v3.TcpProxy"))
        .replace("${address}", "address: {socket_address: {address: 127.0.0.1, port_value: 0}}")
        .replace("${T}", "type.googleapis.com/envoy")
}

impl Mistake {
    /// The bootstrap, and the path of the field in it.
    fn bootstrap(&self) -> anyhow::Result<(String, String)> {
        let (mut place, mut text, mut at) = (self.r#in.as_str(), self.text.clone(), self.at.clone());
        while place != "top" {
            let (next, outer, path) = around(place, &text)?;
            (place, text, at) = (next, outer, format!("{path}{at}"));
        }
        let at = self.at.strip_prefix('/').map_or(at, str::to_owned);
        Ok((spelt_out(&format!("{{{text}}}")), at))
    }

    fn refused(&self, envoy: Option<&Path>, weir: &Path) -> anyhow::Result<()> {
        let (bootstrap, at) = self.bootstrap()?;
        if let Some(envoy) = envoy {
            let quiet = ["--config-yaml", &bootstrap, "-l", "critical", "--disable-hot-restart"];
            anyhow::ensure!(!validate(envoy, &quiet)?.accepted, "Envoy accepts it");
        }
        let verdict = validate(weir, &["--config-yaml", &bootstrap])?;
        anyhow::ensure!(!verdict.accepted, "weir accepts it");
        let told = complaints(&verdict.said);
        let here = |(path, reason): &(String, String)| *path == at && reason.starts_with(&self.says);
        anyhow::ensure!(told.iter().any(here), "not told at {at}: {}", verdict.said);
        Ok(())
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new("bootstraps");
    let (envoy, weir) = (binaries::envoy(), binaries::weir());
    let Some(weir) = weir else {
        suite.verdict("weir", Err(anyhow::anyhow!("weir is not built, or WEIR_BIN names no file")));
        return suite.finish();
    };
    if PUBLIC.iter().all(|corpus| corpora().join(corpus).is_dir()) && corpora().join(RECORDED).is_dir() {
        suite.case("accepted-by-envoy", || compare(&weir));
    } else {
        suite.skip("accepted-by-envoy", "no corpora in ../shared/corpora or WEIR_CORPORA");
    }
    if envoy.is_none() {
        suite.skip(
            "refused-by-envoy",
            "the real Envoy is absent: `make test` installs it, or set ENVOY to its path",
        );
    }
    let read = || -> anyhow::Result<Vec<Mistake>> {
        Ok(serde_saphyr::from_str(&std::fs::read_to_string(binaries::root().join(REFUSED))?)?)
    };
    match read() {
        Ok(all) => {
            for (i, mistake) in all.iter().enumerate() {
                let name = format!("refused/{}-{i}", mistake.r#in);
                suite.case(&name, || mistake.refused(envoy.as_deref(), &weir).context(mistake.text.clone()));
            }
        }
        Err(error) => suite.verdict("refused", Err(error)),
    }
    suite.finish()
}
