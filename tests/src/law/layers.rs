//! A module of the data plane imports only from lower layers: rows with a smaller number, nothing from
//! its own row but itself.

use super::Breach;
use super::source::File;

/// Modules of `proxy/src` by layer, lowest first.
pub const LAYERS: [&[&str]; 13] = [
    &["base"],
    &["failure"],
    &["observe"],
    &["live"],
    &["transport"],
    &["model"],
    &["network", "codec", "route"],
    &["upstream"],
    &["http", "tcp", "sink"],
    &["listen"],
    &["control"],
    &["admin"],
    &["boot", "main", "lib"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// Breaches in the files of `proxy/src`.
pub fn breaches(files: &[File]) -> Vec<Breach> {
    files.iter().filter(|f| !f.is_test()).flat_map(of_file).collect()
}

fn of_file(file: &File) -> Vec<Breach> {
    let inside = file.path.strip_prefix("proxy/src/").unwrap_or(&file.path);
    let own = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let Some(own_layer) = layer(own) else {
        let what = format!(
            "module {own} stands in no layer: give it a row in DESIGN 2.2 and in tests/src/law/layers.rs"
        );
        return vec![Breach { at: file.path.clone(), what }];
    };
    let lines = file.code();
    let mut found = Vec::new();
    for (index, (number, code)) in lines.iter().enumerate() {
        for name in imported(code, lines.get(index + 1..).unwrap_or_default()) {
            let what = match layer(&name) {
                _ if name == own => continue,
                Some(other) if other < own_layer => continue,
                Some(other) => format!(
                    "{own} (layer {own_layer}) imports {name} (layer {other}); move the thing down or turn the call into a port that the lower layer declares"
                ),
                // An item of the crate's root is a module nobody gave a layer, or a macro.
                None => continue,
            };
            found.push(Breach { at: format!("{}:{number}", file.path), what });
        }
    }
    found
}

/// First path segments after `crate::` on a line; a group may go on over the lines that follow.
fn imported(code: &str, following: &[(usize, &str)]) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code.get(..at).and_then(|s| s.chars().next_back());
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = code.get(at + "crate::".len()..).unwrap_or_default();
        if rest.starts_with('{') {
            let mut group = rest.to_owned();
            for (_, line) in following.iter().take(64) {
                if group.matches('{').count() <= group.matches('}').count() {
                    break;
                }
                group.push_str(line);
            }
            names.extend(heads(&group));
        } else {
            names.push(word(rest));
        }
    }
    names
}

/// First segments of the entries of `{a, b::c, d::{e, f}}`.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut fresh) = (0_u32, Vec::new(), false);
    for (at, character) in group.char_indices() {
        match character {
            '{' => {
                depth += 1;
                fresh = depth == 1;
            }
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            ',' if depth == 1 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                names.push(word(group.get(at..).unwrap_or_default()));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn an_import_upwards_is_found_in_every_form() {
        for line in [
            "use crate::control::Compile;",
            "use crate::{base::Clock, control::Compile};",
            "use crate::{\n    base::{a, b},\n    control,\n};",
            "fn f() { crate::control::run() }",
        ] {
            let found = breaches(&[file("proxy/src/http/exchange.rs", line)]);
            assert_eq!(found.len(), 1, "{line}");
        }
    }

    #[test]
    fn downward_own_and_commented_imports_pass() {
        let text = "use crate::base::Clock;\nuse crate::http::x;\n// crate::control\n/// [`crate::control`]\n\
                    #[cfg(test)]\nmod tests {\n    use crate::control::x;\n}\n";
        assert_eq!(breaches(&[file("proxy/src/http/exchange.rs", text)]), Vec::new());
    }

    #[test]
    fn a_sibling_of_the_same_row_is_a_breach() {
        let found = breaches(&[file("proxy/src/tcp/mod.rs", "use crate::http::x;")]);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_module_without_a_layer_is_a_breach() {
        assert_eq!(breaches(&[file("proxy/src/odd/mod.rs", "")]).len(), 1);
    }
}
