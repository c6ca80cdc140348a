//! Raw connections of a listener that is gone: they go on for the drain time, and then they end (as in Envoy, also
//! when a listener of that name has come back meanwhile).

use crate::base::Name;
use crate::live::drain;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

thread_local! {
    /// The worker's raw connections.
    static OPEN: RefCell<HashMap<u64, Rc<Stay>, foldhash::fast::RandomState>> = RefCell::default();
}

/// How long a raw connection may stay.
#[derive(Debug)]
struct Stay {
    listener: Name,
    /// Its end is set.
    leaving: Cell<bool>,
    over: Cell<bool>,
    waker: RefCell<Waker>,
}

/// A raw connection, as long as it lives.
#[derive(Debug)]
pub(super) struct Guest {
    id: u64,
    stay: Rc<Stay>,
}

impl Guest {
    /// Of a listener; `id`: the connection's.
    pub(super) fn of(listener: &Name, id: u64) -> Guest {
        let stay = Rc::new(Stay {
            listener: listener.clone(),
            leaving: Cell::new(false),
            over: Cell::new(false),
            waker: RefCell::new(Waker::noop().clone()),
        });
        OPEN.with_borrow_mut(|open| open.insert(id, stay.clone()));
        Guest { id, stay }
    }

    /// Must it end now?
    pub(super) fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stay.over.get() {
            return Poll::Ready(());
        }
        self.stay.waker.borrow_mut().clone_from(cx.waker());
        Poll::Pending
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|open| open.remove(&self.id));
    }
}

/// After a publication: raw connections of listeners that are gone have the drain time left.
pub fn look(is_there: impl Fn(&Name) -> bool) {
    let gone = |stay: &&Rc<Stay>| !stay.leaving.get() && !is_there(&stay.listener);
    let leaving: Vec<Rc<Stay>> = OPEN.with_borrow(|open| open.values().filter(gone).cloned().collect());
    if leaving.is_empty() {
        return;
    }
    leaving.iter().for_each(|stay| stay.leaving.set(true));
    tokio::task::spawn_local(async move {
        tokio::time::sleep(drain::time()).await;
        for stay in leaving {
            stay.over.set(true);
            stay.waker.borrow().wake_by_ref();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[test]
    fn a_guest_of_a_listener_that_is_gone_leaves_after_the_drain_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
            drain::set_time(Duration::from_secs(45));
            let (stays, leaves) = (Guest::of(&"a".into(), 1), Guest::of(&"b".into(), 2));
            look(|name| &**name == "a");
            let began = tokio::time::Instant::now();
            // Its name is back: that changes nothing.
            look(|_| true);
            poll_fn(|cx| leaves.poll_over(cx)).await;
            assert_eq!(began.elapsed().as_secs(), 45);
            assert!(poll_fn(|cx| Poll::Ready(stays.poll_over(cx).is_pending())).await);
            drop((stays, leaves));
            assert!(OPEN.with_borrow(HashMap::is_empty));
        });
    }
}
