//! Every file of a folder is named at its door: `mod.rs` declares it, and where the door has a table, the
//! table names it. A plug-in's folder must have a table.

use super::Breach;
use super::source::File;

/// Folders whose files are plug-ins: one new file and one line in the table of `mod.rs`.
pub const PLUGIN_FOLDERS: [&str; 7] = [
    "proxy/src/http/filter",
    "proxy/src/network",
    "proxy/src/listen/filter",
    "proxy/src/upstream/lb",
    "proxy/src/sink",
    "proxy/src/admin",
    "config/src/kind",
];

/// Breaches in any files.
pub fn breaches(files: &[File]) -> Vec<Breach> {
    let mut found = Vec::new();
    for door in files.iter().filter(|f| f.path.ends_with("/mod.rs")) {
        let folder = door.path.trim_end_matches("/mod.rs");
        let plugins = PLUGIN_FOLDERS.contains(&folder);
        let table: String =
            door.text.lines().filter(|l| l.starts_with("//! |")).collect::<Vec<_>>().join("\n");
        let names = children(files, folder);
        if plugins && table.is_empty() && !code_table(&door.text) {
            found.push(Breach {
                at: door.path.clone(),
                what: "a folder of plug-ins without a table at its door".to_owned(),
            });
        }
        for name in names {
            if !declares(&door.text, &name) {
                let what = format!("{name} is not declared here: declare it or delete the file");
                found.push(Breach { at: door.path.clone(), what });
            }
            let named = names_word(&table, &name)
                || plugins && names_word(&code_of(&door.text), &format!("{name}::"));
            let table_wanted = plugins || !table.is_empty();
            if table_wanted && name != "tests" && !only_for_tests(&door.text, &name) && !named {
                let what = format!("{name} is not in the table: add its line");
                found.push(Breach { at: door.path.clone(), what });
            }
        }
    }
    found
}

/// Names of the modules that are files or folders beside a door.
fn children(files: &[File], folder: &str) -> Vec<String> {
    let prefix = format!("{folder}/");
    let mut names: Vec<String> = files
        .iter()
        .filter_map(|f| f.path.strip_prefix(&prefix))
        .filter_map(|rest| match rest.split_once('/') {
            None => rest.strip_suffix(".rs").map(str::to_owned),
            Some((name, "mod.rs")) => Some(name.to_owned()),
            Some(_) => None,
        })
        .filter(|name| name != "mod")
        .collect();
    names.sort();
    names.dedup();
    names
}

fn declares(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim().trim_end_matches([';', '{']).trim();
        line.strip_suffix(name).is_some_and(|before| before.ends_with("mod "))
    })
}

/// A module that is compiled for tests alone.
fn only_for_tests(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| matches!(pair, ["#[cfg(test)]", module] if declares(module, name)))
}

/// A table in code: a constant list.
fn code_table(text: &str) -> bool {
    text.lines().any(|line| line.contains("const ") || line.contains("static "))
}

fn code_of(text: &str) -> String {
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn names_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|s| s.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|s| s.chars().next());
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(before) && (word.ends_with(':') || !part(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(door: &str) -> Vec<File> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        vec![file("proxy/src/sink/mod.rs", door), file("proxy/src/sink/grpc.rs", "")]
    }

    #[test]
    fn a_plug_in_outside_the_table_is_a_breach() {
        let in_table = "//! | [`grpc`] | x |\nmod grpc;\n";
        assert_eq!(breaches(&folder(in_table)), Vec::new());
        assert_eq!(breaches(&folder("//! | [`file`] | x |\nmod grpc;\n")).len(), 1);
        assert_eq!(breaches(&folder("//! | [`grpc`] | x |\n")).len(), 1);
        assert_eq!(breaches(&folder("mod grpc;\n")).len(), 2);
    }

    #[test]
    fn a_table_in_code_names_it_too() {
        let door = "mod grpc;\nconst TABLE: [X; 1] = [grpc::NEW];\n";
        assert_eq!(breaches(&folder(door)), Vec::new());
    }
}
