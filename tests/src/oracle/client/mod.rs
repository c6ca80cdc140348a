//! Clients that say exactly what a case tells them to say.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`h1`] | one HTTP/1 request and its reply |
//! | [`h2`] | one HTTP/2 request and its reply, gRPC framing |
//! | [`script`] | a conversation step by step |

pub mod h1;
pub mod h2;
pub mod script;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::case::Send;
use super::observe;
use super::process::Proxy;
use super::wire::Wire;

/// A reply is waited for this long.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// The client side of one case: its listener and the connections kept by name.
pub struct Client<'a> {
    /// Port of the case's listener.
    pub port: u16,
    /// The proxy, for requests to the admin listener.
    pub proxy: &'a Proxy,
    h1: BTreeMap<String, Wire>,
    h2: BTreeMap<String, h2::Connection>,
}

impl<'a> Client<'a> {
    /// A client that has no connection yet.
    pub fn new(port: u16, proxy: &'a Proxy) -> Self {
        Self { port, proxy, h1: BTreeMap::new(), h2: BTreeMap::new() }
    }

    /// Does one item of a case; one observation per request made.
    pub fn perform(&mut self, item: &Send) -> Vec<Value> {
        std::thread::sleep(Duration::from_millis(item.pause));
        if let Some(line) = &item.admin {
            return vec![self.admin(line)];
        }
        let mut all = match (item.parallel, item.times) {
            (Some(count), _) => self.parallel(item, count),
            (None, times) => (0..times.unwrap_or(1)).map(|_| self.timed(item)).collect(),
        };
        if item.tally {
            all = vec![tally(&all)];
        }
        all
    }

    fn admin(&self, line: &str) -> Value {
        let (method, path) = line.split_once(' ').unwrap_or(("GET", line));
        match self.proxy.admin(method, path) {
            Ok((status, body)) => json!({ "status": status, "body": body }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }

    fn timed(&mut self, item: &Send) -> Value {
        let begun = Instant::now();
        let mut seen = self.once(item);
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let (Some((low, high)), Some(map)) = (item.within, seen.as_object_mut()) {
            let verdict = if took < low {
                format!("{took} ms is under {low} ms")
            } else if took > high {
                format!("{took} ms is over {high} ms")
            } else {
                "within".to_owned()
            };
            map.insert("time".to_owned(), json!(verdict));
        }
        seen
    }

    fn once(&mut self, item: &Send) -> Value {
        let outcome = if item.proto == "h2" { self.once_h2(item) } else { self.once_h1(item) };
        outcome.unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }

    fn once_h1(&mut self, item: &Send) -> anyhow::Result<Value> {
        let kept = item.conn.as_ref().and_then(|name| self.h1.remove(name));
        let mut wire = match kept {
            Some(wire) => wire,
            None => Wire::new(connect(self.port)?),
        };
        let own = wire.stream.local_addr()?;
        let seen = if item.steps.is_empty() {
            h1::exchange(&mut wire, item)
        } else {
            script::observe(&mut wire, item)
        };
        if let Some(name) = &item.conn {
            self.h1.insert(name.clone(), wire);
        }
        Ok(observe::without_port(seen, own.port()))
    }

    fn once_h2(&mut self, item: &Send) -> anyhow::Result<Value> {
        let kept = item.conn.as_ref().and_then(|name| self.h2.remove(name));
        let mut connection = match kept {
            Some(connection) => connection,
            None => h2::Connection::open(connect(self.port)?)?,
        };
        let seen = connection.exchange(item);
        if let Some(name) = &item.conn {
            self.h2.insert(name.clone(), connection);
        }
        Ok(seen)
    }

    fn parallel(&self, item: &Send, count: usize) -> Vec<Value> {
        let (port, proxy) = (self.port, self.proxy);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|index| {
                    scope.spawn(move || {
                        let later = item.stagger * u64::try_from(index).unwrap_or(0);
                        std::thread::sleep(Duration::from_millis(later));
                        Client::new(port, proxy).timed(item)
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|_| json!({ "error": "panic" }))).collect()
        })
    }
}

/// Answers counted by status.
fn tally(all: &[Value]) -> Value {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for seen in all {
        let key = match (seen.get("status"), seen.get("time").and_then(Value::as_str)) {
            (_, Some(time)) if time != "within" => time.to_owned(),
            (Some(status), _) => status.to_string(),
            (None, _) => "none".to_owned(),
        };
        *counts.entry(key).or_default() += 1;
    }
    json!({ "tally": counts })
}

fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok(TcpStream::connect_timeout(&addr, Duration::from_secs(3))?)
}
