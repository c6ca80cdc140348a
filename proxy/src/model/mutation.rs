//! Header mutations (Envoy's `HeaderValueOption` lists) with formatter variables.

use crate::base::headers::HeaderBlock;
use crate::base::names::HeaderName;
use crate::observe::format::{Format, HeaderBytes, Input};
use crate::observe::record::Record;
use smallvec::SmallVec;
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

    /// Changes a request's headers. `%REQ()%` reads `headers` as they are before this level, without the removed ones.
    pub fn apply_request(&self, headers: &mut HeaderBlock, record: &Record) {
        if self.is_empty() {
            return;
        }
        self.remove_from(headers);
        let values = self.rendered(&Input::running(record, headers, None));
        self.add_to(headers, values);
    }

    /// Changes a response's headers. `%RESP()%` reads `headers`, `%REQ()%` the request given.
    pub fn apply_response(&self, headers: &mut HeaderBlock, request: &HeaderBlock, record: &Record) {
        if self.is_empty() {
            return;
        }
        self.remove_from(headers);
        let values = self.rendered(&Input::running(record, request, Some(headers)));
        self.add_to(headers, values);
    }

    fn remove_from(&self, headers: &mut HeaderBlock) {
        for name in &self.remove {
            headers.remove(name);
        }
    }

    /// Renders every format of this level, before any value is applied.
    fn rendered(&self, input: &Input<'_>) -> SmallVec<[HeaderBytes; 2]> {
        let formats = self.add.iter().filter_map(|add| match &add.value {
            HeaderValue::Literal(_) => None,
            HeaderValue::Format(format) => Some(format),
        });
        formats.map(|format| format.render_header(input)).collect()
    }

    fn add_to(&self, headers: &mut HeaderBlock, rendered: SmallVec<[HeaderBytes; 2]>) {
        let mut rendered = rendered.into_iter();
        for add in &self.add {
            let made;
            let value: &[u8] = match &add.value {
                HeaderValue::Literal(value) => value,
                HeaderValue::Format(_) => {
                    made = rendered.next().unwrap_or_default();
                    &made
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
