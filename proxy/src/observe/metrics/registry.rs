//! The registry: every writer's cells, and what those that are gone had counted.

use super::cells::{Cells, Group, UNTOUCHED};
use super::histogram::Distribution;
use super::schema::Schema;
use super::scope::Scope;
use super::snapshot::{GaugeValue, HistogramValue, Snapshot};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Weak};

/// A process-wide gauge that several threads write (`membership_total`, circuit breakers). It is shown for as long
/// as somebody holds it.
#[derive(Debug, Default)]
pub struct SharedGauge(AtomicU64);

impl SharedGauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Raises it.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    /// Lowers it.
    pub fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Relaxed);
    }

    /// Its value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A process-wide text. It is shown for as long as somebody holds it.
#[derive(Debug, Default)]
pub struct SharedText(Mutex<String>);

impl SharedText {
    /// Sets it.
    pub fn set(&self, value: impl Into<String>) {
        *self.0.lock().unwrap_or_else(|p| p.into_inner()) = value.into();
    }

    /// Its value.
    pub fn value(&self) -> String {
        self.0.lock().unwrap_or_else(|p| p.into_inner()).clone()
    }
}

/// Something that keeps its own numbers and is asked for them when somebody looks.
pub trait Source: Send + Sync {
    /// Adds its series under their full names.
    fn collect(&self, into: &mut Snapshot);

    /// Its counters are zero from here on.
    fn reset(&self);
}

/// What cells that are gone had counted.
#[derive(Debug)]
struct Retired {
    counters: Box<[u64]>,
    codes: BTreeMap<(usize, u16), u64>,
    histograms: BTreeMap<usize, Distribution>,
}

/// One prefix of one schema.
#[derive(Debug)]
struct Entry {
    live: Vec<Arc<Group>>,
    retired: Retired,
    /// Its scope is gone: it is shown no more, and leaves with its last cells.
    forgotten: bool,
    /// Has a request named it?
    named: bool,
}

/// A prefix and the kind of a schema: what a scope covers lies together.
type Key = (Box<str>, &'static str);

#[derive(Default)]
struct Table {
    entries: BTreeMap<Key, (&'static Schema, Entry)>,
    /// How many entries of a kind requests have named.
    named: BTreeMap<&'static str, usize>,
    /// How many scopes there are of a prefix.
    scopes: BTreeMap<Box<str>, usize>,
    gauges: BTreeMap<Box<str>, Weak<SharedGauge>>,
    texts: BTreeMap<Box<str>, Weak<SharedText>>,
    sources: Vec<Weak<dyn Source>>,
    flushed: BTreeMap<String, HistogramValue>,
}

#[derive(Default)]
pub(super) struct Shared(Mutex<Table>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

impl Shared {
    /// A panic of another thread leaves sums as they were: the table stays usable.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Folds a group whose last handle is gone.
    pub(super) fn retire(&self, group: &Arc<Group>) {
        let mut table = self.table();
        let key = (group.prefix.clone(), group.schema.kind);
        let Some((_, entry)) = table.entries.get_mut(&key) else { return };
        entry.live.retain(|g| !Arc::ptr_eq(g, group));
        if entry.forgotten && entry.live.is_empty() {
            table.remove(&key);
            return;
        }
        entry.retired.fold(group);
    }

    /// One scope more of a prefix. What is left of the one before is shown again.
    pub(super) fn open(&self, prefix: &str) {
        let mut table = self.table();
        let count = table.scopes.entry(prefix.into()).or_default();
        *count = count.saturating_add(1);
        if *count == 1 {
            table.below(prefix).for_each(|(_, _, entry)| entry.forgotten = false);
        }
    }

    /// One scope less.
    pub(super) fn close(&self, prefix: &str) {
        let mut table = self.table();
        let Some(count) = table.scopes.get_mut(prefix) else { return };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        table.scopes.remove(prefix);
        let scopes = std::mem::take(&mut table.scopes);
        let of_another = |at: &str| {
            let longer = at.match_indices('.').filter_map(|(i, _)| at.get(..=i)).skip_while(|s| *s != prefix);
            longer.skip(1).any(|longer| scopes.contains_key(longer))
        };
        let mut gone = Vec::new();
        for (key, schema, entry) in table.below(prefix).filter(|((at, _), _, _)| !of_another(at)) {
            entry.forgotten = true;
            entry.reset(schema);
            if entry.live.is_empty() {
                gone.push(key.clone());
            }
        }
        table.scopes = scopes;
        gone.iter().for_each(|key| table.remove(key));
    }
}

impl Table {
    /// The entries whose prefix begins so.
    fn below(&mut self, prefix: &str) -> impl Iterator<Item = (&Key, &'static Schema, &mut Entry)> {
        let behind = self.entries.range_mut((Box::from(prefix), "")..);
        let within = behind.take_while(move |((at, _), _)| at.starts_with(prefix));
        within.map(|(key, (schema, entry))| (key, *schema, entry))
    }

    fn entry(&mut self, schema: &'static Schema, prefix: &str) -> &mut Entry {
        let new =
            || Entry { live: Vec::new(), retired: Retired::new(schema), forgotten: false, named: false };
        &mut self.entries.entry((prefix.into(), schema.kind)).or_insert_with(|| (schema, new())).1
    }

    fn remove(&mut self, key: &Key) {
        let named = self.entries.remove(key).is_some_and(|(_, entry)| entry.named);
        if let Some(count) = self.named.get_mut(key.1).filter(|_| named) {
            *count = count.saturating_sub(1);
        }
    }

    /// What is shown.
    fn shown(&self) -> impl Iterator<Item = (&str, &'static Schema, &Entry)> {
        let shown = self.entries.iter().filter(|(_, (_, entry))| !entry.forgotten);
        shown.map(|((prefix, _), (schema, entry))| (&**prefix, *schema, entry))
    }
}

impl Retired {
    fn new(schema: &Schema) -> Retired {
        Retired {
            counters: vec![0; schema.counters.len()].into(),
            codes: BTreeMap::new(),
            histograms: BTreeMap::new(),
        }
    }

    fn fold(&mut self, group: &Group) {
        for (sum, cell) in self.counters.iter_mut().zip(&group.counters) {
            *sum = sum.wrapping_add(cell.load(Relaxed));
        }
        for (scope, codes) in group.codes.iter().enumerate() {
            for (code, n) in codes.iter() {
                let sum = self.codes.entry((scope, code)).or_default();
                *sum = sum.wrapping_add(n);
            }
        }
        for (i, cell) in group.histograms.iter().enumerate() {
            if let Some(bins) = cell.get() {
                bins.add_to(self.histograms.entry(i).or_default());
            }
        }
    }
}

impl Entry {
    /// Retired and live counts together.
    fn total(&self, schema: &Schema) -> Retired {
        let mut total = Retired::new(schema);
        total.counters.copy_from_slice(&self.retired.counters);
        total.codes.clone_from(&self.retired.codes);
        total.histograms.clone_from(&self.retired.histograms);
        for group in &self.live {
            total.fold(group);
        }
        total
    }

    fn gauge(&self, index: usize) -> GaugeValue {
        let cells = self.live.iter().filter_map(|g| g.gauges.get(index)).map(|cell| cell.load(Relaxed));
        cells
            .filter(|v| *v != UNTOUCHED)
            .fold(GaugeValue::default(), |sum, v| GaugeValue { value: sum.value.wrapping_add(v), used: true })
    }

    /// Subtracts what is counted now: the sums are zero afterwards without a write to any worker's cell.
    fn reset(&mut self, schema: &Schema) {
        let total = self.total(schema);
        for (sum, now) in self.retired.counters.iter_mut().zip(&total.counters) {
            *sum = sum.wrapping_sub(*now);
        }
        for (key, now) in total.codes {
            let sum = self.retired.codes.entry(key).or_default();
            *sum = sum.wrapping_sub(now);
        }
    }
}

fn histogram_sums(table: &Table) -> BTreeMap<String, Distribution> {
    let mut sums: BTreeMap<String, Distribution> = BTreeMap::new();
    for (prefix, schema, entry) in table.shown() {
        let mut total = entry.total(schema).histograms;
        for (i, name) in schema.histograms.iter().enumerate() {
            sums.entry(format!("{prefix}{name}")).or_default().merge(&total.remove(&i).unwrap_or_default());
        }
    }
    sums
}

/// All statistics of the process (or of a test).
#[derive(Clone, Default, Debug)]
pub struct Registry(Arc<Shared>);

static GLOBAL: LazyLock<Registry> = LazyLock::new(Registry::default);

impl Registry {
    /// The process's registry.
    pub fn global() -> &'static Registry {
        &GLOBAL
    }

    /// Fresh cells for one writer. Takes the registry's lock; several cells of one prefix are summed. The prefix ends
    /// with a dot (`cluster.foo.`) and may be empty.
    pub fn cells(&self, schema: &'static Schema, prefix: &str) -> Cells {
        let cells = Cells::new(schema, prefix, self.0.clone());
        self.0.table().entry(schema, prefix).live.push(cells.group().clone());
        cells
    }

    /// [`Registry::cells`] of a prefix that a request has named: none when it is new and `most` of its kind are there.
    pub fn cells_within(&self, schema: &'static Schema, prefix: &str, most: usize) -> Option<Cells> {
        {
            let mut table = self.0.table();
            if !table.entries.contains_key(&(prefix.into(), schema.kind)) {
                let named = table.named.entry(schema.kind).or_default();
                if *named >= most {
                    return None;
                }
                *named = named.saturating_add(1);
                table.entry(schema, prefix).named = true;
            }
        }
        Some(self.cells(schema, prefix))
    }

    /// Ties what is counted under a prefix to something of the configuration: it leaves when the last scope and the
    /// last cells of it are dropped. What never had a scope stays.
    pub fn scope(&self, prefix: &str) -> Scope {
        Scope::new(prefix, self.0.clone())
    }

    /// A process-wide gauge by its full name; the same one for the same name while somebody holds it.
    pub fn shared_gauge(&self, name: &str) -> Arc<SharedGauge> {
        let mut table = self.0.table();
        if let Some(gauge) = table.gauges.get(name).and_then(Weak::upgrade) {
            return gauge;
        }
        let gauge = Arc::new(SharedGauge::default());
        table.gauges.insert(name.into(), Arc::downgrade(&gauge));
        gauge
    }

    /// A process-wide text by its full name.
    pub fn shared_text(&self, name: &str) -> Arc<SharedText> {
        let mut table = self.0.table();
        if let Some(text) = table.texts.get(name).and_then(Weak::upgrade) {
            return text;
        }
        let text = Arc::new(SharedText::default());
        table.texts.insert(name.into(), Arc::downgrade(&text));
        text
    }

    /// Asks a source at every snapshot, for as long as somebody else holds it.
    pub fn add_source(&self, source: Weak<dyn Source>) {
        self.0.table().sources.push(source);
    }

    /// Ends a flush interval: histograms are shown as of now (Envoy's `stats_flush_interval`, 5 s).
    pub fn flush(&self) {
        let mut table = self.0.table();
        let sums = histogram_sums(&table);
        let mut before = std::mem::take(&mut table.flushed);
        table.flushed = sums
            .into_iter()
            .map(|(name, cumulative)| {
                let interval = cumulative.since(&before.remove(&name).unwrap_or_default().cumulative);
                (name, HistogramValue { cumulative, interval })
            })
            .collect();
    }

    /// Counters are zero from here on (`/reset_counters`); histograms stay.
    pub fn reset_counters(&self) {
        for (schema, entry) in self.0.table().entries.values_mut() {
            entry.reset(schema);
        }
        let sources: Vec<_> = self.0.table().sources.iter().filter_map(Weak::upgrade).collect();
        sources.iter().for_each(|source| source.reset());
    }

    /// Everything, summed. Histograms are those of the last [`Registry::flush`].
    pub fn snapshot(&self) -> Snapshot {
        let mut out = Snapshot::default();
        let sources: Vec<_> = {
            let mut table = self.0.table();
            for (prefix, schema, entry) in table.shown() {
                snapshot_entry(schema, prefix, entry, &mut out);
            }
            for (name, value) in &table.flushed {
                if let Some(slot) = out.histograms.get_mut(name) {
                    slot.clone_from(value);
                }
            }
            table.gauges.retain(|name, gauge| gauge.upgrade().map(|g| out.gauge(name, g.value())).is_some());
            table.texts.retain(|name, text| text.upgrade().map(|t| out.text(name, t.value())).is_some());
            table.sources.retain(|source| source.strong_count() > 0);
            table.sources.iter().filter_map(Weak::upgrade).collect()
        };
        // Outside the lock: a source may take cells of its own.
        for source in sources {
            source.collect(&mut out);
        }
        out
    }
}

fn snapshot_entry(schema: &Schema, prefix: &str, entry: &Entry, out: &mut Snapshot) {
    let total = entry.total(schema);
    for (name, value) in schema.counters.iter().zip(&total.counters) {
        out.counter(&format!("{prefix}{name}"), *value);
    }
    for (i, name) in schema.gauges.iter().enumerate() {
        let value = entry.gauge(i);
        let sum = out.gauges.entry(format!("{prefix}{name}")).or_default();
        *sum = GaugeValue { value: sum.value.wrapping_add(value.value), used: sum.used || value.used };
    }
    for name in schema.histograms {
        out.histograms.entry(format!("{prefix}{name}")).or_default();
    }
    let Some(table) = &schema.codes else { return };
    for (i, scope) in table.scopes.iter().enumerate() {
        let stem = format!("{prefix}{scope}{}", table.stem);
        if table.fixed {
            out.counter(&format!("{stem}completed"), 0);
            (1..=5).for_each(|class| out.counter(&format!("{stem}{class}xx"), 0));
        }
        for ((_, code), n) in total.codes.range((i, 0)..=(i, u16::MAX)) {
            if table.each {
                out.counter(&format!("{stem}{code}"), *n);
            }
            out.counter(&format!("{stem}{}xx", code / 100), *n);
            out.counter(&format!("{stem}completed"), *n);
        }
    }
}
