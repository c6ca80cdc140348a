//! What all resources have: a name, a namespace, labels.

use std::collections::BTreeMap;

use crate::read::{Field, Mistake, Reader};
use crate::yaml::{Node, Span, Spanned};

/// The namespace of a resource that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

fields! {
    /// `metadata`, as far as anything here depends on it.
    pub struct RawMeta {
        /// The name.
        name: Option<Spanned<String>> = "name",
        /// The namespace.
        namespace: Option<Spanned<String>> = "namespace",
        /// Labels.
        labels: BTreeMap<String, String> = "labels",
        /// Annotations.
        annotations: BTreeMap<String, String> = "annotations",
        /// When it was made, RFC 3339 in UTC: compares as text. Of two that conflict the older one wins.
        creation_timestamp: Option<String> = "creationTimestamp",
    }
    ignores &[
        "generateName", "selfLink", "uid", "resourceVersion", "generation", "deletionTimestamp",
        "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields", "clusterName",
    ];
}

/// The identity of a resource, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// Its kind.
    pub kind: Spanned<String>,
    /// `group/version`, or `v1`.
    pub api_version: String,
    /// Its name.
    pub name: Spanned<String>,
    /// Its namespace, [`DEFAULT_NAMESPACE`] if it names none.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it was made, RFC 3339 in UTC, if that is known.
    pub created: Option<String>,
    /// The whole document.
    pub span: Span,
    /// Errors that were reported while it was read: what stands there may be missing.
    pub mistakes: Vec<Mistake>,
}

impl Meta {
    /// Were there errors while it was read? Checks that would complain of what is missing leave it alone.
    #[must_use]
    pub fn broken(&self) -> bool {
        !self.mistakes.is_empty()
    }

    /// May something be missing of `list`'s elements (such as `spec.http`): an element as a whole, or one of its
    /// `fields`? With a `place`, only mistakes within it count; without one, those of the mappings around the list
    /// do, too.
    #[must_use]
    pub fn misread(&self, list: &str, fields: &[&str], place: Option<Span>) -> bool {
        let mut here = self.mistakes.iter().filter(|m| place.is_none_or(|place| place.encloses(m.span)));
        here.any(|mistake| {
            if below(list, &mistake.path).is_some() {
                return true;
            }
            let Some(element) = mistake.path.strip_prefix(list).and_then(|rest| rest.strip_prefix('['))
            else {
                return false;
            };
            let field = element.split_once(']').map_or("", |(_, rest)| rest);
            let one_of = |name: &&str| field.strip_prefix('.').and_then(|field| below(field, name)).is_some();
            field.is_empty() || fields.iter().any(one_of)
        })
    }

    /// `Kind namespace/name`, for messages.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// Reads `metadata` of a document whose kind is known.
    pub(crate) fn read(
        document: &Node,
        kind: Spanned<String>,
        api_version: String,
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        let Some(node) = document.get("metadata") else {
            let message = format!("this {kind} has no metadata");
            reader.error("missing-field", kind.span, message, "add `metadata:` with a `name:`");
            return None;
        };
        let raw = reader.within("metadata", |reader| RawMeta::read(node, reader))?;
        let generated = node.get("generateName").and_then(Node::text).is_some();
        let name = match raw.name {
            Some(name) if !name.is_empty() => name,
            _ if generated => Spanned::new(String::new(), node.span),
            _ => {
                let message = format!("this {kind} has no name");
                reader.error("missing-field", node.span, message, "add `name:` to its metadata");
                return None;
            }
        };
        Some(Self {
            kind,
            api_version,
            name,
            namespace: raw
                .namespace
                .map_or_else(|| DEFAULT_NAMESPACE.to_owned(), |namespace| namespace.value),
            labels: raw.labels,
            annotations: raw.annotations,
            created: raw.creation_timestamp,
            span: document.span,
            mistakes: Vec::new(),
        })
    }
}

/// What `path` says below `above`; `None` when it is not `above` itself or something in it.
fn below<'p>(path: &'p str, above: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(above)?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// A resource of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource<T> {
    /// Its identity.
    pub meta: Meta,
    /// What it says: the `spec`, or the document's own fields for kinds without one.
    pub spec: T,
}
