//! Crates depend on each other in one direction, on versions pinned in one place, and hold no unsafe code.

use super::Breach;
use crate::oracle::binaries::root;

/// Crates of the workspace: folder, the workspace crates it may depend on, whether unsafe code is forbidden.
pub const CRATES: [(&str, &[&str], bool); 8] = [
    ("proxy", &["weir-sys", "weir-proto", "weir-config", "weir-xds"], true),
    ("proxy/sys", &[], false),
    ("xds-client", &["weir-proto"], true),
    ("xds-client/proto", &[], true),
    ("config", &["weir-proto"], true),
    ("weirctl", &["weir-proxy", "weir-config", "weir-proto", "weir-xds"], true),
    ("benches", &["weir-proxy", "weir-config", "weir-proto"], true),
    ("tests", &["weir-proxy", "weir-config", "weir-proto", "weir-xds"], true),
];

/// Breaches in the manifests and crate roots of the workspace.
///
/// # Errors
/// A manifest is unreadable.
pub fn breaches() -> anyhow::Result<Vec<Breach>> {
    let mut found = members()?;
    for (folder, allowed, safe) in CRATES {
        let path = format!("{folder}/Cargo.toml");
        // A crate that is not there yet breaks no law; one that is there and not listed does (see `members`).
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        found.extend(manifest(&path, &text, allowed));
        if safe {
            found.extend(unsafe_code(folder)?);
        }
    }
    Ok(found)
}

fn members() -> anyhow::Result<Vec<Breach>> {
    let text = std::fs::read_to_string(root().join("Cargo.toml"))?;
    let line = text.lines().find(|l| l.starts_with("members")).unwrap_or_default();
    let named = line.split('"').skip(1).step_by(2);
    Ok(named
        .filter(|member| !CRATES.iter().any(|(folder, ..)| folder == member))
        .map(|member| Breach {
            at: "Cargo.toml".to_owned(),
            what: format!("{member} has no line in tests/src/law/crates.rs: say what it may depend on"),
        })
        .collect())
}

fn manifest(path: &str, text: &str, allowed: &[&str]) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut table = "";
    for (index, line) in text.lines().enumerate() {
        let mut breach = |what: String| found.push(Breach { at: format!("{path}:{}", index + 1), what });
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']');
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.trim();
        if table == "package" && key == "license" && !value.contains("Apache-2.0") {
            breach("the licence is the workspace's: license.workspace = true".to_owned());
        }
        if !table.ends_with("dependencies") {
            continue;
        }
        let name = key.trim_end_matches(".workspace");
        if !key.ends_with(".workspace") && !value.contains("workspace = true") {
            breach(format!("{name} is not pinned in the workspace: move its version to the root manifest"));
        }
        if name.starts_with("weir-") && !allowed.contains(&name) {
            breach(format!("must not depend on {name} (DESIGN 2.2)"));
        }
    }
    if !text.contains("license.workspace = true") && !text.contains("license = \"Apache-2.0\"") {
        found.push(Breach { at: path.to_owned(), what: "no licence: license.workspace = true".to_owned() });
    }
    if !text.contains("[lints]") {
        found.push(Breach {
            at: path.to_owned(),
            what: "the workspace's lints are not taken: [lints] workspace = true".to_owned(),
        });
    }
    found
}

/// Each crate root forbids unsafe code.
fn unsafe_code(folder: &str) -> anyhow::Result<Vec<Breach>> {
    let mut found = Vec::new();
    for name in ["lib.rs", "main.rs"] {
        let path = format!("{folder}/src/{name}");
        let whole = root().join(&path);
        if whole.is_file() && !std::fs::read_to_string(&whole)?.contains("#![forbid(unsafe_code)]") {
            found.push(Breach {
                at: path,
                what: "does not forbid unsafe code: #![forbid(unsafe_code)]".to_owned(),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_direction_and_a_loose_version_are_breaches() {
        let text = "[package]\nlicense.workspace = true\n[lints]\nworkspace = true\n[dependencies]\n\
                    weir-proxy.workspace = true\nserde = \"1\"\nbytes = { workspace = true }\n";
        let found = manifest("config/Cargo.toml", text, &["weir-proto"]);
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
