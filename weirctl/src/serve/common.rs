//! A resource that many proxies have is held once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::snapshot::Held;

/// Resources from which on it is looked which of them nobody has any more.
const FEW: usize = 1024;

/// All resources of all proxies, by type, name and version. It keeps none alive.
#[derive(Debug, Default)]
pub struct Common(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    held: HashMap<(&'static str, String, String), Weak<Held>>,
    /// With so many it is looked again.
    full: usize,
}

impl Common {
    /// The resource as another proxy has it, else this one. Equal versions of a name are equal in content.
    pub fn hold(&self, kind: &'static str, name: &str, held: Held) -> Arc<Held> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kind, name.to_owned(), held.version.clone());
        if let Some(known) = table.held.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if table.held.len() >= table.full.max(FEW) {
            table.held.retain(|_, held| held.strong_count() > 0);
            table.full = table.held.len().saturating_mul(2);
        }
        let held = Arc::new(held);
        table.held.insert(key, Arc::downgrade(&held));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::google::protobuf::Any;

    #[test]
    fn what_is_equal_is_held_once_and_what_nobody_has_goes() {
        let common = Common::default();
        let hold = |name: &str, version: &str| {
            common.hold("k", name, Held { version: version.to_owned(), resource: Any::default() })
        };
        let one = hold("a", "1");
        assert!(Arc::ptr_eq(&one, &hold("a", "1")));
        assert!(!Arc::ptr_eq(&one, &hold("a", "2")));
        assert!(!Arc::ptr_eq(&one, &hold("b", "1")));
        for number in 0..10 * FEW {
            hold(&number.to_string(), "1");
        }
        assert!(common.0.lock().unwrap().held.len() <= FEW);
        assert!(Arc::ptr_eq(&one, &hold("a", "1")));
    }
}
