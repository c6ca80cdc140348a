//! `LayeredRuntime`: static layers, those on disk, and those that a source brings (RTDS).

use super::{metadata, source};
use crate::base::ledger::At;
use crate::model::pushed::Pushed;
use crate::model::runtime::{Layer, Runtime, Values};
use serde_json::Value;
use std::path::{Path, PathBuf};
use weir_proto::envoy::config::bootstrap::v3 as proto;
use weir_proto::envoy::config::bootstrap::v3::runtime_layer::{DiskLayer, LayerSpecifier, RtdsLayer};
use weir_proto::envoy::service::runtime::v3 as service;

/// Most runtime keys.
pub const MAX_RUNTIME_KEYS: usize = 10_000;

/// Longest file of a layer on disk.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Deepest folder of a layer on disk.
const MAX_DEPTH: usize = 16;

/// The layers. `service_cluster`: the node's, for `append_service_cluster`.
pub fn runtime(at: &At<'_>, message: &proto::LayeredRuntime, service_cluster: &str) -> Runtime {
    crate::ledger!(at, message => proto::LayeredRuntime { layers });
    let mut all = Vec::new();
    let mut admin = false;
    for (i, layer) in layers.iter().enumerate() {
        let here = at.item("layers", i);
        crate::ledger!(here, layer => proto::RuntimeLayer { name, layer_specifier });
        here.non_empty("name", name);
        if layers.iter().take(i).any(|other| other.name == *name) {
            here.bad("name", format!("Duplicate layer name: {name}"));
        }
        let mut made = Layer { name: name.as_str().into(), ..Layer::default() };
        match layer_specifier {
            Some(LayerSpecifier::StaticLayer(message)) => {
                flatten("", &metadata::structure(message), &mut made.values);
            }
            Some(LayerSpecifier::AdminLayer(_)) if admin => {
                here.error("Too many admin layers specified in LayeredRuntime, at most one may be specified");
            }
            Some(LayerSpecifier::AdminLayer(_)) => admin = true,
            Some(LayerSpecifier::DiskLayer(message)) => {
                disk(&here.field("disk_layer"), message, service_cluster, &mut made.values);
            }
            Some(LayerSpecifier::RtdsLayer(message)) => {
                made.pushed = rtds(&here.field("rtds_layer"), message)
            }
            None => here.bad("layer_specifier", "must be set"),
        }
        all.push(made);
    }
    let all = Runtime::new(all);
    check_size(at, all.len());
    all
}

fn check_size(at: &At<'_>, keys: usize) {
    if keys > MAX_RUNTIME_KEYS {
        at.error(format!("has {keys} keys, the limit is {MAX_RUNTIME_KEYS}"));
    }
}

fn rtds(at: &At<'_>, message: &RtdsLayer) -> Option<Pushed> {
    crate::ledger!(at, message => RtdsLayer { name, rtds_config });
    let (source, fetch) = source::pushed(&at.field("rtds_config"), rtds_config.as_ref());
    Some(Pushed { name: at.non_empty("name", name)?.into(), source, fetch })
}

/// The values of a layer that a source has brought.
pub fn values(at: &At<'_>, message: &service::Runtime) -> Option<Values> {
    crate::ledger!(at, message => service::Runtime { name, layer });
    at.non_empty("name", name);
    let mut values = Values::default();
    if let Some(message) = layer {
        flatten("", &metadata::structure(message), &mut values);
    }
    check_size(at, values.len());
    Some(values)
}

/// Nested keys are joined by dots.
fn flatten(prefix: &str, value: &Value, all: &mut Values) {
    let text = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&key, value, all);
            }
            return;
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    all.insert(prefix.into(), text.into());
}

/// A layer on disk is read when the process starts: a file is a key, folders are parts of it joined by dots.
fn disk(at: &At<'_>, message: &DiskLayer, service_cluster: &str, all: &mut Values) {
    crate::ledger!(at, message => DiskLayer { symlink_root, append_service_cluster, subdirectory });
    let Some(root) = at.non_empty("symlink_root", symlink_root) else { return };
    // Swaps of the link are not followed.
    at.not_obeyed("symlink_root", true);
    let parent = Path::new(root).parent().filter(|parent| !parent.as_os_str().is_empty());
    if !parent.unwrap_or(Path::new(".")).is_dir() {
        let message = format!("unable to add filesystem watch for file {root}: No such file or directory");
        at.field("symlink_root").error_with(message, "the folder that holds the link must exist");
        return;
    }
    let mut folder = PathBuf::from(root);
    folder.push(subdirectory);
    if *append_service_cluster {
        folder.push(service_cluster);
    }
    // As in Envoy, an empty layer when there is no such folder.
    if folder.is_dir()
        && let Err(error) = read(&folder, "", MAX_DEPTH, all)
    {
        at.error(format!("{}: {error}", folder.display()));
    }
}

fn read(folder: &Path, prefix: &str, depth: usize, all: &mut Values) -> std::io::Result<()> {
    if depth == 0 || all.len() > MAX_RUNTIME_KEYS {
        let limits = format!("deeper than {MAX_DEPTH} folders, or more than {MAX_RUNTIME_KEYS} keys");
        return Err(std::io::Error::other(limits));
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        let of = std::fs::metadata(entry.path())?;
        if of.is_dir() {
            read(&entry.path(), &key, depth.saturating_sub(1), all)?;
        } else if of.len() > MAX_FILE_BYTES {
            return Err(std::io::Error::other(format!("{key} is longer than {MAX_FILE_BYTES} bytes")));
        } else {
            let text = std::fs::read_to_string(entry.path())?;
            // Lines of comments are left out, as in Envoy.
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            all.insert(key.into(), lines.join("\n").trim_end().into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ledger::Sink;

    #[test]
    fn layers_are_put_upon_each_other() {
        let folder = std::env::temp_dir().join(format!("weir-runtime-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("current/envoy/health")).unwrap();
        std::fs::write(folder.join("current/envoy/health/min"), "# a comment\n7\n").unwrap();
        std::fs::write(folder.join("current/flat"), "on\n").unwrap();
        let text = format!(
            "{{layers: [{{name: s, static_layer: {{flat: 'off', deep: {{key: true}}}}}}, {{name: d, disk_layer: {{symlink_root: {}/current}}}}, {{name: r, rtds_layer: {{name: r, rtds_config: {{ads: {{}}}}}}}}]}}",
            folder.display()
        );
        let options = weir_proto::ParseOptions { skip_rules: true, ..weir_proto::ParseOptions::default() };
        let message = weir_proto::parse::<proto::LayeredRuntime>(&text, &options).unwrap().message;
        let sink = Sink::new();
        let at = sink.root("layered_runtime");
        let all = runtime(&at, &message, "c");
        let value = |key: &str| all.get(key).map(|text| text.to_string());
        assert_eq!(value("envoy.health.min").as_deref(), Some("7"));
        assert_eq!((value("flat").as_deref(), value("deep.key").as_deref()), (Some("on"), Some("true")));
        assert_eq!(at.notes(), ["layered_runtime.layers[1].disk_layer.symlink_root"]);
        assert_eq!(all.layers()[2].pushed.as_ref().map(|pushed| &*pushed.name), Some("r"));
        assert!(sink.is_empty(), "{:?}", sink.into_errors());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
