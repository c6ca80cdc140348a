//! What a real istiod sent, in bytes and as JSON: our JSON of the bytes must be the recorded JSON.

mod support;

use std::path::Path;

use serde_json::Value;
use weir_proto::{Pool, Secrets};

/// The first difference between ours and the recording. Where the recorder did not know a type it left `@bytes`: there
/// only the type is compared, and counted in `opaque`.
fn differ(path: &str, ours: &Value, theirs: &Value, opaque: &mut usize) -> Option<String> {
    let found = || Some(format!("{path}: {ours} here, {theirs} recorded"));
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            if theirs.contains_key("@bytes") {
                *opaque += 1;
                return if ours.get("@type") == theirs.get("@type") { None } else { found() };
            }
            let missing = theirs.keys().find(|key| !ours.contains_key(*key));
            let extra = ours.keys().find(|key| !theirs.contains_key(*key));
            if let Some(key) = missing.or(extra) {
                return Some(format!("{path}: {key} stands on one side alone"));
            }
            ours.iter().zip(theirs.values()).find_map(|((key, ours), _)| {
                differ(&format!("{path}.{key}"), ours, theirs.get(key).unwrap_or(&Value::Null), opaque)
            })
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => ours
            .iter()
            .zip(theirs)
            .enumerate()
            .find_map(|(index, (ours, theirs))| differ(&format!("{path}[{index}]"), ours, theirs, opaque)),
        (Value::Number(ours), Value::Number(theirs)) if ours.as_f64() == theirs.as_f64() => None,
        _ if ours == theirs => None,
        _ => found(),
    }
}

fn type_of(file: &Path) -> &'static str {
    if file.to_string_lossy().contains("-req-") {
        "envoy.service.discovery.v3.DeltaDiscoveryRequest"
    } else {
        "envoy.service.discovery.v3.DeltaDiscoveryResponse"
    }
}

#[test]
fn recorded_bytes_are_the_recorded_json() {
    let Some(corpus) = support::corpus("istiod-recorded/ads") else { return };
    let pool = Pool::load().expect("descriptors");
    let mut opaque = 0;
    let mut failures = Vec::new();
    let files = support::files(&corpus, &[".pb"]);
    assert!(files.len() > 100, "{} recordings", files.len());
    for file in &files {
        let bytes = std::fs::read(file).expect("a recording");
        let recorded = std::fs::read_to_string(file.with_extension("json")).expect("its JSON");
        let recorded: Value = serde_json::from_str(&recorded).expect("JSON");
        match pool.to_json(type_of(file), &bytes, Secrets::Show) {
            Err(error) => failures.push(format!("{}: {error}", file.display())),
            Ok(ours) => {
                let difference = differ("", &ours, &recorded, &mut opaque);
                failures.extend(difference.map(|difference| format!("{}: {difference}", file.display())));
            }
        }
    }
    println!("{} recordings, {opaque} nodes unknown to the recorder", files.len());
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), files.len(), failures.join("\n"));
}
