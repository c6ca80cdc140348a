//! Secrets, from the first request to the last rotation, while nothing of a key is shown anywhere.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::child::{ADMIN, Agent, page};
use super::probe::Probe;
use super::sds::{Heard, Sds};
use super::secrets::{Identity, OWN, ROOT};
use super::start::Start;
use crate::replay::Step;

/// What the last stream that asks for a secret has told.
fn heard(sds: &Sds, name: &str) -> anyhow::Result<Heard> {
    sds.told().of(name).cloned().with_context(|| format!("nobody asks for {name}: {:?}", sds.told()))
}

/// A statistic of a secret.
fn stat(name: &str, what: &str) -> anyhow::Result<u64> {
    let all = page(ADMIN, "/stats?filter=^sds\\.")?;
    let line = all.lines().find_map(|line| line.strip_prefix(&format!("sds.{name}.{what}: ")));
    line.with_context(|| format!("no sds.{name}.{what}: {all}"))?.parse().context("its value")
}

/// A secret as `/config_dump` shows it.
fn shown(name: &str) -> anyhow::Result<Value> {
    let dump: Value = serde_json::from_str(&page(ADMIN, "/config_dump?resource=dynamic_active_secrets")?)?;
    let all = dump.get("configs").and_then(Value::as_array).context("no configs")?;
    let found = all.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(name));
    found.cloned().with_context(|| format!("no secret {name}: {dump}"))
}

/// The version that is shown is the one that was accepted last.
fn in_force(sds: &Sds, name: &str) -> anyhow::Result<()> {
    let (heard, shown) = (heard(sds, name)?, shown(name)?);
    let version = shown.get("version_info").and_then(Value::as_str);
    ensure!(version == heard.acks.last().map(String::as_str), "{shown}, where {heard:?}");
    Ok(())
}

/// The counters of the proxy's own secret: updates that were taken and refused.
fn counted(taken: u64, refused: u64) -> anyhow::Result<()> {
    let found = (stat(OWN, "update_success")?, stat(OWN, "update_rejected")?);
    ensure!(found == (taken, refused), "counted {found:?} instead of {:?}", (taken, refused));
    Ok(())
}

/// A secret that cannot be used is refused by name and reason, the one before stays.
fn refused(agent: &mut Agent, bad: &Identity, reason: &str, count: usize) -> anyhow::Result<String> {
    agent.secrets.put(bad.own());
    let told = agent.until_told(|sds| {
        let told = heard(sds, OWN)?;
        ensure!(told.nacks.len() == count, "not refused: {told:?}");
        Ok(told)
    })?;
    let text = told.nacks.last().cloned().unwrap_or_default();
    ensure!(text.contains(&format!("{OWN}: ")) && text.contains(reason), "not for {reason}: {text}");
    in_force(&agent.secrets, OWN)?;
    Ok(text)
}

/// Waits until a secret was accepted so many times, and is in force.
fn accepted(agent: &mut Agent, name: &str, count: usize) -> anyhow::Result<()> {
    agent.until_told(|sds| {
        let told = heard(sds, name)?;
        ensure!(told.acks.len() == count, "not accepted {count} times: {told:?}");
        in_force(sds, name)
    })
}

/// What the control plane has pushed names secrets: the proxy asks for them on the agent's socket until they come,
/// takes rotations, and refuses what cannot be used.
pub fn rotates(start: Start, steps: &[Step], first: &Identity) -> anyhow::Result<()> {
    let start = start.watched("sds.", &["--state-dir", "state"])?;
    let mut agent = Agent::start(&start, &[])?;
    agent.program(steps);
    // The agent has none yet: streams end, and are opened again.
    agent.until_told(|sds| {
        let told = sds.told();
        for name in [OWN, ROOT] {
            let asked = told.streams.iter().filter(|heard| heard.names.contains(name)).count();
            ensure!(asked >= 2, "{name} was asked for on {asked} streams: {told:?}");
        }
        Ok(())
    })?;
    let id = start.node()?.id;
    let strange =
        agent.secrets.told().streams.into_iter().find(|heard| !heard.names.is_empty() && heard.node != id);
    ensure!(strange.is_none(), "not the node {id}: {strange:?}");
    agent.secrets.put(first.root());
    agent.secrets.put(first.own());
    accepted(&mut agent, ROOT, 1)?;
    accepted(&mut agent, OWN, 1)?;
    agent.until(Probe::ready)?;
    counted(1, 0)?;
    let second = Identity::make()?;
    agent.secrets.put(second.own());
    accepted(&mut agent, OWN, 2)?;
    counted(2, 0)?;
    let broken = Identity { chain: "no certificate".to_owned(), key: second.key.clone() };
    let mut told = refused(&mut agent, &broken, "tls_certificate.certificate_chain", 1)?;
    let keyless = Identity { chain: second.chain.clone(), key: "no key".to_owned() };
    told += &refused(&mut agent, &keyless, "tls_certificate.private_key", 2)?;
    counted(2, 2)?;
    ensure!(stat(ROOT, "update_success")? == 1, "the authorities did not change");
    let third = Identity::make()?;
    agent.secrets.put(third.own());
    accepted(&mut agent, OWN, 3)?;
    let key = shown(OWN)?.pointer("/secret/tls_certificate/private_key/inline_bytes").cloned();
    ensure!(key.as_ref().and_then(Value::as_str) == Some("W3JlZGFjdGVkXQ=="), "the key is shown as {key:?}");
    told += &page(ADMIN, "/config_dump?include_eds")?;
    told += &page(ADMIN, "/stats")?;
    let written = agent.written()?;
    for identity in [first, &second, &third] {
        ensure!(!identity.leaks(told.as_bytes()), "a key is shown");
        ensure!(!identity.leaks(&written), "a key is in a log or in the saved state");
    }
    let told = agent.secrets.told();
    ensure!(told.breaches.is_empty() && told.unimplemented == 0, "the protocol: {told:?}");
    agent.plane.honoured()
}
