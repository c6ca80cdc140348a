//! Reading the recordings: input files by step, and what was pushed up to each step.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_proto::{Pool, Secrets};

/// Resources by name, as JSON.
pub type Resources = BTreeMap<String, Value>;

/// Kind of a push in a file name, and the name of that kind here.
const KINDS: [(&str, &str); 3] = [("cds", "clusters"), ("eds", "endpoints"), ("rds", "routes")];

/// The folder of the recordings, if there is one.
pub fn folder() -> Option<PathBuf> {
    let corpora = std::env::var_os("WEIR_CORPORA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"), PathBuf::from);
    Some(corpora.join("istiod-recorded/ads")).filter(|folder| folder.is_dir())
}

/// One scenario.
pub struct Scenario {
    /// Number of a step, its name, the file it writes and the text (none: the file is removed).
    input: Vec<(usize, String, String, Option<String>)>,
    pub nodes: Vec<Recorded>,
}

/// What one node was sent.
pub struct Recorded {
    pub name: String,
    pub first_request: Value,
    pub steps: Vec<Step>,
}

/// What a node had after a step.
pub struct Step {
    pub name: String,
    pub pushed: BTreeMap<String, Resources>,
}

impl Scenario {
    pub fn read(folder: &Path, name: &str, last: Option<&str>, pool: &Pool) -> Self {
        let folder = folder.join(name);
        let input = read_input(&folder.join("input"));
        let nodes = children(&folder).into_iter().filter(|node| !node.ends_with("input"));
        let nodes = nodes.map(|node| Recorded::read(&node, last, pool)).collect();
        Self { input, nodes }
    }

    /// The files as they stood after a step.
    pub fn input_at(&self, step: &str) -> Vec<(String, String)> {
        let until = self.input.iter().find(|(_, name, ..)| name == step).expect("step has input").0;
        let mut files: BTreeMap<&str, &str> = BTreeMap::new();
        for (_, _, file, text) in self.input.iter().filter(|(number, ..)| *number <= until) {
            match text {
                Some(text) => files.insert(file, text),
                None => files.remove(file.as_str()),
            };
        }
        files.into_iter().map(|(file, text)| (file.to_owned(), text.to_owned())).collect()
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("recording");
    let mut children: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    children.sort();
    children
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("file name")
}

/// `STEP-NAME--FILE`, in the order of the steps' numbers.
fn read_input(folder: &Path) -> Vec<(usize, String, String, Option<String>)> {
    let mut input = Vec::new();
    for path in children(folder) {
        let (step, file) = file_name(&path).split_once("--").expect("STEP--FILE");
        let (number, name) = step.split_once('-').expect("NUMBER-NAME");
        let (file, text) = match file.strip_suffix(".deleted") {
            Some(file) => (file, None),
            None => (file, Some(std::fs::read_to_string(&path).expect("input"))),
        };
        input.push((number.parse().expect("number"), name.to_owned(), file.to_owned(), text));
    }
    input.sort_by_key(|(number, ..)| *number);
    input
}

impl Recorded {
    fn read(folder: &Path, last: Option<&str>, pool: &Pool) -> Self {
        let files = children(folder);
        let request =
            files.iter().find(|file| file_name(file).contains("-req-") && file_name(file).ends_with(".json"));
        let request = std::fs::read_to_string(request.expect("request")).expect("request");
        let mut pushed: BTreeMap<String, Resources> =
            KINDS.iter().map(|(_, kind)| ((*kind).to_owned(), Resources::new())).collect();
        let mut pushes = files.iter().filter_map(|file| push_of(file)).peekable();
        let mut steps = Vec::new();
        let list = std::fs::read_to_string(folder.join("steps.jsonl")).expect("steps");
        for line in list.lines() {
            let line: Value = serde_json::from_str(line).expect("step");
            let name = line["step"].as_str().expect("name").to_owned();
            let through = usize::try_from(line["through"].as_u64().expect("number")).expect("number");
            while let Some((_, kind, path)) = pushes.next_if(|(number, ..)| *number <= through) {
                apply(pushed.get_mut(kind).expect("kind"), path, pool);
            }
            let reached = last == Some(name.as_str());
            steps.push(Step { name, pushed: pushed.clone() });
            if reached {
                break;
            }
        }
        Self {
            name: file_name(folder).to_owned(),
            first_request: serde_json::from_str(&request).expect("json"),
            steps,
        }
    }
}

/// `NNN-push-KIND.pb` of a kind that is compared.
fn push_of(path: &Path) -> Option<(usize, &'static str, &Path)> {
    let (number, rest) = file_name(path).strip_suffix(".pb")?.split_once("-push-")?;
    let (_, kind) = KINDS.iter().find(|(short, _)| *short == rest)?;
    Some((number.parse().expect("number"), kind, path))
}

/// A delta: what it brings and what it takes away.
fn apply(resources: &mut Resources, path: &Path, pool: &Pool) {
    let bytes = std::fs::read(path).expect("push");
    let delta = pool
        .to_json("envoy.service.discovery.v3.DeltaDiscoveryResponse", &bytes, Secrets::Show)
        .expect("DeltaDiscoveryResponse");
    for one in delta["resources"].as_array().into_iter().flatten() {
        let mut resource = one["resource"].clone();
        resource.as_object_mut().expect("resource").remove("@type");
        resources.insert(one["name"].as_str().expect("name").to_owned(), resource);
    }
    for name in delta["removed_resources"].as_array().into_iter().flatten() {
        resources.remove(name.as_str().expect("name"));
    }
}
