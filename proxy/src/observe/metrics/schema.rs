//! What a kind of thing (a cluster, a listener, ...) counts: names with small typed indices.

/// Index of a counter in its schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counter(pub u16);

/// Index of a gauge in its schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gauge(pub u16);

/// Index of a histogram in its schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Histogram(pub u16);

/// How response codes are counted. One count a response gives up to three series: `<stem><code>`, `<stem><n>xx` and
/// `<stem>completed`.
#[derive(Debug)]
pub struct CodeTable {
    /// `upstream_rq_` or `downstream_rq_`.
    pub stem: &'static str,
    /// Is every code a series of its own (Envoy: for clusters only)?
    pub each: bool,
    /// Are the classes and `completed` there before the first response (Envoy: for connection managers)?
    pub fixed: bool,
    /// Name parts before the stem under which the same counts stand again; the first one is empty.
    pub scopes: &'static [&'static str],
}

/// The statistics of one kind of thing.
#[derive(Debug)]
pub struct Schema {
    /// `cluster`, `http`, ...
    pub kind: &'static str,
    /// Names of the counters, after the prefix.
    pub counters: &'static [&'static str],
    /// Names of the gauges.
    pub gauges: &'static [&'static str],
    /// Names of the histograms.
    pub histograms: &'static [&'static str],
    /// Response codes.
    pub codes: Option<CodeTable>,
}

/// Declares a module's schema: `SCHEMA` and one typed constant a statistic.
macro_rules! stats {
    (
        kind $kind:literal;
        counters { $($counter:ident = $counter_name:literal),* $(,)? }
        gauges { $($gauge:ident = $gauge_name:literal),* $(,)? }
        histograms { $($histogram:ident = $histogram_name:literal),* $(,)? }
        codes $codes:expr;
    ) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
        #[repr(u16)]
        enum CounterIndex { $($counter,)* Last }
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
        #[repr(u16)]
        enum GaugeIndex { $($gauge,)* Last }
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
        #[repr(u16)]
        enum HistogramIndex { $($histogram,)* Last }

        $(#[doc = concat!("Counter `", $counter_name, "`.")]
        pub const $counter: $crate::observe::metrics::Counter =
            $crate::observe::metrics::Counter(CounterIndex::$counter as u16);)*
        $(#[doc = concat!("Gauge `", $gauge_name, "`.")]
        pub const $gauge: $crate::observe::metrics::Gauge =
            $crate::observe::metrics::Gauge(GaugeIndex::$gauge as u16);)*
        $(#[doc = concat!("Histogram `", $histogram_name, "`.")]
        pub const $histogram: $crate::observe::metrics::Histogram =
            $crate::observe::metrics::Histogram(HistogramIndex::$histogram as u16);)*

        #[doc = concat!("Everything counted for kind `", $kind, "`.")]
        pub static SCHEMA: $crate::observe::metrics::Schema = $crate::observe::metrics::Schema {
            kind: $kind,
            counters: &[$($counter_name),*],
            gauges: &[$($gauge_name),*],
            histograms: &[$($histogram_name),*],
            codes: $codes,
        };
    };
}
pub(crate) use stats;

/// A name from configuration as it stands in statistics: `://`, `:/`, `:` and NUL become `_` (as Envoy does).
pub fn sanitized(name: &str) -> String {
    name.replace("://", "_").replace(":/", "_").replace([':', '\0'], "_")
}
