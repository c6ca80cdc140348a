//! Listening sockets. They belong to `control`: it opens them before a listener is accepted, hands copies to the
//! workers, and closes its own when the listener goes.

use crate::base::Name;
use crate::base::addr::Address;
use crate::model::listener::Listener;
use socket2::{Domain, Protocol, SockAddr, Type};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Accept queue when none is configured; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP; non-blocking.
    Tcp(std::net::TcpListener),
    /// Unix; non-blocking.
    Unix(UnixListener),
}

impl Socket {
    /// Another handle of the same socket.
    pub fn try_clone(&self) -> io::Result<Socket> {
        Ok(match self {
            Socket::Tcp(socket) => Socket::Tcp(socket.try_clone()?),
            Socket::Unix(socket) => Socket::Unix(socket.try_clone()?),
        })
    }
}

/// A socket for one worker.
#[derive(Debug)]
pub struct Opened {
    /// The listener's name.
    pub listener: Name,
    /// The address that is bound (with the port that the system chose for port 0).
    pub address: Address,
    /// The socket.
    pub socket: Socket,
    /// Its accept queue.
    backlog: i32,
}

impl Opened {
    /// Begins to listen: connections are refused until then. Asked again it changes the queue alone.
    ///
    /// # Errors
    /// Another process has begun to listen there meanwhile.
    pub(super) fn listen(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(socket) => socket2::SockRef::from(socket).listen(self.backlog),
            Socket::Unix(socket) => socket2::SockRef::from(socket).listen(self.backlog),
        }
    }
}

/// A listener's bound address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The listener's name.
    pub listener: Name,
    /// Its address.
    pub address: Address,
}

/// What makes a socket another one.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Key {
    address: Address,
    reuse_port: bool,
    transparent: bool,
    freebind: bool,
    dual_stack: bool,
    mode: Option<u32>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    bound: Address,
    /// One for each worker, or one that all share.
    sockets: Vec<Socket>,
    /// Accept queue.
    backlog: i32,
}

/// Sockets of a listener that are open but not yet in force.
#[derive(Debug)]
pub(super) struct Prepared {
    keys: Vec<Key>,
    fresh: Vec<Entry>,
}

/// Which listeners were told to listen no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stopped {
    #[default]
    None,
    Inbound,
    All,
}

impl Stopped {
    fn has(self, listener: &Listener) -> bool {
        match self {
            Stopped::None => false,
            Stopped::Inbound => listener.inbound,
            Stopped::All => true,
        }
    }
}

/// All open sockets, by listener.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Nothing is opened (`--mode validate`).
    pub(super) dry: bool,
    stopped: Stopped,
    by_listener: BTreeMap<Name, Vec<Entry>>,
    /// Of listeners that the present update removes: another listener of the update may take them over.
    parting: Vec<Entry>,
}

impl Sockets {
    /// Opens what the listener needs and is not open for it yet. Nothing changes until [`Sockets::commit`].
    ///
    /// # Errors
    /// A text in Envoy's words when an address is another listener's or cannot be bound, and what to do about it.
    pub(super) fn prepare(
        &mut self,
        listener: &Listener,
        workers: usize,
    ) -> Result<Prepared, (String, Option<String>)> {
        let closed = self.dry || self.stopped.has(listener);
        let addresses: &[Address] = if listener.bind_to_port { &listener.addresses } else { &[] };
        let modes = listener.modes.iter().copied().chain(std::iter::repeat(None));
        let keys: Vec<Key> =
            addresses.iter().zip(modes).map(|(a, mode)| Key::of(listener, a, mode)).collect();
        let mut fresh = Vec::new();
        for key in &keys {
            let own = self.by_listener.get(&listener.name).map(Vec::as_slice).unwrap_or_default();
            if own.iter().any(|entry| entry.key == *key) {
                continue;
            }
            if let Some(at) =
                self.parting.iter().position(|e| e.key == *key && e.sockets.is_empty() == closed)
            {
                fresh.push(self.parting.swap_remove(at));
                continue;
            }
            if self.taken(&listener.name, &key.address) {
                let text = format!(
                    "error adding listener: '{}' has duplicate address '{}' as existing listener",
                    listener.name, key.address
                );
                return Err((text, None));
            }
            if closed {
                let (bound, backlog) = (key.address.clone(), backlog(listener));
                fresh.push(Entry { bound, key: key.clone(), sockets: Vec::new(), backlog });
                continue;
            }
            let entry = open(listener, key, workers).map_err(|error| {
                (format!("cannot bind '{}': {}", key.address, plain(&error)), remedy(&error))
            })?;
            fresh.push(entry);
        }
        Ok(Prepared { keys, fresh })
    }

    fn taken(&self, name: &Name, address: &Address) -> bool {
        let other =
            self.by_listener.iter().filter(|(owner, _)| *owner != name).flat_map(|(_, entries)| entries);
        address.port() != Some(0) && other.into_iter().any(|entry| entry.key.address == *address)
    }

    /// Puts the sockets in force: gives those to hand out (worker, socket) and the addresses that are closed.
    pub(super) fn commit(
        &mut self,
        name: &Name,
        prepared: Prepared,
        workers: usize,
    ) -> (Vec<(usize, Opened)>, Vec<Address>) {
        let Prepared { keys, fresh } = prepared;
        let entries = self.by_listener.entry(name.clone()).or_default();
        let mut closed = Vec::new();
        entries.retain(|entry| {
            let keep = keys.contains(&entry.key);
            if !keep {
                closed.push(entry.bound.clone());
            }
            keep
        });
        let mut handed = Vec::new();
        for entry in fresh {
            handed.extend(entry.copies(name, workers));
            entries.push(entry);
        }
        if entries.is_empty() {
            self.by_listener.remove(name);
        }
        (handed, closed)
    }

    /// Gives up a listener's sockets, and gives their addresses. They are closed by [`Sockets::settle`], unless
    /// another listener takes them over before.
    pub(super) fn part(&mut self, name: &Name) -> Vec<Address> {
        let entries = self.by_listener.remove(name).unwrap_or_default();
        let addresses = entries.iter().map(|entry| entry.bound.clone()).collect();
        self.parting.extend(entries);
        addresses
    }

    /// The update is over: what nobody took is closed.
    pub(super) fn settle(&mut self) {
        self.parting.clear();
    }

    /// No listener, or no inbound one, listens any more, now or after an update.
    pub(super) fn stop(&mut self, inbound_only: bool) {
        match (self.stopped, inbound_only) {
            (Stopped::None | Stopped::Inbound, true) => self.stopped = Stopped::Inbound,
            (Stopped::All, true) | (_, false) => self.stopped = Stopped::All,
        }
    }

    /// Was the listener stopped?
    pub(super) fn is_stopped(&self, listener: &Listener) -> bool {
        self.stopped.has(listener)
    }

    /// Closes the sockets of a listener that was stopped, and gives their addresses.
    pub(super) fn close_stopped(&mut self, listener: &Listener) -> Vec<Address> {
        let entries = self.by_listener.get_mut(&listener.name).filter(|_| self.stopped.has(listener));
        let close = |entry: &mut Entry| {
            entry.sockets.clear();
            entry.bound.clone()
        };
        entries.into_iter().flatten().map(close).collect()
    }

    /// Every bound address.
    pub(super) fn bound(&self) -> Vec<Bound> {
        let one = |(name, entries): (&Name, &Vec<Entry>)| -> Vec<Bound> {
            entries.iter().map(|e| Bound { listener: name.clone(), address: e.bound.clone() }).collect()
        };
        self.by_listener.iter().flat_map(one).collect()
    }
}

impl Key {
    fn of(listener: &Listener, address: &Address, mode: Option<u32>) -> Key {
        Key {
            address: address.clone(),
            reuse_port: listener.reuse_port && address.ip().is_some(),
            transparent: listener.transparent,
            freebind: listener.freebind,
            dual_stack: listener.dual_stack,
            mode,
        }
    }
}

impl Entry {
    /// A handle for each worker: its own socket, or the shared one.
    fn copies(&self, name: &Name, workers: usize) -> Vec<(usize, Opened)> {
        let mut copies = Vec::with_capacity(workers);
        for worker in 0..workers {
            let Some(socket) = self.sockets.get(worker).or(self.sockets.first()) else { continue };
            match socket.try_clone() {
                Ok(socket) => {
                    let (listener, address, backlog) = (name.clone(), self.bound.clone(), self.backlog);
                    let opened = Opened { listener, address, socket, backlog };
                    copies.push((worker, opened));
                }
                Err(error) => {
                    tracing::error!(listener = %name, address = %self.bound, worker, %error, "cannot hand a socket to a worker");
                }
            }
        }
        copies
    }
}

fn open(listener: &Listener, key: &Key, workers: usize) -> io::Result<Entry> {
    match &key.address {
        Address::Unix(path) => {
            let sockets = vec![Socket::Unix(open_unix(path, key.mode)?)];
            Ok(Entry { bound: key.address.clone(), key: key.clone(), sockets, backlog: backlog(listener) })
        }
        Address::Ip(wanted) => {
            let count = if key.reuse_port { workers.max(1) } else { 1 };
            let mut address = *wanted;
            let mut sockets = Vec::with_capacity(count);
            for _ in 0..count {
                let socket = open_tcp(key, address)?;
                // Port 0: the first socket's port is everybody's.
                address = socket.local_addr()?;
                sockets.push(Socket::Tcp(socket));
            }
            Ok(Entry { key: key.clone(), bound: Address::Ip(address), sockets, backlog: backlog(listener) })
        }
    }
}

fn backlog(listener: &Listener) -> i32 {
    listener.backlog.map_or(BACKLOG, |n| i32::try_from(n).unwrap_or(i32::MAX))
}

/// Binds, so that a mistake is told at once; [`Opened::listen`] comes when the listener is in force.
fn open_tcp(key: &Key, address: std::net::SocketAddr) -> io::Result<std::net::TcpListener> {
    let v6 = address.is_ipv6();
    let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if key.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if v6 {
        socket.set_only_v6(!key.dual_stack)?;
    }
    match (key.freebind, v6) {
        (true, false) => socket.set_freebind_v4(true)?,
        (true, true) => socket.set_freebind_v6(true)?,
        (false, _) => {}
    }
    match (key.transparent, v6) {
        (true, false) => socket.set_ip_transparent_v4(true)?,
        (true, true) => socket.set_ip_transparent_v6(true)?,
        (false, _) => {}
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// A socket file that nobody serves is replaced; anything else at the path is left alone.
fn open_unix(path: &Path, mode: Option<u32>) -> io::Result<UnixListener> {
    let text = path.to_string_lossy();
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = match text.strip_prefix('@') {
        Some(name) => SockAddr::unix(format!("\0{name}"))?,
        None => {
            let stale = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
            if stale && std::os::unix::net::UnixStream::connect(path).is_err() {
                std::fs::remove_file(path)?;
            }
            SockAddr::unix(path)?
        }
    };
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    if let Some(mode) = mode {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(socket.into())
}

/// What to do about an address that cannot be bound.
fn remedy(error: &io::Error) -> Option<String> {
    let text = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "a low port needs the capability CAP_NET_BIND_SERVICE; with --mesh-config, --listen-port-map binds another port"
        }
        io::ErrorKind::AddrInUse => "another process listens there: end it, or take another port",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        _ => return None,
    };
    Some(text.to_owned())
}

/// The system's text without the number behind it.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
