//! From a text to its documents, from a document to its kind's reader.

use super::World;
use crate::diag::Diagnostic;
use crate::kinds::Meta;
use crate::kinds::table::{KINDS, KindRow, Standing};
use crate::read::{Reader, nearest};
use crate::yaml::{self, Node, Spanned};

/// Most levels of `List` within `List`.
const MAX_LIST_DEPTH: usize = 4;

impl World {
    /// Reads all documents of one text.
    pub(super) fn take_source(&mut self, name: &str, text: &str, diagnostics: &mut Vec<Diagnostic>) {
        let file = self.sources.add(name, text);
        let (documents, errors) = yaml::load(file, text);
        diagnostics.extend(errors.into_iter().map(|error| {
            Diagnostic::error(error.code, error.message).remedy(error.remedy).at(&self.sources, error.span)
        }));
        // The reader needs the sources while the world is being written to.
        let sources = std::mem::take(&mut self.sources);
        for document in documents {
            self.take_document(&document, &mut Reader::new(&sources, diagnostics), 0);
        }
        self.sources = sources;
    }

    fn take_document(&mut self, document: &Node, reader: &mut Reader<'_>, depth: usize) {
        if document.is_null() {
            return;
        }
        let text =
            |key| document.get(key).and_then(|node| Some(Spanned::new(node.text()?.to_owned(), node.span)));
        let (Some(kind), Some(version)) = (text("kind"), text("apiVersion")) else {
            let missing = if document.get("kind").is_none() { "kind" } else { "apiVersion" };
            let message = format!("this is no Kubernetes or Istio resource: it has no `{missing}`");
            let remedy = "add `apiVersion:` and `kind:`, or keep the file elsewhere";
            reader.report(Diagnostic::warning("not-a-resource", message).remedy(remedy), document.span);
            return;
        };
        let (group, number) = version.rsplit_once('/').unwrap_or(("", &version));
        if group.is_empty() && *kind == "List" {
            self.take_list(document, reader, depth);
            return;
        }
        match KINDS.iter().find(|row| row.kind == *kind && row.group == group) {
            Some(row) if row.versions.is_empty() || row.versions.contains(&number) => {
                self.take_kind(row, document, kind, version.value.clone(), reader);
            }
            Some(row) => {
                let allowed: Vec<String> =
                    row.versions.iter().map(|version| join(row.group, version)).collect();
                let message = format!("{kind} is not read in version `{version}`");
                reader.error(
                    "unknown-version",
                    version.span,
                    message,
                    format!("allowed are: {}", allowed.join(", ")),
                );
            }
            None => self.take_unknown(document, kind, &version, group, reader),
        }
    }

    fn take_list(&mut self, list: &Node, reader: &mut Reader<'_>, depth: usize) {
        let items = match list.get("items").map(|items| &items.kind) {
            Some(yaml::Kind::List(items)) => items.as_slice(),
            _ => &[],
        };
        if depth >= MAX_LIST_DEPTH {
            reader.error(
                "nested-lists",
                list.span,
                "Lists within Lists, too deep",
                "list the resources themselves",
            );
            return;
        }
        for (index, item) in items.iter().enumerate() {
            reader.within("items", |reader| {
                reader.element(index, |reader| self.take_document(item, reader, depth.saturating_add(1)));
            });
        }
    }

    fn take_kind(
        &mut self,
        row: &KindRow,
        document: &Node,
        kind: Spanned<String>,
        version: String,
        reader: &mut Reader<'_>,
    ) {
        let at = kind.span;
        let Some(meta) = Meta::read(document, kind, version, reader) else { return };
        match row.standing {
            Standing::Read(read) => read(document, meta, self, reader),
            Standing::Noted => self.noted.push(meta),
            Standing::NotObeyed(consequence) => {
                let message = format!("{} is not obeyed yet: {consequence}", meta.title());
                reader.report(Diagnostic::warning("kind-not-obeyed", message), at);
                self.noted.push(meta);
            }
        }
    }

    fn take_unknown(
        &mut self,
        document: &Node,
        kind: Spanned<String>,
        version: &Spanned<String>,
        group: &str,
        reader: &mut Reader<'_>,
    ) {
        let at = kind.span;
        let peers: Vec<&str> = KINDS.iter().filter(|row| row.group == group).map(|row| row.kind).collect();
        let homes: Vec<String> = KINDS
            .iter()
            .filter(|row| row.kind == *kind && matches!(row.standing, Standing::Read(_)))
            .map(|row| join(row.group, row.versions.first().unwrap_or(&"v1")))
            .collect();
        if let Some(meant) = nearest(&kind, &peers) {
            let message = format!("there is no kind `{kind}` in `{version}`");
            reader.error("unknown-kind", at, message, format!("did you mean `{meant}`?"));
        } else if let (Some(home), true) = (homes.first(), group.is_empty() || group.ends_with(".istio.io")) {
            let message = format!("there is no kind `{kind}` in `{version}`");
            reader.error("unknown-kind", version.span, message, format!("{kind} is of `{home}`"));
        } else {
            let message = format!("{kind} of `{version}` is not known here; it has no effect");
            reader.report(Diagnostic::note("kind-not-known", message), at);
            // What its metadata may look like is not known either.
            self.noted
                .extend(reader.aside(|reader| Meta::read(document, kind, version.value.clone(), reader)));
        }
    }
}

fn join(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
