//! Every field that a compile function ignores has a line in `docs/fields.md`.

use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of sources");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "rs")).collect()
}

#[test]
fn ignored_fields_are_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(root.join("../docs/fields.md")).expect("docs/fields.md");
    let list = regex::Regex::new(r"(?s)\bignore \{(.*?)\}").expect("an expression");
    let mut missing = Vec::new();
    let mut seen = 0;
    let folders = ["src/control/compile", "src/http/filter", "src/network"];
    for path in folders.iter().flat_map(|folder| sources(&root.join(folder))) {
        let text = std::fs::read_to_string(&path).expect("a source");
        for found in list.captures_iter(&text) {
            let fields = found.get(1).map_or("", |m| m.as_str()).split(',').map(str::trim);
            for field in fields.filter(|field| !field.is_empty()) {
                seen += 1;
                if !docs.contains(&format!("`{field}`")) {
                    missing.push(format!("{}: {field}", path.display()));
                }
            }
        }
    }
    assert!(seen > 50, "the expression finds the lists: {seen}");
    assert!(missing.is_empty(), "without a line in docs/fields.md:\n{}", missing.join("\n"));
}
