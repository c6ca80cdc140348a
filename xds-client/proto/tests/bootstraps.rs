//! Public Envoy bootstraps, with the verdict of Envoy 1.40 on each: what it accepts must parse here.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use weir_proto::envoy::config::bootstrap::v3::Bootstrap;
use weir_proto::{ParseOptions, Pool};

/// Types that this crate knowingly lacks: Envoy's contrib extensions.
const LACKING: [&str; 10] = [
    "envoy.extensions.compression.qatzip.",
    "envoy.extensions.compression.qatzstd.",
    "envoy.extensions.filters.http.checksum.",
    "envoy.extensions.filters.http.golang.",
    "envoy.extensions.filters.network.golang.",
    "envoy.extensions.filters.network.kafka_",
    "envoy.extensions.filters.network.mysql_proxy.",
    "envoy.extensions.filters.network.postgres_proxy.",
    "envoy.extensions.matching.input_matchers.hyperscan.",
    "envoy.extensions.upstreams.http.tcp.golang.",
];

/// How Envoy says that the text itself is wrong, rather than what it refers to.
const SHAPE: [&str; 6] = [
    "Unable to parse JSON",
    "could not find @type",
    "goo.gle/debug",
    "Proto constraint validation failed",
    "unknown fields",
    "disallowed_by_default",
];

/// What Envoy says of each file, by its path in the corpus.
fn verdicts(corpus: &Path) -> BTreeMap<String, (String, String)> {
    let text = std::fs::read_to_string(corpus.join("verdicts.json")).expect("verdicts");
    let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let results = all.get("results").and_then(|results| results.as_object()).expect("results");
    results
        .iter()
        .map(|(file, result)| {
            let part =
                |name: &str| result.get(name).and_then(|part| part.as_str()).unwrap_or_default().to_owned();
            (file.clone(), (part("verdict"), part("why")))
        })
        .collect()
}

#[test]
fn what_envoy_accepts_parses() {
    let pool = Pool::load().expect("descriptors");
    let mut failures = Vec::new();
    for name in ["envoy-config-yaml", "envoy-examples-yaml", "go-control-plane-bootstraps"] {
        let Some(corpus) = support::corpus(name) else { continue };
        let (mut accepted, mut parsed, mut lacking) = (0, 0, 0);
        let (mut refused, mut refused_too) = (0, 0);
        for (file, (verdict, why)) in verdicts(&corpus) {
            if verdict == "not-a-bootstrap" {
                continue;
            }
            let Ok(text) = std::fs::read_to_string(corpus.join(&file)) else {
                println!("absent: {name}/{file}");
                continue;
            };
            let result = pool.parse::<Bootstrap>(&text, &ParseOptions::for_file(file.as_str()));
            if verdict == "OK" {
                accepted += 1;
                match result {
                    Ok(_) => parsed += 1,
                    Err(error) if LACKING.iter().any(|kind| error.to_string().contains(kind)) => lacking += 1,
                    Err(error) => failures.push(error.to_string()),
                }
            } else {
                refused += 1;
                match result {
                    Ok(_) if SHAPE.iter().any(|sign| why.contains(sign)) => {
                        failures.push(format!("{file} parses, but Envoy says: {why}"));
                    }
                    Ok(_) => println!(
                        "Envoy alone refuses {file}: {}",
                        why.rsplit("': ").next().unwrap_or_default()
                    ),
                    Err(_) => refused_too += 1,
                }
            }
        }
        println!(
            "{name}: Envoy accepts {accepted}, parsed {parsed}, lacking a contrib type {lacking}; Envoy refuses {refused}, refused here too {refused_too}"
        );
        assert!(accepted > 0, "{name} holds no accepted bootstrap");
    }
    assert!(failures.is_empty(), "{} files:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn what_pilot_agent_writes_parses() {
    let Some(corpus) = support::corpus("istiod-recorded/pilot-agent") else { return };
    let pool = Pool::load().expect("descriptors");
    let files = support::files(&corpus, &["bootstrap.json"]);
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a recorded bootstrap");
        let options = ParseOptions::for_file(file.to_string_lossy());
        let bootstrap = pool.parse::<Bootstrap>(&text, &options).map_err(|error| error.to_string());
        let node = bootstrap.expect("it parses").message.node.expect("a node");
        assert!(node.id.contains('~'), "{}", node.id);
    }
}
