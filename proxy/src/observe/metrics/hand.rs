//! Cells that a worker keeps at hand: of prefixes that are only known while a request runs.

use super::{Cells, Registry, Schema};
use std::cell::RefCell;
use std::collections::HashMap;

/// Most cells that a worker keeps so; beyond it they are all given back, and what they counted stays in the registry.
const MAX_KEPT: usize = 4096;

/// Most prefixes of a kind that requests may make in the process.
const MAX_SERIES: usize = 16_384;

type ByPrefix = HashMap<Box<str>, Cells, foldhash::fast::RandomState>;

thread_local! {
    static KEPT: RefCell<HashMap<&'static str, ByPrefix>> = RefCell::default();
}

/// The worker's cells of a prefix that requests make: the registry's lock is taken for the first only. What a client
/// names may be anything: beyond [`MAX_SERIES`] of a kind new ones are counted together, under `rest`.
pub fn at_hand(schema: &'static Schema, prefix: &str, rest: impl FnOnce() -> String) -> Cells {
    KEPT.with_borrow_mut(|kept| {
        let kept = kept.entry(schema.kind).or_default();
        if let Some(cells) = kept.get(prefix) {
            return cells.clone();
        }
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        let (prefix, cells) = match Registry::global().cells_within(schema, prefix, MAX_SERIES) {
            Some(cells) => (Box::from(prefix), cells),
            None => {
                let rest = rest().into_boxed_str();
                let known = kept.get(&rest).cloned();
                let cells = known.unwrap_or_else(|| Registry::global().cells(schema, &rest));
                (rest, cells)
            }
        };
        kept.insert(prefix, cells.clone());
        cells
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stats::grpc;

    #[test]
    fn what_requests_name_is_bounded() {
        let registry = Registry::default();
        let made = |name: &str| registry.cells_within(&grpc::SCHEMA, name, 2).is_some();
        assert!(made("a.") && made("b.") && !made("c."));
        // Those that are there stay there.
        assert!(made("a.") && made("b.") && !made("d."));
    }
}
