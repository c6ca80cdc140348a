//! The bootstrap: from `-c` and `--config-yaml` to one message, and the places of what is wrong in it.

use super::flags::Flags;
use super::mesh;
use crate::control::StartError;
use anyhow::{Context, anyhow};
use prost::Message;
use std::io::Read;
use weir_proto::envoy::config::bootstrap::v3::Bootstrap;
use weir_proto::{FieldPath, MAX_TEXT_BYTES, ParseError, ParseOptions, Pool, locate};
use xxhash_rust::xxh64::xxh64;

/// A bootstrap and the texts that it was read from.
pub struct Written {
    /// The message: `-c`, with `--config-yaml` merged over it.
    pub message: Bootstrap,
    /// Fields and types that were not understood and left out (`--allow-unknown-static-fields`).
    pub unknown: u64,
    texts: Vec<(ParseOptions, String)>,
}

impl Written {
    /// Reads what the flags name.
    ///
    /// # Errors
    /// Every mistake of a text, with its place.
    pub fn read(flags: &Flags) -> anyhow::Result<Written> {
        let mut texts = Vec::new();
        if let Some(path) = &flags.config_path {
            texts.push((ParseOptions::for_file(path), file(path)?));
        }
        if let Some(text) = &flags.config_yaml {
            texts.push((ParseOptions::for_file("--config-yaml"), text.clone()));
        }
        if texts.is_empty() {
            if flags.mesh_config.is_none() {
                let remedy = "give a bootstrap with -c FILE or --config-yaml TEXT (weir --help)";
                return Err(anyhow!("no configuration: {remedy}"));
            }
            texts.push((ParseOptions::for_file("--mesh-config"), mesh::ADMIN.to_owned()));
        }
        let pool = Pool::load().map_err(|error| anyhow!("{error}"))?;
        let (mut bytes, mut unknown) = (Vec::new(), 0u64);
        for (options, text) in &mut texts {
            options.allow_unknown_fields = flags.allow_unknown;
            let parsed = pool.parse::<Bootstrap>(text, options).map_err(|error| anyhow!("{error}"))?;
            for problem in parsed.ignored {
                unknown = unknown.saturating_add(1);
                let shown = ParseError { file: options.file.clone(), problems: vec![problem] };
                tracing::warn!("ignored: {shown}");
            }
            // The wire form of two messages, one behind the other, is that of the merged one.
            parsed.message.encode(&mut bytes)?;
        }
        let mut message = Bootstrap::decode(&*bytes)?;
        if let Some(zone) = &flags.service_zone {
            let node = message.node.get_or_insert_default();
            node.locality.get_or_insert_default().zone.clone_from(zone);
        }
        Ok(Written { message, unknown, texts })
    }

    /// Hash of the texts: the same as long as nobody touches them.
    pub fn hash(&self) -> u64 {
        self.texts.iter().fold(0, |seed, (_, text)| xxh64(text.as_bytes(), seed))
    }

    /// The mistakes that the engine found in the bootstrap, each with its place in the text that says most of its
    /// path.
    pub fn explain(&self, error: &StartError) -> anyhow::Error {
        let complaints = || {
            error.errors.iter().map(|error| {
                let remedy = error.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
                (FieldPath::of(&error.path), format!("{}{remedy}", error.message))
            })
        };
        let mut shown: Vec<(usize, String)> = Vec::new();
        for (options, text) in &self.texts {
            for (index, (problem, steps)) in
                locate(text, options.format, complaints()).into_iter().enumerate()
            {
                let found = ParseError { file: options.file.clone(), problems: vec![problem] }.to_string();
                match shown.get_mut(index) {
                    None => shown.push((steps, found)),
                    Some(best) if steps > best.0 => *best = (steps, found),
                    Some(_) => {}
                }
            }
        }
        anyhow!("{}", shown.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n"))
    }
}

/// The text of a file; a pipe will do, too.
fn file(path: &str) -> anyhow::Result<String> {
    let most = u64::try_from(MAX_TEXT_BYTES).unwrap_or(u64::MAX);
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_string(&mut text));
    read.with_context(|| format!("{path} cannot be read"))?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(anyhow!("{path} is longer than {MAX_TEXT_BYTES} bytes (MAX_TEXT_BYTES)"));
    }
    Ok(text)
}
