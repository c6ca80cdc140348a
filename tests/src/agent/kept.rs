//! A client connection that outlives its responses.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::child::WITHIN;
use crate::oracle::wire::{Role, Wire};
use crate::replay::{self, Way};

/// It is open until it is dropped, or until the proxy closes it.
pub struct Kept(Wire);

impl Kept {
    /// Connects.
    pub fn open(way: Way, to: SocketAddr, from: IpAddr) -> anyhow::Result<Self> {
        Ok(Self(Wire::new(replay::connect(way, to, from)?)))
    }

    /// A request; gives the status, and whether the response asks for the connection's end.
    pub fn ask(&mut self) -> anyhow::Result<(u16, bool)> {
        use std::io::Write;
        self.0.stream.write_all(b"GET / HTTP/1.1\r\nhost: nobody.example\r\n\r\n")?;
        let end = Instant::now() + WITHIN;
        let head = self.0.head(end);
        let mut head = head.map_err(|end| anyhow::anyhow!("no response: {}", end.word()))?;
        self.0.body(&mut head, Role::Reply, end);
        anyhow::ensure!(head.cut.is_none(), "half a response: {head:?}");
        let status = head.status().unwrap_or(0);
        Ok((status, head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))))
    }
}
