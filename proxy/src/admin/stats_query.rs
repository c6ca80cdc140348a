//! Which statistics a query asks for.

use super::call::Query;
use crate::observe::metrics::Snapshot;
use regex::Regex;

/// Kinds of statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    All,
    Counters,
    Gauges,
    Histograms,
    Texts,
}

/// What to show.
#[derive(Debug)]
pub(super) struct Wanted {
    filter: Option<Regex>,
    invert: bool,
    used_only: bool,
    /// Only hidden ones: there are none.
    nothing: bool,
    kind: Kind,
}

impl Wanted {
    /// From the query; the error is what the client is told.
    pub(super) fn parse(query: &Query) -> Result<Wanted, String> {
        let filter = query.value("filter").filter(|f| !f.is_empty()).map(Regex::new).transpose();
        let filter = filter.map_err(|error| format!("Invalid re2 regex: {error}\n"))?;
        let kind = match query.value("type") {
            None | Some("" | "All") => Kind::All,
            Some("Counters") => Kind::Counters,
            Some("Gauges") => Kind::Gauges,
            Some("Histograms") => Kind::Histograms,
            Some("TextReadouts") => Kind::Texts,
            Some(_) => return Err("invalid &type= param".into()),
        };
        let nothing = match query.value("hidden") {
            None | Some("" | "include" | "exclude") => false,
            Some("only") => true,
            Some(_) => return Err("usage: /stats?hidden=(include|only|exclude)\n\n".into()),
        };
        let (invert, used_only) = (query.has("invert_filter"), query.has("usedonly"));
        Ok(Wanted { filter, invert, used_only, nothing, kind })
    }

    fn name(&self, name: &str) -> bool {
        !self.nothing && self.filter.as_ref().is_none_or(|filter| filter.is_match(name) != self.invert)
    }

    fn kind(&self, kind: Kind) -> bool {
        self.kind == Kind::All || self.kind == kind
    }

    /// Drops everything else from a snapshot.
    pub(super) fn apply(&self, snapshot: &mut Snapshot) {
        let (counters, gauges) = (self.kind(Kind::Counters), self.kind(Kind::Gauges));
        let (histograms, texts) = (self.kind(Kind::Histograms), self.kind(Kind::Texts));
        let used = |is_used: bool| is_used || !self.used_only;
        snapshot.counters.retain(|name, value| counters && used(*value > 0) && self.name(name));
        snapshot.gauges.retain(|name, value| gauges && used(value.used) && self.name(name));
        snapshot
            .histograms
            .retain(|name, value| histograms && used(!value.cumulative.is_empty()) && self.name(name));
        snapshot.texts.retain(|name, value| texts && used(!value.is_empty()) && self.name(name));
    }
}
