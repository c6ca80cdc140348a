//! Connections and the listeners by which they came. A publication that changes a listener repeats the choice of the
//! chain for those of its connections that are there: where there is none any more, or one of another kind, the
//! connection leaves within the drain time (also when what was gone comes back meanwhile, as in Envoy).

use crate::base::Name;
use crate::live::drain;
use crate::live::stay::Stay;
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

thread_local! {
    /// The worker's connections.
    static HOMES: RefCell<HashMap<Name, Home, foldhash::fast::RandomState>> = RefCell::default();
}

/// A listener as it is in one version of the configuration: only whether it is the same counts.
type Version = Arc<dyn Any + Send + Sync>;

/// The connections of a listener, and what it was when they were looked at.
struct Home {
    listener: Option<Version>,
    guests: HashMap<u64, (Rc<Stay>, Choice), foldhash::fast::RandomState>,
}

/// Would the present listener choose the same kind of chain?
pub(super) type Choice = Rc<dyn Fn() -> bool>;

/// A connection, as long as it lives.
pub(super) struct Guest {
    listener: Name,
    id: u64,
}

impl Guest {
    /// A connection with a number of its own has come by a listener of this name.
    pub(super) fn enter(name: &Name, listener: Version, id: u64, stay: &Rc<Stay>, choice: Choice) -> Guest {
        let known = HOMES.with_borrow_mut(|homes| {
            let new = || Home { listener: Some(listener.clone()), guests: HashMap::default() };
            let home = homes.entry(name.clone()).or_insert_with(new);
            home.guests.insert(id, (stay.clone(), choice.clone()));
            home.is(Some(&listener))
        });
        // The listener may have changed while its filters looked at the connection.
        if !known && !choice() {
            leave(vec![stay.clone()]);
        }
        Guest { listener: name.clone(), id }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        HOMES.with_borrow_mut(|homes| {
            let Some(home) = homes.get_mut(&self.listener) else { return };
            home.guests.remove(&self.id);
            if home.guests.is_empty() {
                homes.remove(&self.listener);
            }
        });
    }
}

impl Home {
    fn is(&self, listener: Option<&Version>) -> bool {
        match (&self.listener, listener) {
            (Some(known), Some(now)) => std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(now)),
            (None, None) => true,
            _ => false,
        }
    }
}

/// After a publication: looks at the connections of the listeners that are others `now`.
pub fn look(now: impl Fn(&Name) -> Option<Version>) {
    let mut asked = Vec::new();
    HOMES.with_borrow_mut(|homes| {
        for (name, home) in homes {
            let listener = now(name);
            if !home.is(listener.as_ref()) {
                home.listener = listener;
                asked.extend(home.guests.values().filter(|(stay, _)| !stay.is_leaving()).cloned());
            }
        }
    });
    leave(asked.into_iter().filter(|(_, choice)| !choice()).map(|(stay, _)| stay).collect());
}

fn leave(leaving: Vec<Rc<Stay>>) {
    if leaving.is_empty() {
        return;
    }
    leaving.iter().for_each(|stay| stay.leave());
    // Those that end before leave nothing behind: a stay holds its connection's task.
    let leaving: Vec<Weak<Stay>> = leaving.iter().map(Rc::downgrade).collect();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(drain::time()).await;
        leaving.iter().filter_map(Weak::upgrade).for_each(|stay| stay.end());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    #[test]
    fn who_has_no_place_any_more_leaves_within_the_drain_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
            drain::set_time(Duration::from_secs(45), true);
            let (name, first, second): (Name, Version, Version) = ("l".into(), Arc::new(1), Arc::new(2));
            let place = Rc::new(Cell::new(true));
            let choice: Choice = Rc::new({
                let place = place.clone();
                move || place.get()
            });
            let (stays, leaves) = (Stay::new(), Stay::new());
            let guests = [
                Guest::enter(&name, first.clone(), 1, &stays, Rc::new(|| true)),
                Guest::enter(&name, first.clone(), 2, &leaves, choice.clone()),
            ];
            place.set(false);
            look(|_| Some(first.clone()));
            assert!(!leaves.is_leaving(), "the listener is the same");
            look(|_| Some(second.clone()));
            assert!(leaves.is_leaving() && !stays.is_leaving());
            let began = tokio::time::Instant::now();
            // The place is back: that changes nothing.
            place.set(true);
            look(|_| Some(first.clone()));
            poll_fn(|cx| leaves.poll_over(cx)).await;
            assert_eq!(began.elapsed().as_secs(), 45);
            assert!(poll_fn(|cx| Poll::Ready(stays.poll_over(cx).is_pending())).await);
            // One that comes by a listener that is another meanwhile is looked at when it comes.
            place.set(false);
            let late = Stay::new();
            let guest = Guest::enter(&name, second.clone(), 3, &late, choice);
            assert!(late.is_leaving());
            drop((guests, guest));
            assert!(HOMES.with_borrow(HashMap::is_empty));
        });
    }
}
