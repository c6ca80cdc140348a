//! Header changes of rules and destinations.

use std::collections::BTreeMap;

use weir_proto::envoy::config::core::v3 as core;

use crate::kinds::http_route::{HeaderOperations, Headers};
use crate::yaml::Spanned;
use core::header_value_option::HeaderAppendAction;

/// Header changes in Envoy's terms.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    pub request_add: Vec<core::HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<core::HeaderValueOption>,
    pub response_remove: Vec<String>,
    /// The new authority, if `host` or `:authority` is set.
    pub authority: Option<String>,
}

impl Changes {
    pub(super) fn of(headers: Option<&Headers>) -> Self {
        let mut changes = Self::default();
        let Some(headers) = headers else {
            return changes;
        };
        if let Some(request) = &headers.request {
            changes.authority = authority(request);
            changes.request_add = additions(request);
            changes.request_remove = removals(request);
        }
        if let Some(response) = &headers.response {
            changes.response_add = additions(response);
            changes.response_remove = removals(response);
        }
        changes
    }

    /// What was said first comes first.
    pub(super) fn then(mut self, later: Self) -> Self {
        self.request_add.extend(later.request_add);
        self.request_remove.extend(later.request_remove);
        self.response_add.extend(later.response_add);
        self.response_remove.extend(later.response_remove);
        self.authority = later.authority.or(self.authority);
        self
    }
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

fn authority(operations: &HeaderOperations) -> Option<String> {
    let set = operations.set.iter().find(|(name, _)| is_authority(name));
    set.map(|(_, value)| value.value.clone())
}

fn additions(operations: &HeaderOperations) -> Vec<core::HeaderValueOption> {
    let set = options(&operations.set, HeaderAppendAction::OverwriteIfExistsOrAdd);
    let add = options(&operations.add, HeaderAppendAction::AppendIfExistsOrAdd);
    set.chain(add).collect()
}

/// Pseudo-headers cannot be changed so, and the authority is the route's own concern.
fn options(
    values: &BTreeMap<String, Spanned<String>>,
    action: HeaderAppendAction,
) -> impl Iterator<Item = core::HeaderValueOption> {
    let allowed = |name: &str| !name.starts_with(':') && !is_authority(name);
    values.iter().filter(move |(name, _)| allowed(name)).map(move |(name, value)| core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: name.clone(),
            value: value.value.clone(),
            ..core::HeaderValue::default()
        }),
        append_action: action.into(),
        ..core::HeaderValueOption::default()
    })
}

fn removals(operations: &HeaderOperations) -> Vec<String> {
    let names = operations.remove.iter().map(|name| name.value.clone());
    names.filter(|name| !name.starts_with(':') && !is_authority(name)).collect()
}
