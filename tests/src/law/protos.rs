//! Wire messages are known in `control`, `boot` and a plug-in's own file, nowhere else; and the data plane
//! knows the YAML compiler in `boot` alone.

use super::Breach;
use super::source::File;
use super::tables::PLUGIN_FOLDERS;

/// Breaches in the files of `proxy/src`.
pub fn breaches(files: &[File]) -> Vec<Breach> {
    let mut found = Vec::new();
    for file in files.iter().filter(|f| !f.is_test()) {
        let inside = file.path.strip_prefix("proxy/src/").unwrap_or(&file.path);
        let home = inside.starts_with("control/") || inside.starts_with("boot") || inside == "main.rs";
        let plugin = PLUGIN_FOLDERS.iter().any(|folder| file.path.starts_with(&format!("{folder}/")));
        for (number, code) in file.code() {
            let at = || format!("{}:{number}", file.path);
            if code.contains("weir_proto") && !home && !plugin {
                found.push(Breach {
                    at: at(),
                    what: "knows a wire message; compile it in control and pass the model type".to_owned(),
                });
            }
            if code.contains("weir_config") && !inside.starts_with("boot") {
                found.push(Breach { at: at(), what: "knows the YAML compiler; only boot may".to_owned() });
            }
        }
    }
    found
}
