//! Edge-triggered readiness for many non-blocking sockets on one thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// Events taken from the kernel at a time.
const BATCH: usize = 256;

/// What the kernel reported for a socket.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The number given at [`Poll::add`].
    pub key: usize,
    /// There is something to read, or the peer has closed.
    pub readable: bool,
    /// The socket is broken or fully closed.
    pub dead: bool,
}

/// An epoll instance.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    /// A new, empty instance. Fails when the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(BATCH) })
    }

    /// Watches a listening socket (level-triggered: accepting stops early without losing connections).
    pub fn add_listener(&self, socket: impl AsFd, key: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(key as u64), epoll::EventFlags::IN)?)
    }

    /// Watches a connected socket for reading, writing and the peer's close, edge-triggered.
    pub fn add(&self, socket: impl AsFd, key: usize) -> io::Result<()> {
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(key as u64), flags)?)
    }

    /// Waits for readiness, at most for `limit` (nanosecond resolution, Linux 5.11 and newer; `None`: no limit).
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<impl Iterator<Item = Ready> + '_> {
        let limit = limit.map(|d| Timespec {
            tv_sec: i64::try_from(d.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(d.subsec_nanos()),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().map(|event| {
            let (data, flags) = (event.data, event.flags);
            Ready {
                key: usize::try_from(data.u64()).unwrap_or(usize::MAX),
                readable: flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP),
                dead: flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP),
            }
        }))
    }
}
