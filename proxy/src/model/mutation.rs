//! Header mutations (Envoy's `HeaderValueOption` lists) with formatter variables.

use crate::base::headers::HeaderBlock;
use crate::base::names::HeaderName;
use crate::observe::format::Format;
use crate::observe::record::Record;
use std::sync::Arc;

/// What to do when the header is or is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendAction {
    /// Add another line (default).
    AppendOrAdd,
    /// Add only when absent.
    AddIfAbsent,
    /// Replace, or add when absent.
    OverwriteOrAdd,
    /// Replace only when present.
    OverwriteIfExists,
}

/// The value: fixed, or with `%OPERATOR%`s.
#[derive(Clone, Debug)]
pub enum HeaderValue {
    /// Fixed bytes.
    Literal(Arc<[u8]>),
    /// A substitution format; absent values render empty.
    Format(Arc<Format>),
}

/// One header to add.
#[derive(Clone, Debug)]
pub struct HeaderAdd {
    /// The header.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
    /// How it meets an existing one.
    pub action: AppendAction,
    /// Add it although the value is empty.
    pub keep_empty: bool,
}

/// Mutations of one level (weighted cluster, route, virtual host or route configuration): removals come first.
#[derive(Clone, Default, Debug)]
pub struct HeaderOps {
    /// Names to remove.
    pub remove: Box<[HeaderName]>,
    /// Headers to add.
    pub add: Box<[HeaderAdd]>,
}

impl HeaderOps {
    /// Nothing to do?
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Renders every value of this level against the record, before any is applied.
    pub fn apply(&self, headers: &mut HeaderBlock, record: &Record) {
        for name in &self.remove {
            headers.remove(name);
        }
        for add in &self.add {
            let rendered;
            let value: &[u8] = match &add.value {
                HeaderValue::Literal(value) => value,
                HeaderValue::Format(format) => {
                    rendered = format.render_header(record, headers);
                    &rendered
                }
            };
            if value.is_empty() && !add.keep_empty {
                continue;
            }
            let present = headers.find(&add.name).is_some();
            match add.action {
                AppendAction::AppendOrAdd => headers.append(&add.name, value),
                AppendAction::AddIfAbsent if !present => headers.append(&add.name, value),
                AppendAction::OverwriteOrAdd => headers.set(&add.name, value),
                AppendAction::OverwriteIfExists if present => headers.set(&add.name, value),
                AppendAction::AddIfAbsent | AppendAction::OverwriteIfExists => {}
            }
        }
    }
}

/// Request and response mutations of one level.
#[derive(Clone, Default, Debug)]
pub struct Mutations {
    /// On the request, before it goes upstream.
    pub request: HeaderOps,
    /// On the response, before it goes downstream.
    pub response: HeaderOps,
}
