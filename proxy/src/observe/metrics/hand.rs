//! Cells that a worker keeps at hand: of prefixes that are only known while a request runs.

use super::{Cells, Registry, Schema};
use std::cell::RefCell;
use std::collections::HashMap;

/// Most cells that a worker keeps so; beyond it they are all given back, and what they counted stays in the registry.
const MAX_KEPT: usize = 4096;

type ByPrefix = HashMap<Box<str>, Cells, foldhash::fast::RandomState>;

thread_local! {
    static KEPT: RefCell<HashMap<&'static str, ByPrefix>> = RefCell::default();
}

/// The worker's cells of a prefix: the registry's lock is taken for the first only.
pub fn at_hand(schema: &'static Schema, prefix: &str) -> Cells {
    KEPT.with_borrow_mut(|kept| {
        let kept = kept.entry(schema.kind).or_default();
        if let Some(cells) = kept.get(prefix) {
            return cells.clone();
        }
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        let cells = Registry::global().cells(schema, prefix);
        kept.insert(prefix.into(), cells.clone());
        cells
    })
}
