//! Waiting for a permit: a queue per worker and limit, so that order holds within a worker and waking costs one
//! message, however many wait.

use super::permit::{Breakers, Kind, Lender, Permit};
use super::worker;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
struct Place {
    waker: RefCell<Option<Waker>>,
    /// Told to try; must try, or pass it on.
    told: Cell<bool>,
}

impl Place {
    fn tell(&self) {
        self.told.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Limit (by address, which its waiters keep alive) and kind.
type Key = (usize, Kind);

thread_local! {
    /// The worker's waiters; bounded by `max_pending`, which each of them holds a permit of.
    static QUEUES: RefCell<HashMap<Key, VecDeque<Rc<Place>>>> = RefCell::new(HashMap::new());
}

fn key(breakers: &Arc<Breakers>, kind: Kind) -> Key {
    (Arc::as_ptr(breakers).addr(), kind)
}

fn first(key: Key) -> Option<Rc<Place>> {
    QUEUES.with_borrow(|queues| queues.get(&key).and_then(|queue| queue.front().cloned()))
}

/// A permit was given back: tells the first waiter here, or another worker when nobody waits here any more.
pub(super) fn freed(breakers: &Arc<Breakers>, kind: Kind) {
    match first(key(breakers, kind)) {
        Some(place) => place.tell(),
        None => {
            breakers.wake_one(kind);
        }
    }
}

/// The future of [`Lender::wait`].
#[derive(Debug)]
#[must_use]
pub struct Wait {
    lender: Rc<Lender>,
    kind: Kind,
    place: Option<Rc<Place>>,
}

impl Wait {
    pub(super) fn new(lender: Rc<Lender>, kind: Kind) -> Self {
        Wait { lender, kind, place: None }
    }

    fn key(&self) -> Key {
        key(self.lender.breakers(), self.kind)
    }

    /// Takes a place at the end of the queue, or keeps the one it has.
    fn stand(&mut self) -> Rc<Place> {
        let key = self.key();
        let place = self.place.get_or_insert_with(|| {
            let place = Rc::new(Place::default());
            QUEUES.with_borrow_mut(|queues| queues.entry(key).or_default().push_back(place.clone()));
            place
        });
        place.clone()
    }

    /// Leaves the queue; the one who comes next is told to try.
    fn leave(&mut self) -> bool {
        let Some(place) = self.place.take() else { return false };
        let key = self.key();
        QUEUES.with_borrow_mut(|queues| {
            if let Some(queue) = queues.get_mut(&key) {
                queue.retain(|other| !Rc::ptr_eq(other, &place));
                if queue.is_empty() {
                    queues.remove(&key);
                }
            }
        });
        place.told.get()
    }
}

impl Future for Wait {
    /// None on a thread that is no worker.
    type Output = Option<Permit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(worker) = worker::index() else { return Poll::Ready(self.lender.take(self.kind)) };
        let place = self.stand();
        *place.waker.borrow_mut() = Some(cx.waker().clone());
        if first(self.key()).is_some_and(|head| !Rc::ptr_eq(&head, &place)) {
            return Poll::Pending;
        }
        place.told.set(false);
        let mut permit = self.lender.take(self.kind);
        if permit.is_none() {
            // The bit stands before the second try, so that a release in between is not missed.
            self.lender.breakers().wait(self.kind, worker);
            permit = self.lender.take(self.kind);
        }
        if permit.is_none() {
            return Poll::Pending;
        }
        self.leave();
        if let Some(next) = first(self.key()) {
            next.tell();
        }
        Poll::Ready(permit)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let head =
            self.place.as_ref().zip(first(self.key())).is_some_and(|(own, head)| Rc::ptr_eq(own, &head));
        let told = self.leave();
        if told || head {
            freed(self.lender.breakers(), self.kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::permit::{Limits, UNLIMITED};
    use super::super::wake;
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    fn one_connection(name: &str) -> Arc<Breakers> {
        let breakers = Breakers::new(name.into(), 0);
        breakers.set(&Limits { most: [1, UNLIMITED, UNLIMITED, UNLIMITED], retry_budget: None });
        breakers
    }

    fn on_worker<T: Send + 'static>(
        index: usize,
        run: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        std::thread::spawn(move || {
            worker::enter(index);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async {
                tokio::task::spawn_local(wake::serve(index, |_, _| {}));
                run().await
            })
        })
    }

    #[test]
    fn workers_hand_one_permit_round() {
        let breakers = one_connection("round");
        let inside = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (210..213)
            .map(|index| {
                let (breakers, inside) = (breakers.clone(), inside.clone());
                on_worker(index, async move || {
                    let lender = Lender::new(breakers);
                    let tasks: Vec<_> = (0..10)
                        .map(|_| {
                            let (lender, inside) = (lender.clone(), inside.clone());
                            tokio::task::spawn_local(async move {
                                for _ in 0..50 {
                                    let permit = lender.wait(Kind::Connections).await.unwrap();
                                    assert_eq!(inside.fetch_add(1, SeqCst), 0);
                                    tokio::task::yield_now().await;
                                    inside.fetch_sub(1, SeqCst);
                                    drop(permit);
                                }
                            })
                        })
                        .collect();
                    for task in tasks {
                        tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(breakers.in_use(Kind::Connections), 0);
    }

    #[test]
    fn order_holds_and_a_place_given_up_passes_the_turn_on() {
        let breakers = one_connection("order");
        on_worker(214, async move || {
            let lender = Lender::new(breakers);
            let held = lender.take(Kind::Connections).unwrap();
            let seen = Rc::new(RefCell::new(Vec::new()));
            let mut tasks: Vec<_> = (0..4)
                .map(|n| {
                    let (lender, seen) = (lender.clone(), seen.clone());
                    tokio::task::spawn_local(async move {
                        let _permit = lender.wait(Kind::Connections).await.unwrap();
                        seen.borrow_mut().push(n);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            tasks.remove(0).abort();
            drop(held);
            for task in tasks {
                tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
            }
            assert_eq!(*seen.borrow(), [1, 2, 3]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn other_workers_hear_that_idle_connections_are_wanted() {
        let breakers = one_connection("wanted");
        let lender_side = breakers.clone();
        let (heard, hears) = std::sync::mpsc::channel();
        let holder = std::thread::spawn(move || {
            worker::enter(215);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let lender = Lender::new(lender_side);
                let idle = Rc::new(RefCell::new(lender.take(Kind::Connections)));
                heard.send(()).unwrap();
                let own = idle.clone();
                tokio::task::spawn_local(wake::serve(215, move |breakers, kind| {
                    if &*breakers.cluster == "wanted" && kind == Kind::Connections {
                        assert!(lender.is_wanted(kind));
                        drop(own.take());
                    }
                }));
                for _ in 0..1000 {
                    if idle.borrow().is_none() {
                        return true;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                false
            })
        });
        hears.recv().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let waiter = on_worker(216, async move || {
            let lender = Lender::new(breakers);
            tokio::time::timeout(Duration::from_secs(10), lender.wait(Kind::Connections))
                .await
                .unwrap()
                .is_some()
        });
        assert!(waiter.join().unwrap());
        assert!(holder.join().unwrap());
    }
}
