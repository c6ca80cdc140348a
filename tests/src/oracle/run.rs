//! A section from file to verdicts.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::backend::Backend;
use super::case::{Case, Section};
use super::client::Client;
use super::compare::{self, Difference};
use super::ledger::{self, Listed};
use super::observe;
use super::process::Proxy;
use super::template::{self, Ports};
use crate::delivery::Delivery;
use crate::plane::Plane;
use crate::ports;

/// Cases of one process that run at once; most of them wait for a timeout.
const AT_ONCE: usize = 12;

/// What became of a case.
#[derive(Debug)]
pub enum Outcome {
    /// Both sides agree (or differ as listed), and all facts hold.
    Passed,
    /// Reasons.
    Failed(Vec<String>),
    /// Why it could not be judged.
    Skipped(String),
}

/// A case and its outcome.
#[derive(Debug)]
pub struct Verdict {
    /// `section/case`.
    pub name: String,
    /// Outcome.
    pub outcome: Outcome,
}

/// The two programs; without weir only the facts are checked, on Envoy.
#[derive(Clone, Debug)]
pub struct Sides {
    /// The real Envoy.
    pub envoy: PathBuf,
    /// weir.
    pub weir: Option<PathBuf>,
}

struct Prepared {
    id: String,
    case: Case,
    ports: Ports,
    backends: Vec<Backend>,
}

/// What one side showed, or why it could not be asked.
type Seen = BTreeMap<String, Result<Value, String>>;

/// A section read and made ready.
pub struct Ready {
    name: String,
    extra: Value,
    admin: u16,
    folder: PathBuf,
    cases: Vec<Prepared>,
}

/// Reads a section file and starts its backends. `wanted` chooses cases by `section/case`.
///
/// # Errors
/// The file is malformed, or a port could not be had.
pub fn prepare(file: &Path, folder: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Ready> {
    let name = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
    let text = std::fs::read_to_string(file)?;
    let section: Section =
        serde_saphyr::from_str(&text).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
    let admin = ports::free()?;
    let folder = folder.join(&name);
    std::fs::create_dir_all(&folder)?;
    let mut cases = Vec::new();
    for (index, raw) in section.cases.into_iter().enumerate() {
        let own = raw.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if wanted(&format!("{name}/{own}")) {
            let prepared = prepare_case(&format!("k{index}"), raw, &section.base, admin);
            cases.push(prepared.map_err(|e| anyhow::anyhow!("{}: case {own}: {e}", file.display()))?);
        }
    }
    Ok(Ready { name, extra: section.bootstrap, admin, folder, cases })
}

fn prepare_case(
    id: &str,
    raw: Value,
    base: &BTreeMap<String, Value>,
    admin: u16,
) -> anyhow::Result<Prepared> {
    let Value::Object(own) = raw else { anyhow::bail!("a case is a mapping") };
    let mut all: Map<String, Value> = base.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    all.extend(own);
    let keys = |name: &str| -> Vec<String> {
        all.get(name).and_then(Value::as_object).map(|m| m.keys().cloned().collect()).unwrap_or_default()
    };
    let backends = keys("backends");
    let mut names: Vec<String> = backends.iter().cloned().chain(keys("clusters")).collect();
    // Longer names first, so that `@b10` is not taken for `@b1` and a zero.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.dedup();
    let mut chosen = BTreeMap::new();
    for name in backends {
        chosen.insert(name, ports::free()?);
    }
    let ports = Ports { listener: ports::free()?, backends: chosen };
    let mut raw = Value::Object(all);
    template::substitute(&mut raw, id, &ports, &names, admin);
    let case = Case::read(raw)?;
    let backends = case
        .backends
        .iter()
        .map(|(name, script)| {
            Backend::start(name, ports.backends.get(name).copied().unwrap_or(0), script.clone())
        })
        .collect::<anyhow::Result<Vec<Backend>>>()?;
    Ok(Prepared { id: id.to_owned(), case, ports, backends })
}

impl Ready {
    /// Runs the section through both sides and judges every case.
    pub fn judge(&self, sides: &Sides, listed: &[Listed]) -> Vec<Verdict> {
        let dialect = match self.name.len() % 2 {
            0 => Delivery::Delta,
            _ => Delivery::StateOfTheWorld,
        };
        let mut verdicts = self.judge_over(Delivery::File, sides, listed);
        verdicts.append(&mut self.judge_over(dialect, sides, listed));
        verdicts
    }

    /// What one proxy or both must refuse is judged in a file alone: over a stream it is one resource less.
    fn judge_over(&self, delivery: Delivery, sides: &Sides, listed: &[Listed]) -> Vec<Verdict> {
        let name = |prepared: &Prepared| format!("{}/{}", self.name, prepared.case.name);
        let starts = |prepared: &Prepared| {
            let own = listed.iter().filter(|l| l.cases.contains(&name(prepared)));
            !prepared.case.refused
                && prepared.case.waits_for.is_none()
                && !own.flat_map(|l| &l.at).any(|at| at == "start")
        };
        let cases: Vec<&Prepared> =
            self.cases.iter().filter(|prepared| delivery == Delivery::File || starts(prepared)).collect();
        let envoy = self.observe(delivery, &sides.envoy, &cases, |case| case.refused);
        let weir = sides.weir.as_ref().map(|binary| {
            self.observe(delivery, binary, &cases, |case| case.refused || case.waits_for.is_some())
        });
        cases
            .into_iter()
            .map(|prepared| {
                let name = name(prepared);
                let other = weir.as_ref().map(|w| w.get(&prepared.id));
                let outcome = judge_case(&name, prepared, envoy.get(&prepared.id), other, listed);
                Verdict { name: name + delivery.suffix(), outcome }
            })
            .collect()
    }

    /// Cases that must be refused are validated one by one; the others are spoken to.
    fn observe(
        &self,
        delivery: Delivery,
        binary: &Path,
        cases: &[&Prepared],
        refused: impl Fn(&Case) -> bool,
    ) -> Seen {
        let mut seen = Seen::new();
        let (judged, spoken): (Vec<&Prepared>, Vec<&Prepared>) = cases.iter().partition(|p| refused(&p.case));
        for prepared in judged {
            let verdict = self.validate(binary, prepared).map_err(|e| format!("{e:#}"));
            seen.insert(prepared.id.clone(), verdict);
        }
        let (alone, shared): (Vec<&Prepared>, Vec<&Prepared>) =
            spoken.into_iter().partition(|p| p.case.alone);
        if !shared.is_empty() {
            self.observe_group(delivery, binary, &shared, &mut seen);
        }
        for prepared in alone {
            self.observe_group(delivery, binary, &[prepared], &mut seen);
        }
        seen
    }

    /// One process for a group; a group that does not start is halved, so that the culprit stands alone.
    fn observe_group(&self, delivery: Delivery, binary: &Path, group: &[&Prepared], seen: &mut Seen) {
        match self.start(delivery, binary, group) {
            Ok((mut proxy, _plane)) => {
                seen.append(&mut self.converse(&proxy, group));
                if !proxy.alive() {
                    let said = proxy.said();
                    for prepared in group {
                        seen.insert(
                            prepared.id.clone(),
                            Err(format!("the process died during these cases: {said}")),
                        );
                    }
                }
            }
            Err(error) => match group {
                [] => {}
                [one] => {
                    seen.insert(one.id.clone(), Err(format!("does not start: {error:#}")));
                }
                many => {
                    let (left, right) = many.split_at(many.len() / 2);
                    self.observe_group(delivery, binary, left, seen);
                    self.observe_group(delivery, binary, right, seen);
                }
            },
        }
    }

    fn validate(&self, binary: &Path, prepared: &Prepared) -> anyhow::Result<Value> {
        let said = Proxy::validate(binary, &self.write(&self.bootstrap(&[prepared])?, &[prepared])?)?;
        Ok(json!({ "refused": said.is_err() }))
    }

    /// Starts a proxy, and the control plane that programs it.
    fn start(
        &self,
        delivery: Delivery,
        binary: &Path,
        group: &[&Prepared],
    ) -> anyhow::Result<(Proxy, Option<Plane>)> {
        for prepared in group {
            prepared.backends.iter().for_each(Backend::reset);
            // Absent on the first side; the proxy opens it when it starts.
            let _ = std::fs::remove_file(template::log_path(&prepared.id, &self.folder));
        }
        let (bootstrap, plane) = delivery.deliver(self.bootstrap(group)?)?;
        let file = self.write(&bootstrap, group)?;
        Ok((Proxy::start(binary, &file, self.admin, &self.folder)?, plane))
    }

    /// The bootstrap of a group.
    fn bootstrap(&self, group: &[&Prepared]) -> anyhow::Result<Value> {
        let parts: Vec<(&str, &Case, &Ports)> =
            group.iter().map(|p| (p.id.as_str(), &p.case, &p.ports)).collect();
        template::bootstrap(&self.extra, &parts, self.admin, &self.folder)
    }

    fn write(&self, bootstrap: &Value, group: &[&Prepared]) -> anyhow::Result<PathBuf> {
        let first = group.first().map_or("none", |p| p.id.as_str());
        let path = self.folder.join(format!("bootstrap-{first}-{}.json", group.len()));
        std::fs::write(&path, serde_json::to_vec_pretty(bootstrap)?)?;
        Ok(path)
    }

    fn converse(&self, proxy: &Proxy, group: &[&Prepared]) -> Seen {
        let waiting: Mutex<VecDeque<&Prepared>> = Mutex::new(group.iter().copied().collect());
        let done: Mutex<BTreeMap<String, Value>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(group.len()) {
                scope.spawn(|| {
                    loop {
                        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some(prepared) = next else { return };
                        let seen = speak(proxy, prepared);
                        done.lock().unwrap_or_else(PoisonError::into_inner).insert(prepared.id.clone(), seen);
                    }
                });
            }
        });
        // Streams that a client left are logged when the proxy notices, and files flush every 20 ms.
        std::thread::sleep(Duration::from_millis(500));
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        group
            .iter()
            .map(|prepared| {
                let mut seen = done.remove(&prepared.id).unwrap_or_else(|| json!({}));
                self.collect(prepared, &mut seen);
                (prepared.id.clone(), Ok(seen))
            })
            .collect()
    }

    /// Adds what the upstreams saw and what was logged.
    fn collect(&self, prepared: &Prepared, seen: &mut Value) {
        let case = &prepared.case;
        let mut upstream = Map::new();
        for backend in &prepared.backends {
            let (records, connections) = backend.observed();
            let mut requests: Vec<Value> = records.iter().map(observe::arrival).collect();
            if case.unordered {
                requests.sort_by_key(Value::to_string);
            }
            let mut entry = json!({ "requests": requests });
            if case.connections {
                merge_into(&mut entry, "connections", json!(connections));
            }
            upstream.insert(backend.name.clone(), entry);
        }
        let text =
            std::fs::read_to_string(template::log_path(&prepared.id, &self.folder)).unwrap_or_default();
        let mut lines: Vec<Value> = text.lines().map(observe::log_line).collect();
        if case.unordered {
            lines.sort_by_key(Value::to_string);
        }
        merge_into(seen, "upstream", Value::Object(upstream));
        merge_into(seen, "log", Value::Array(lines));
        prune(seen, case);
    }
}

fn merge_into(value: &mut Value, key: &str, part: Value) {
    if let Some(map) = value.as_object_mut() {
        map.insert(key.to_owned(), part);
    }
}

/// The client's part of a case.
fn speak(proxy: &Proxy, prepared: &Prepared) -> Value {
    let case = &prepared.case;
    let mut client = Client::new(prepared.ports.listener, proxy);
    let answers: Vec<Value> = case.send.iter().map(|item| Value::Array(client.perform(item))).collect();
    drop(client);
    let mut seen = json!({ "client": answers });
    if !case.stats.is_empty() {
        std::thread::sleep(Duration::from_millis(case.settle.max(100)));
        merge_into(&mut seen, "stats", stats(proxy, prepared));
    }
    seen
}

fn stats(proxy: &Proxy, prepared: &Prepared) -> Value {
    let all = proxy.admin("GET", "/stats").map(|(_, body)| body).unwrap_or_default();
    let values: BTreeMap<&str, &str> = all.lines().filter_map(|line| line.split_once(": ")).collect();
    let chosen: BTreeMap<&str, &str> = prepared
        .case
        .stats
        .iter()
        .map(|name| (name.as_str(), values.get(name.as_str()).copied().unwrap_or("absent")))
        .collect();
    json!(chosen)
}

/// Takes out what a case does not compare.
fn prune(seen: &mut Value, case: &Case) {
    match seen {
        Value::Object(map) => {
            if !case.order {
                map.remove("order");
            }
            if !case.spelling {
                map.remove("spelling");
            }
            map.values_mut().for_each(|v| prune(v, case));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| prune(v, case)),
        _ => {}
    }
}

fn judge_case(
    name: &str,
    prepared: &Prepared,
    envoy: Option<&Result<Value, String>>,
    weir: Option<Option<&Result<Value, String>>>,
    listed: &[Listed],
) -> Outcome {
    let case = &prepared.case;
    let envoy = match envoy {
        Some(Ok(seen)) => seen,
        Some(Err(why)) => return Outcome::Failed(vec![format!("envoy: {why}")]),
        None => return Outcome::Failed(vec!["envoy: not asked".to_owned()]),
    };
    let mut wrong = facts(case, envoy, "envoy: ");
    let Some(weir) = weir else {
        return if wrong.is_empty() {
            Outcome::Skipped("no weir binary".to_owned())
        } else {
            Outcome::Failed(wrong)
        };
    };
    let found = match weir {
        Some(Ok(seen)) if case.waits_for.is_some() => {
            if seen.get("refused") != Some(&json!(true)) {
                wrong.push("weir: takes the bootstrap now: strike waits_for from the case".to_owned());
            }
            return if wrong.is_empty() { Outcome::Passed } else { Outcome::Failed(wrong) };
        }
        Some(Ok(weir)) => {
            let found = compare::differences(envoy, weir, &case.ignore);
            // Where both sides agree the facts were judged above; what is not compared must hold on its own.
            if !case.ignore.is_empty() && found.is_empty() {
                wrong.extend(facts(case, weir, "weir: "));
            }
            found
        }
        Some(Err(why)) => {
            vec![Difference { at: "start".to_owned(), envoy: "runs".to_owned(), weir: why.clone() }]
        }
        None => vec![Difference {
            at: "start".to_owned(),
            envoy: "runs".to_owned(),
            weir: "not asked".to_owned(),
        }],
    };
    let (unlisted, gone) = ledger::judge(name, &found, listed);
    wrong.extend(unlisted.iter().map(said));
    wrong.extend(gone);
    if wrong.is_empty() { Outcome::Passed } else { Outcome::Failed(wrong) }
}

fn said(difference: &Difference) -> String {
    format!("{}: envoy {} | weir {}", difference.at, difference.envoy, difference.weir)
}

/// The facts of a case and of each of its items; a refused case states that it is refused.
fn facts(case: &Case, seen: &Value, side: &str) -> Vec<String> {
    if case.refused {
        let refused = seen.get("refused") == Some(&json!(true));
        return if refused { Vec::new() } else { vec![format!("{side}the bootstrap is accepted")] };
    }
    let mut wrong = compare::broken_facts(&case.expect, seen, side);
    for (index, item) in case.send.iter().enumerate() {
        let answers = seen.pointer(&format!("/client/{index}")).and_then(Value::as_array);
        for (count, answer) in answers.into_iter().flatten().enumerate() {
            let at = format!("{side}client/{index}/{count}/");
            let facts = if item.within.is_some() && !item.tally {
                let mut all = item.expect.clone();
                all.insert("time".to_owned(), json!("within"));
                compare::broken_facts(&all, answer, &at)
            } else {
                compare::broken_facts(&item.expect, answer, &at)
            };
            wrong.extend(facts);
        }
    }
    wrong
}
