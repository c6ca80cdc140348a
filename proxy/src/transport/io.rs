//! The byte stream: TCP or Unix.

use crate::base::addr::Address;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected byte stream.
#[derive(Debug)]
pub enum Io {
    /// TCP.
    Tcp(TcpStream),
    /// Unix stream socket.
    Unix(UnixStream),
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The address.
    pub address: std::net::IpAddr,
    /// It is another machine's (`IP_TRANSPARENT`).
    pub spoofed: bool,
    /// Mark of its packets (`SO_MARK`); 0 for none.
    pub mark: u32,
}

impl Io {
    /// Connects to an address from an optional source; the caller bounds the time.
    pub async fn connect(to: &Address, from: Option<Source>) -> io::Result<Io> {
        match to {
            Address::Ip(addr) => {
                let socket = if addr.is_ipv4() {
                    tokio::net::TcpSocket::new_v4()?
                } else {
                    tokio::net::TcpSocket::new_v6()?
                };
                socket.set_nodelay(true)?;
                if let Some(from) = from {
                    from.apply(&socket, addr.is_ipv4())?;
                }
                Ok(Io::Tcp(socket.connect(*addr).await?))
            }
            Address::Unix(path) => Ok(Io::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Reads into `buf`; 0 is the end of the stream. Goes through the reactor's readiness, so that a short read
    /// needs no second system call to learn that nothing is left.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(buf);
        let polled = match self {
            Io::Tcp(s) => Pin::new(s).poll_read(cx, &mut read),
            Io::Unix(s) => Pin::new(s).poll_read(cx, &mut read),
        };
        polled.map_ok(|()| read.filled().len())
    }

    /// Is a read or a close waiting? Pending registers the waker; no system call is made.
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Tcp(s) => s.poll_read_ready(cx),
            Io::Unix(s) => s.poll_read_ready(cx),
        }
    }

    /// Writes part of the slices.
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Io::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Io::Unix(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    /// Writes part of the bytes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Io::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Io::Unix(s) => Pin::new(s).poll_write(cx, bytes),
        }
    }

    /// Ends the write side (FIN).
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Io::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }

    /// Local address.
    pub fn local(&self) -> io::Result<Address> {
        match self {
            Io::Tcp(s) => s.local_addr().map(ip),
            Io::Unix(s) => s.local_addr().map(|a| unix(&a)),
        }
    }

    /// The address before redirection (`SO_ORIGINAL_DST`); none when the connection was not redirected.
    pub fn original_destination(&self) -> Option<SocketAddr> {
        let Io::Tcp(stream) = self else { return None };
        let socket = socket2::SockRef::from(stream);
        let v4 = stream.local_addr().ok()?.ip().to_canonical().is_ipv4();
        let found = if v4 { socket.original_dst_v4() } else { socket.original_dst_v6() };
        found.ok().and_then(|addr| addr.as_socket())
    }

    /// Makes dropping the stream send RST instead of FIN.
    pub fn reset_on_drop(&self) {
        if let Io::Tcp(stream) = self {
            // A socket that refuses the option closes with FIN: still closed.
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl Source {
    /// An address of this machine.
    pub fn own(address: std::net::IpAddr) -> Self {
        Source { address, spoofed: false, mark: 0 }
    }

    fn apply(self, socket: &tokio::net::TcpSocket, v4: bool) -> io::Result<()> {
        let options = socket2::SockRef::from(socket);
        match (self.spoofed, v4) {
            (true, true) => options.set_ip_transparent_v4(true)?,
            (true, false) => options.set_ip_transparent_v6(true)?,
            (false, _) => {}
        }
        if self.mark != 0 {
            options.set_mark(self.mark)?;
        }
        socket.bind(SocketAddr::new(self.address, 0))
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Io::Unix(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_shutdown(cx)
    }
}

/// A socket's address: an IPv4 one that an IPv6 socket shows as mapped is an IPv4 address.
pub fn ip(addr: SocketAddr) -> Address {
    Address::Ip(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
}

/// A Unix socket's address; empty path when unnamed.
pub fn unix(addr: &tokio::net::unix::SocketAddr) -> Address {
    Address::Unix(Arc::from(addr.as_pathname().unwrap_or_else(|| std::path::Path::new(""))))
}

/// Sets TCP keepalive; a kernel that refuses a value keeps its own (Envoy does the same).
pub fn set_keepalive(
    stream: &TcpStream,
    probes: Option<u32>,
    time: Option<std::time::Duration>,
    interval: Option<std::time::Duration>,
) {
    let mut keepalive = socket2::TcpKeepalive::new();
    if let Some(probes) = probes {
        keepalive = keepalive.with_retries(probes);
    }
    if let Some(time) = time {
        keepalive = keepalive.with_time(time);
    }
    if let Some(interval) = interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "TCP keepalive refused");
    }
}
