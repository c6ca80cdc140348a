//! The laws of the house over the whole source.

use weir_tests::law::source::{File, files};
use weir_tests::law::{Breach, crates, layers, protos, sizes, tables};

fn source(below: &[&str]) -> Vec<File> {
    let mut all = Vec::new();
    for folder in below {
        match files(folder) {
            Ok(found) => all.extend(found),
            Err(error) => panic!("{error:#}"),
        }
    }
    assert!(!all.is_empty(), "no source below {below:?}");
    all
}

fn obeyed(law: &str, breaches: &[Breach]) {
    let lines: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{law}: {} breaches\n{}", lines.len(), lines.join("\n"));
}

const ALL: [&str; 6] = ["proxy", "xds-client", "config", "weirctl", "benches", "tests"];

#[test]
fn modules_import_downwards_only() {
    obeyed("layers", &layers::breaches(&source(&["proxy/src"])));
}

#[test]
fn wire_messages_stay_at_the_edge() {
    obeyed("protos", &protos::breaches(&source(&["proxy/src"])));
}

#[test]
fn files_fit_a_mind() {
    obeyed("sizes", &sizes::breaches(&source(&ALL)));
}

#[test]
fn every_file_is_named_at_its_door() {
    obeyed("tables", &tables::breaches(&source(&ALL)));
}

#[test]
fn crates_depend_in_one_direction() {
    match crates::breaches() {
        Ok(found) => obeyed("crates", &found),
        Err(error) => panic!("{error:#}"),
    }
}
