//! The field ledger: where a compile function stands in a configuration, and what it found wrong there.
//!
//! A compile function takes its proto message apart with [`ledger!`](crate::ledger): every field is named as used, refused when set, or
//! ignored (each ignored one has a line in `docs/fields.md`). A field that a newer proto adds does not compile until
//! somebody decides about it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// Most errors kept for one resource; more are only counted by the last line.
pub const MAX_ERRORS: usize = 100;

/// One mistake: where it is, what it is, what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompileError {
    /// Field path, as in `filter_chains[0].filters[1].typed_config.stat_prefix`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it, if there is more to say.
    pub remedy: Option<String>,
    /// It is refused because this release does not have it: an Envoy may take it.
    pub lacking: bool,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message)?,
            path => write!(f, "{path}: {}", self.message)?,
        }
        match &self.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CompileError {}

/// Most notes kept for one resource.
pub const MAX_NOTES: usize = 100;

/// Collects the mistakes of one resource, and what of it is accepted and not obeyed.
#[derive(Default, Debug)]
pub struct Sink {
    errors: RefCell<Vec<CompileError>>,
    notes: RefCell<Vec<String>>,
}

impl Sink {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The place where everything begins; `path` is what all paths start with (may be empty).
    pub fn root<'a>(&'a self, path: &'a str) -> At<'a> {
        At { up: None, step: Step::Root(path), sink: self }
    }

    /// Number of mistakes so far.
    pub fn len(&self) -> usize {
        self.errors.borrow().len()
    }

    /// None so far?
    pub fn is_empty(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    /// All mistakes.
    pub fn into_errors(self) -> Vec<CompileError> {
        self.errors.into_inner()
    }

    /// The value when nothing went wrong, all mistakes otherwise.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<CompileError>> {
        let errors = self.into_errors();
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ if errors.is_empty() => Err(vec![CompileError {
                path: String::new(),
                message: "could not be compiled".into(),
                remedy: None,
                lacking: false,
            }]),
            _ => Err(errors),
        }
    }

    fn push(&self, error: CompileError) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < MAX_ERRORS {
            errors.push(error);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root(&'a str),
    Field(&'a str),
    Item(&'a str, usize),
    Key(&'a str, &'a str),
}

/// A place in a configuration. Its path is only written out when something is wrong there.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    up: Option<&'a At<'a>>,
    step: Step<'a>,
    sink: &'a Sink,
}

impl<'a> At<'a> {
    /// A field of this message.
    pub fn field<'s>(&'s self, name: &'s str) -> At<'s> {
        At { up: Some(self), step: Step::Field(name), sink: self.sink }
    }

    /// An element of a repeated field of this message.
    pub fn item<'s>(&'s self, name: &'s str, index: usize) -> At<'s> {
        At { up: Some(self), step: Step::Item(name, index), sink: self.sink }
    }

    /// A value of a map field of this message.
    pub fn key<'s>(&'s self, name: &'s str, key: &'s str) -> At<'s> {
        At { up: Some(self), step: Step::Key(name, key), sink: self.sink }
    }

    /// Something is wrong here.
    pub fn error(&self, message: impl Into<String>) {
        self.push(message.into(), None);
    }

    /// Something is wrong here, and this is what to do.
    pub fn error_with(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.push(message.into(), Some(remedy.into()));
    }

    /// Something is wrong with a field of this message.
    pub fn bad(&self, field: &str, message: impl Into<String>) {
        self.field(field).error(message);
    }

    /// The value is there, or the field is reported as missing.
    pub fn required<T>(&self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.bad(field, "must be set");
        }
        value
    }

    /// A name that must not be empty.
    pub fn non_empty<'v>(&self, field: &str, value: &'v str) -> Option<&'v str> {
        if value.is_empty() {
            self.bad(field, "must not be empty");
            return None;
        }
        Some(value)
    }

    /// A text that goes out as part of a header or a request line: NUL, CR and LF would end it (Envoy's
    /// `well_known_regex: HTTP_HEADER_VALUE` with `strict: false`). Files are judged so when they are read, messages here.
    pub fn one_line<'v>(&self, field: &str, text: &'v str) -> &'v str {
        if text.contains(['\0', '\r', '\n']) {
            self.bad(field, "must be free of NUL, CR and LF");
        }
        text
    }

    /// Refuses a field when it is set.
    pub fn refuse(&self, field: &str, set: bool) {
        if set {
            self.field(field).unsupported("this field");
        }
    }

    /// Refuses what stands here.
    pub fn unsupported(&self, what: &str) {
        self.lacks(format!("{what} is not supported by this release"), "remove it");
    }

    /// Something is wrong here for this release alone, and what to do about it.
    pub fn lacks(&self, message: impl Into<String>, remedy: impl Into<String>) {
        let (path, message, remedy) = (self.path(), message.into(), Some(remedy.into()));
        self.sink.push(CompileError { path, message, remedy, lacking: true });
    }

    /// A field is accepted, and not obeyed yet: it is named when the process starts.
    pub fn not_obeyed(&self, field: &str, set: bool) {
        let mut notes = self.sink.notes.borrow_mut();
        if set && notes.len() < MAX_NOTES {
            notes.push(self.field(field).path());
        }
    }

    /// The paths of what was accepted and is not obeyed, in the whole resource so far.
    pub fn notes(&self) -> Vec<String> {
        self.sink.notes.borrow().clone()
    }

    /// Mistakes so far, in the whole resource: two readings tell whether something between them went wrong.
    pub fn mistakes(&self) -> usize {
        self.sink.len()
    }

    /// The path as text.
    pub fn path(&self) -> String {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(here) = at {
            steps.push(here.step);
            at = here.up;
        }
        let mut out = String::new();
        for step in steps.into_iter().rev() {
            let (name, suffix) = match step {
                Step::Root(name) | Step::Field(name) => (name, String::new()),
                Step::Item(name, index) => (name, format!("[{index}]")),
                Step::Key(name, key) => (name, format!("[\"{key}\"]")),
            };
            if !out.is_empty() && !name.is_empty() {
                out.push('.');
            }
            out.push_str(name);
            out.push_str(&suffix);
        }
        out
    }

    fn push(&self, message: String, remedy: Option<String>) {
        self.sink.push(CompileError { path: self.path(), message, remedy, lacking: false });
    }
}

/// Is a proto field set? (Not its type's default; a message field: present.)
pub trait IsSet {
    /// Is it?
    fn is_set(&self) -> bool;
}

impl<T> IsSet for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

impl<T> IsSet for Vec<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V, S> IsSet for HashMap<K, V, S> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V> IsSet for BTreeMap<K, V> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl IsSet for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

macro_rules! plain {
    ($($ty:ty),*) => {$(
        impl IsSet for $ty {
            fn is_set(&self) -> bool {
                *self != <$ty>::default()
            }
        }
    )*};
}

plain!(bool, i32, u32, i64, u64, f32, f64);

/// Takes a proto message apart: `ledger!(at, message => path::Type { used, .. } refuse { .. } note { .. }
/// ignore { .. })`. Binds the used fields as references, reports the refused ones that are set, notes those that are
/// set and not obeyed yet, and names the ignored ones.
/// The used fields of a large message may stand under `elsewhere` instead; they are read from the message then.
#[macro_export]
macro_rules! ledger {
    ($at:expr, $msg:expr => $ty:path { $($used:ident),* $(,)? }
        $(elsewhere { $($other:ident),* $(,)? })?
        $(refuse { $($no:ident),* $(,)? })? $(note { $($later:ident),* $(,)? })?
        $(ignore { $($skip:ident),* $(,)? })?) => {
        let _ = &$at;
        // Deprecated fields are named like all others.
        #[allow(deprecated)]
        let $ty { $($used,)* $($($other: _,)*)? $($($no: _,)*)? $($($later: _,)*)? $($($skip: _,)*)? } = $msg;
        $($(
            #[allow(deprecated)]
            {
                $at.refuse(stringify!($no), $crate::base::ledger::IsSet::is_set(&$msg.$no));
            }
        )*)?
        $($(
            #[allow(deprecated)]
            {
                $at.not_obeyed(stringify!($later), $crate::base::ledger::IsSet::is_set(&$msg.$later));
            }
        )*)?
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Message {
        used: u32,
        refused: Vec<u8>,
        ignored: bool,
    }

    #[test]
    fn paths_name_fields_items_and_keys() {
        let sink = Sink::new();
        let root = sink.root("static_resources");
        let cluster = root.item("clusters", 2);
        let map = cluster.key("options", "a.b");
        map.field("x").error_with("is wrong", "put it right");
        let errors = sink.into_errors();
        assert_eq!(
            errors.first().map(ToString::to_string),
            Some("static_resources.clusters[2].options[\"a.b\"].x: is wrong (put it right)".to_owned())
        );
    }

    #[test]
    fn refused_fields_are_reported_only_when_set() {
        for (refused, count) in [(vec![], 0), (vec![1], 1)] {
            let sink = Sink::new();
            let message = &Message { used: 7, refused, ignored: true };
            let at = sink.root("");
            ledger!(at, message => Message { used } refuse { refused } ignore { ignored });
            assert_eq!(*used, 7);
            assert!(message.ignored);
            assert_eq!(sink.len(), count);
        }
    }
}
