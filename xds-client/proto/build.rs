//! Generates, at build time and without `protoc`: the Rust types of `protos/` (what `envoy-types` lacks), and one
//! descriptor set of `envoy-types`' protos together with ours, options included, for reading and writing JSON and YAML.
//!
//! `envoy-types` ships its protos but no descriptors; its folder is asked of cargo. protox resolves a relative name
//! against every package it has loaded where protoc looks at the file's own imports, so each relative reference is
//! replaced by its full name before the compiler sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::prost_types::uninterpreted_option::NamePart;
use protox::prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Import roots below `proto/` of `envoy-types`.
const ROOTS: [&str; 8] = [
    "data-plane-api",
    "xds",
    "protoc-gen-validate",
    "googleapis",
    "opentelemetry-proto",
    "client_model",
    "cel-spec/proto",
    "ratelimit/api",
];

fn main() -> Outcome<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=protos");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let own_root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("protos");

    let mut files = BTreeMap::new();
    let theirs = envoy_types_protos()?;
    for root in ROOTS {
        let root = theirs.join(root);
        read_tree(&root, &root, &mut files)?;
    }
    let mut ours = BTreeMap::new();
    read_tree(&own_root, &own_root, &mut ours)?;
    let own: BTreeSet<String> = ours.keys().cloned().collect();
    files.append(&mut ours);

    let names = Names::collect(files.values());
    for file in files.values_mut() {
        names.qualify_file(file);
    }

    let all: Vec<String> = files.keys().cloned().collect();
    let mut chain = ChainFileResolver::new();
    chain.add(InMemory(files));
    chain.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(chain);
    compiler.include_imports(true).include_source_info(false);
    compiler.open_files(&all)?;
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    generate(compiler.file_descriptor_set(), &own, &out)
}

/// Rust for the messages of `own` files; every other message is one that `envoy-types` has already.
fn generate(set: FileDescriptorSet, own: &BTreeSet<String>, out: &Path) -> Outcome<()> {
    let set = closure(set, own);
    let mut config = prost_build::Config::new();
    config.enable_type_names().compile_well_known_types().btree_map(["."]).out_dir(out);
    for file in set.file.iter().filter(|file| !own.contains(file.name())) {
        let module: Vec<String> = file.package().split('.').map(module_name).collect();
        let module = format!("::envoy_types::pb::{}", module.join("::"));
        for kind in &file.enum_type {
            config.extern_path(
                format!(".{}.{}", file.package(), kind.name()),
                format!("{module}::{}", kind.name()),
            );
        }
        for message in &file.message_type {
            extern_message(&mut config, &format!(".{}", file.package()), &module, message);
        }
    }
    config.compile_fds(set)?;
    Ok(())
}

fn extern_message(config: &mut prost_build::Config, scope: &str, module: &str, message: &DescriptorProto) {
    let (full, inner) = (join(scope, message.name()), format!("{module}::{}", module_name(message.name())));
    for kind in &message.enum_type {
        config.extern_path(join(&full, kind.name()), format!("{inner}::{}", kind.name()));
    }
    for nested in &message.nested_type {
        extern_message(config, &full, &inner, nested);
    }
    config.extern_path(full, format!("{module}::{}", message.name()));
}

/// `FilterChain` and `type` as the modules prost makes of them.
fn module_name(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    if snake == "type" { "r#type".to_owned() } else { snake }
}

/// The files of `own` and all that they import.
fn closure(mut set: FileDescriptorSet, own: &BTreeSet<String>) -> FileDescriptorSet {
    let imports: BTreeMap<String, Vec<String>> =
        set.file.iter().map(|file| (file.name().to_owned(), file.dependency.clone())).collect();
    let mut wanted = own.clone();
    let mut open: Vec<String> = own.iter().cloned().collect();
    while let Some(name) = open.pop() {
        for import in imports.get(&name).into_iter().flatten() {
            if wanted.insert(import.clone()) {
                open.push(import.clone());
            }
        }
    }
    set.file.retain(|file| wanted.contains(file.name()));
    set
}

/// The `proto/` folder of the `envoy-types` that this build resolved.
fn envoy_types_protos() -> Outcome<PathBuf> {
    let manifest = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let metadata = |offline: &[&str]| {
        Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
            .args(["metadata", "--locked", "--format-version", "1", "--manifest-path"])
            .arg(&manifest)
            .args(offline)
            .output()
    };
    // A build fetches what it compiles, not what other platforms and tests need; the second call gets the rest.
    let mut output = metadata(&["--offline"])?;
    if !output.status.success() {
        output = metadata(&[])?;
    }
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == "envoy-types"))
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata names no package envoy-types")?;
    let folder = Path::new(manifest).parent().ok_or("envoy-types has no folder")?.join("proto");
    if !folder.is_dir() {
        return Err(
            format!("{} is missing: this version of envoy-types ships no protos", folder.display()).into()
        );
    }
    Ok(folder)
}

/// Parses every `.proto` below `dir` into `files`, by import name.
fn read_tree(root: &Path, dir: &Path, files: &mut BTreeMap<String, FileDescriptorProto>) -> Outcome<()> {
    for entry in fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            read_tree(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            let name = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            let parsed = File::from_source(&name, &fs::read_to_string(&path)?)?;
            files.insert(name, parsed.file_descriptor_proto().clone());
        }
    }
    Ok(())
}

/// The parsed files, as protox asks for them.
struct InMemory(BTreeMap<String, FileDescriptorProto>);

impl FileResolver for InMemory {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(file) => Ok(File::from_file_descriptor_proto(file.clone())),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// Every full name of the tree: types, and extensions for options such as `(validate.rules)`.
#[derive(Default)]
struct Names {
    types: BTreeSet<String>,
    extensions: BTreeSet<String>,
}

impl Names {
    fn collect<'a>(files: impl Iterator<Item = &'a FileDescriptorProto>) -> Self {
        let mut names = Self::default();
        for file in files {
            let package = file.package();
            names.extensions.extend(file.extension.iter().map(|field| join(package, field.name())));
            names.types.extend(file.enum_type.iter().map(|kind| join(package, kind.name())));
            for message in &file.message_type {
                names.collect_message(package, message);
            }
        }
        names
    }

    fn collect_message(&mut self, scope: &str, message: &DescriptorProto) {
        let full = join(scope, message.name());
        self.types.extend(message.enum_type.iter().map(|kind| join(&full, kind.name())));
        self.extensions.extend(message.extension.iter().map(|field| join(&full, field.name())));
        for nested in &message.nested_type {
            self.collect_message(&full, nested);
        }
        self.types.insert(full);
    }

    fn qualify_file(&self, file: &mut FileDescriptorProto) {
        let package = file.package().to_owned();
        for message in &mut file.message_type {
            self.qualify_message(&package, message);
        }
        for field in &mut file.extension {
            self.qualify_field(&package, field);
        }
        for method in file.service.iter_mut().flat_map(|service| &mut service.method) {
            self.qualify(&package, &mut method.input_type);
            self.qualify(&package, &mut method.output_type);
        }
        for option in file.options.iter_mut().flat_map(|options| &mut options.uninterpreted_option) {
            self.qualify_option(&package, &mut option.name);
        }
    }

    fn qualify_message(&self, scope: &str, message: &mut DescriptorProto) {
        let full = join(scope, message.name());
        for field in message.field.iter_mut().chain(&mut message.extension) {
            self.qualify_field(&full, field);
        }
        for nested in &mut message.nested_type {
            self.qualify_message(&full, nested);
        }
        for option in message.options.iter_mut().flat_map(|options| &mut options.uninterpreted_option) {
            self.qualify_option(&full, &mut option.name);
        }
        for oneof in &mut message.oneof_decl {
            for option in oneof.options.iter_mut().flat_map(|options| &mut options.uninterpreted_option) {
                self.qualify_option(&full, &mut option.name);
            }
        }
    }

    fn qualify_field(&self, scope: &str, field: &mut FieldDescriptorProto) {
        self.qualify(scope, &mut field.type_name);
        self.qualify(scope, &mut field.extendee);
        for option in field.options.iter_mut().flat_map(|options| &mut options.uninterpreted_option) {
            self.qualify_option(scope, &mut option.name);
        }
    }

    fn qualify(&self, scope: &str, name: &mut Option<String>) {
        if let Some(full) = name.as_deref().and_then(|name| resolve(&self.types, scope, name)) {
            *name = Some(full);
        }
    }

    fn qualify_option(&self, scope: &str, parts: &mut [NamePart]) {
        for part in parts.iter_mut().filter(|part| part.is_extension) {
            if let Some(full) = resolve(&self.extensions, scope, &part.name_part) {
                part.name_part = full;
            }
        }
    }
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// Searches from the innermost scope outwards; `None` leaves the name as it is (already full, or known to protox alone).
fn resolve(known: &BTreeSet<String>, scope: &str, name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with('.') {
        return None;
    }
    let mut scope = scope;
    loop {
        let full = join(scope, name);
        if known.contains(&full) {
            return Some(format!(".{full}"));
        }
        if scope.is_empty() {
            return None;
        }
        scope = scope.rfind('.').map_or("", |dot| scope.get(..dot).unwrap_or(""));
    }
}
