//! The workers: one thread per core, each with its own runtime, accept loops and connections.

use crate::base::Name;
use crate::base::addr::Address;
use crate::base::clock;
use crate::control::{Opened, Socket, Workers};
use crate::http::connection;
use crate::listen::{self, Acceptors, accept::Listening};
use crate::live;
use crate::live::permit::Kind;
use crate::model::snapshot::{Published, Snapshot};
use crate::transport::turn;
use crate::upstream::Worker;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a worker is told. The channel has no bound of its own: its length is that of the changes made by `control`
/// (a publication or a socket each) and of the few drains.
enum Order {
    Publish,
    Open(Opened),
    Close(Name, Address),
    /// Connections notice the drain.
    Drain,
}

/// All workers.
pub struct Crew {
    orders: Vec<UnboundedSender<Order>>,
}

impl Crew {
    /// Starts the threads.
    ///
    /// # Errors
    /// A thread or its reactor cannot be made.
    pub fn start(count: usize, published: Arc<Published>) -> io::Result<Arc<Crew>> {
        live::worker::set_count(count);
        let mut crew = Crew { orders: Vec::new() };
        for index in 0..count {
            let (orders, inbox) = unbounded_channel();
            let published = published.clone();
            let (tell, told) = mpsc::channel();
            let thread = std::thread::Builder::new().name(format!("wrk:{index}"));
            thread.spawn(move || {
                live::worker::enter(index);
                clock::keep();
                let made = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .on_thread_unpark(clock::forget)
                    .build_local(LocalOptions::default());
                let (made, runtime) = match made {
                    Ok(runtime) => (Ok(()), Some(runtime)),
                    Err(error) => (Err(error), None),
                };
                // `start` waits for it.
                let _ = tell.send(made);
                if let Some(runtime) = runtime {
                    runtime.block_on(work(index, published, inbox));
                }
            })?;
            told.recv().map_err(io::Error::other)??;
            crew.orders.push(orders);
        }
        Ok(Arc::new(crew))
    }

    fn tell_all(&self, order: impl Fn() -> Order) {
        for orders in &self.orders {
            // A worker that is gone has nothing to be told.
            let _ = orders.send(order());
        }
    }

    /// Wakes every connection, so that it notices a drain.
    pub fn drain(&self) {
        self.tell_all(|| Order::Drain);
    }

    /// Open client connections.
    pub fn connections(&self) -> u64 {
        live::limit::open()
    }
}

impl Workers for Crew {
    fn count(&self) -> usize {
        self.orders.len()
    }

    fn publish(&self, _: Arc<Snapshot>) {
        self.tell_all(|| Order::Publish);
    }

    fn open(&self, worker: usize, opened: Opened) {
        if let Some(orders) = self.orders.get(worker) {
            let _ = orders.send(Order::Open(opened));
        }
    }

    fn close(&self, listener: &Name, address: &Address) {
        self.tell_all(|| Order::Close(listener.clone(), address.clone()));
    }
}

/// A worker's life.
async fn work(index: usize, published: Arc<Published>, mut inbox: UnboundedReceiver<Order>) {
    let worker = Worker::enter(published);
    let acceptors = Rc::new(Acceptors::default());
    tokio::task::spawn_local(turn::run());
    tokio::task::spawn_local(worker.clone().sweep());
    let yielding = worker.clone();
    tokio::task::spawn_local(live::wake::serve(index, move |breakers, kind| {
        if kind == Kind::Connections {
            yielding.yield_idle(&breakers.cluster);
        }
    }));
    while let Some(order) = inbox.recv().await {
        match order {
            Order::Publish => {
                worker.version();
                listen::look(|name| worker.with_snapshot(|s| s.listeners.get(name).map(|l| l.clone() as _)));
            }
            Order::Open(opened) => accept(&acceptors, opened),
            Order::Close(listener, address) => acceptors.close(&listener, &address),
            Order::Drain => connection::wake_all(),
        }
    }
}

fn accept(acceptors: &Acceptors, opened: Opened) {
    let Opened { listener, address, socket, .. } = opened;
    let socket = match socket {
        Socket::Tcp(socket) => Listening::Tcp(socket),
        Socket::Unix(socket) => Listening::Unix(socket),
    };
    if let Err(error) = acceptors.open(listener.clone(), address.clone(), socket) {
        tracing::error!(%listener, %address, %error, "the socket cannot be served");
    }
}
