//! The example files that every release has to read.

mod corpora;

use weir_config::diag::{Severity, has_errors, render_text};
use weir_config::{World, check};

/// Reads one file of the seeds.
fn read(name: &str) -> Option<(String, String)> {
    let path = corpora::root("seeds")?.join("seeds").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some((name.to_owned(), text))
}

#[test]
fn the_rule_as_printed_is_refused_with_line_and_remedy() {
    let Some(source) = read("ftgo-vs-2-as-printed.yaml") else { return };
    let (_, diagnostics) = World::read(&[source]);
    let errors: Vec<_> =
        diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect();
    println!("{}", render_text(&diagnostics));
    assert_eq!(errors.len(), 1);
    let error = errors[0];
    assert_eq!(error.code, "unknown-field");
    assert_eq!(error.at.as_ref().map(|at| (at.line, at.column)), Some((20, 9)));
    assert!(error.remedy.as_ref().is_some_and(|remedy| remedy.contains("dedent")), "{error}");
}

#[test]
fn the_others_are_read_without_errors() {
    let Some(root) = corpora::root("seeds") else { return };
    let mut names: Vec<String> = std::fs::read_dir(root.join("seeds"))
        .expect("the folder of seeds")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".yaml") && !name.contains("as-printed"))
        .collect();
    names.sort();
    assert!(names.len() >= 11, "{names:?}");
    let sources: Vec<_> = names.iter().filter_map(|name| read(name)).collect();
    for source in &sources {
        let (world, mut diagnostics) = World::read(std::slice::from_ref(source));
        diagnostics.extend(check::check(&world));
        println!("== {}\n{}", source.0, render_text(&diagnostics));
        assert!(world.metas().count() > 0);
    }
    let (_, diagnostics) = World::read(&sources);
    assert!(!has_errors(&diagnostics), "{}", render_text(&diagnostics));
}
