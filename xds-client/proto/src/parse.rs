//! YAML or JSON text -> message.

use prost::{Message, Name};
use prost_reflect::DynamicMessage;

use crate::encode;
use crate::error::{Finding, ParseError, Problem};
use crate::path::FieldPath;
use crate::pool::Pool;
use crate::read::Reader;
use crate::text::{self, NOWHERE, Node, SyntaxError};
use crate::validate::{self, Violation};

/// The notation of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// YAML 1.2 with YAML 1.1's booleans and merge keys; JSON is nearly a subset.
    #[default]
    Yaml,
    /// JSON; a comma after the last item is tolerated.
    Json,
}

impl Format {
    /// By the end of a file's name: `.json` is JSON (as in Envoy), anything else YAML.
    pub fn of_file(name: &str) -> Self {
        if name.to_ascii_lowercase().ends_with(".json") { Self::Json } else { Self::Yaml }
    }
}

/// How to read a text.
#[derive(Debug, Clone, Default)]
pub struct ParseOptions {
    /// Its notation.
    pub format: Format,
    /// Its name, for messages; may be empty.
    pub file: String,
    /// Unknown fields are reported as [`Parsed::ignored`], not refused (Envoy's `--allow-unknown-static-fields`).
    /// Unknown types are refused nevertheless.
    pub allow_unknown_fields: bool,
    /// Leave out the protoc-gen-validate rules.
    pub skip_rules: bool,
}

impl ParseOptions {
    /// For a file: its name, and the notation that the name says.
    pub fn for_file(name: impl Into<String>) -> Self {
        let file = name.into();
        Self { format: Format::of_file(&file), file, ..Self::default() }
    }
}

/// A message, and what of the text did not make it there.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<M> {
    /// The message.
    pub message: M,
    /// Unknown fields, where they are allowed.
    pub ignored: Vec<Problem>,
}

impl Pool {
    /// Reads `text` as an `M` and checks it against the rules of its proto.
    ///
    /// # Errors
    /// Every mistake of the text, each with its place.
    pub fn parse<M: Message + Default + Name>(
        &self,
        text: &str,
        options: &ParseOptions,
    ) -> Result<Parsed<M>, ParseError> {
        let source = Source { text, options };
        if text.len() > text::MAX_TEXT_BYTES {
            let message = format!("longer than {} bytes (MAX_TEXT_BYTES)", text::MAX_TEXT_BYTES);
            return Err(source.error(vec![source.whole(message)]));
        }
        source.read(self, parser(options.format)(text))
    }

    /// Reads a JSON value as an `M`; problems then have a path, but no line.
    ///
    /// # Errors
    /// As [`Pool::parse`].
    pub fn parse_value<M: Message + Default + Name>(
        &self,
        value: serde_json::Value,
        options: &ParseOptions,
    ) -> Result<Parsed<M>, ParseError> {
        Source { text: "", options }.read(self, text::from_value(value))
    }
}

/// Turns complaints about fields of a message that `text` was read as into problems with their places there, and says
/// for each how many steps of its path are written in the text.
pub fn locate(
    text: &str,
    format: Format,
    complaints: impl IntoIterator<Item = (FieldPath, String)>,
) -> Vec<(Problem, usize)> {
    let tree = parser(format)(text).ok();
    let complaints = complaints.into_iter().map(|(path, message)| {
        let (at, steps) = match &tree {
            Some(tree) if !path.0.is_empty() => tree.reach(&path.0),
            _ => (NOWHERE, 0),
        };
        (Finding { path, at, message }.locate(text), steps)
    });
    complaints.collect()
}

fn parser(format: Format) -> fn(&str) -> Result<Node, SyntaxError> {
    match format {
        Format::Yaml => text::parse_yaml,
        Format::Json => text::parse_json,
    }
}

/// A text under its options.
struct Source<'a> {
    text: &'a str,
    options: &'a ParseOptions,
}

impl Source<'_> {
    fn read<M: Message + Default + Name>(
        &self,
        pool: &Pool,
        tree: Result<Node, SyntaxError>,
    ) -> Result<Parsed<M>, ParseError> {
        let tree = tree.map_err(|SyntaxError { at, message }| {
            self.error(vec![Finding { path: FieldPath::default(), at, message }])
        })?;
        let desc =
            pool.message(&M::full_name()).map_err(|error| self.error(vec![self.whole(error.to_string())]))?;
        let mut reader = Reader::new(&pool.descriptors, self.options.allow_unknown_fields);
        let message = reader.message(&desc, &tree);
        if !reader.problems.is_empty() {
            return Err(self.error(reader.problems));
        }
        let message =
            message.ok_or_else(|| self.error(vec![self.whole(format!("no {}", M::full_name()))]))?;
        if !self.options.skip_rules {
            let violations = validate::check(pool, &message);
            if !violations.is_empty() {
                let findings = violations.into_iter().map(|Violation { path, message }| {
                    let at = tree.find(&path.0);
                    Finding { path, at, message }
                });
                return Err(self.error(findings.collect()));
            }
        }
        let ignored = reader.ignored.into_iter().map(|finding| finding.locate(self.text)).collect();
        Ok(Parsed { message: self.concrete(&message)?, ignored })
    }

    fn concrete<M: Message + Default>(&self, message: &DynamicMessage) -> Result<M, ParseError> {
        M::decode(encode::to_bytes(message).as_slice())
            .map_err(|error| self.error(vec![self.whole(format!("cannot be encoded: {error}"))]))
    }

    fn whole(&self, message: String) -> Finding {
        Finding { path: FieldPath::default(), at: NOWHERE, message }
    }

    fn error(&self, findings: Vec<Finding>) -> ParseError {
        let problems = findings.into_iter().map(|finding| finding.locate(self.text)).collect();
        ParseError { file: self.options.file.clone(), problems }
    }
}

/// [`Pool::parse`] with a pool of its own, for a caller that has one text.
///
/// # Errors
/// As [`Pool::parse`].
pub fn parse<M: Message + Default + Name>(
    text: &str,
    options: &ParseOptions,
) -> Result<Parsed<M>, ParseError> {
    let pool = Pool::load().map_err(|error| {
        let source = Source { text, options };
        source.error(vec![source.whole(error.to_string())])
    })?;
    pool.parse(text, options)
}
