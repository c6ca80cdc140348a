//! Backends restarted one by one under load, and backends that close idle connections at the worst moment.
//!
//! No GET fails whose response had not begun, and no POST is executed twice, with no retry policy configured, whether
//! the backends speak HTTP/1.1 or HTTP/2, and whether the proxy is programmed by its file or over a stream.
//! `WEIR_RESTART_SECONDS` sets the length of each case (20; 6 where `CI` is set).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use weir_tests::bootstrap::Plan;
use weir_tests::delivery::Delivery;
use weir_tests::process::Proxy;
use weir_tests::restart::{Backend, Client, Ended, Speaks, Stop};
use weir_tests::suite::Suite;

const BACKENDS: usize = 3;
const READERS: usize = 6;
const WRITERS: usize = 3;
const DOWN: Duration = Duration::from_millis(150);
/// Longer than a loaded machine may keep a thread waiting: restarts come one by one.
const UP: Duration = Duration::from_millis(400);
/// The idle limit of the backend in the keep-alive race.
const IDLE_MS: u32 = 300;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_test-backend"))
}

fn log_file(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("weir-{name}-{}.log", std::process::id()));
    std::fs::write(&path, "")?;
    Ok(path)
}

#[derive(Default)]
struct Seen {
    gets: AtomicU64,
    posts: AtomicU64,
    posts_failed: AtomicU64,
    broken: AtomicU64,
    lost: Mutex<Vec<String>>,
}

impl Seen {
    fn get(&self, ended: Ended) {
        self.gets.fetch_add(1, Ordering::Relaxed);
        let loss = match ended {
            Ended::Status(200) => return,
            Ended::Broken => {
                self.broken.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ended::Status(status) => format!("status {status}"),
            Ended::Nothing(why) => why,
        };
        self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(loss);
    }

    fn verdict(&self) -> anyhow::Result<()> {
        let lost = self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        println!(
            "{} GETs, {} lost, {} broken off; {} POSTs, {} failed",
            self.gets.load(Ordering::Relaxed),
            lost.len(),
            self.broken.load(Ordering::Relaxed),
            self.posts.load(Ordering::Relaxed),
            self.posts_failed.load(Ordering::Relaxed)
        );
        anyhow::ensure!(self.gets.load(Ordering::Relaxed) > 50, "hardly any load");
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for loss in lost.iter() {
            *kinds.entry(loss.as_str()).or_default() += 1;
        }
        anyhow::ensure!(lost.is_empty(), "{} GETs failed: {kinds:?}", lost.len());
        Ok(())
    }
}

fn restarts(how: Stop, speaks: Speaks, delivery: Delivery, time: Duration) -> anyhow::Result<()> {
    let log = log_file("restarts")?;
    let ports = (0..BACKENDS).map(|_| weir_tests::ports::free()).collect::<anyhow::Result<Vec<u16>>>()?;
    let mut backends = ports
        .iter()
        .map(|port| Backend::start(program(), speaks, *port, &log, 0))
        .collect::<anyhow::Result<Vec<Backend>>>()?;
    let port = weir_tests::ports::free()?;
    let mut plan = Plan::new(port, 0);
    plan.upstreams = ports;
    plan.upstream_h2 = speaks == Speaks::H2;
    let (bootstrap, _plane) = delivery.deliver(plan.bootstrap())?;
    let mut proxy = Proxy::start(&bootstrap, port)?;
    let seen = Seen::default();
    let over = AtomicBool::new(false);
    let restarted = std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| read_until(&over, port, &seen));
        }
        for writer in 0..WRITERS {
            let (over, seen) = (&over, &seen);
            scope.spawn(move || write_until(over, port, writer, seen));
        }
        let outcome = rounds(&mut backends, how, time);
        over.store(true, Ordering::SeqCst);
        outcome
    });
    println!("{} restarts", restarted?);
    proxy.alive()?;
    seen.verdict()?;
    let executed = std::fs::read_to_string(&log)?;
    std::fs::remove_file(&log)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for id in executed.lines() {
        *counts.entry(id).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    anyhow::ensure!(twice.is_empty(), "POSTs executed more than once: {twice:?}");
    anyhow::ensure!(counts.len() > 10, "hardly any POST was executed: {}", counts.len());
    Ok(())
}

fn rounds(backends: &mut [Backend], how: Stop, time: Duration) -> anyhow::Result<u32> {
    let end = Instant::now() + time;
    let mut count = 0;
    loop {
        for backend in backends.iter_mut() {
            std::thread::sleep(UP);
            if Instant::now() >= end {
                return Ok(count);
            }
            backend.restart(how, DOWN)?;
            count += 1;
        }
    }
}

fn read_until(over: &AtomicBool, port: u16, seen: &Seen) {
    let mut client = Client::new(port);
    while !over.load(Ordering::SeqCst) {
        seen.get(client.request("GET", ""));
    }
}

fn write_until(over: &AtomicBool, port: u16, writer: usize, seen: &Seen) {
    let mut client = Client::new(port);
    let mut number = 0u64;
    while !over.load(Ordering::SeqCst) {
        number += 1;
        let ended = client.request("POST", &format!("x-id: {writer}-{number}\r\nContent-Length: 0\r\n"));
        seen.posts.fetch_add(1, Ordering::Relaxed);
        if ended != Ended::Status(200) {
            seen.posts_failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Requests with gaps around the time at which the backend closes: the close and the request cross on the way.
fn keep_alive_race(speaks: Speaks, time: Duration) -> anyhow::Result<()> {
    let log = log_file("race")?;
    let upstream = weir_tests::ports::free()?;
    let _backend = Backend::start(program(), speaks, upstream, &log, IDLE_MS)?;
    let port = weir_tests::ports::free()?;
    let mut plan = Plan::new(port, upstream);
    plan.upstream_h2 = speaks == Speaks::H2;
    let mut proxy = Proxy::start(&plan.bootstrap(), port)?;
    let seen = Seen::default();
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        for lane in 0..16u64 {
            let seen = &seen;
            scope.spawn(move || {
                let mut client = Client::new(port);
                let mut step = lane;
                while Instant::now() < end {
                    seen.get(client.request("GET", ""));
                    step = (step * 7 + 11) % 41;
                    std::thread::sleep(Duration::from_millis(u64::from(IDLE_MS) - 20 + step));
                }
            });
        }
    });
    std::fs::remove_file(&log)?;
    proxy.alive()?;
    seen.verdict()
}

fn seconds() -> Result<u64, String> {
    match std::env::var("WEIR_RESTART_SECONDS") {
        Ok(text) => {
            text.parse().map_err(|_| format!("WEIR_RESTART_SECONDS={text} is not a number of seconds"))
        }
        Err(_) if std::env::var_os("CI").is_some() => Ok(6),
        Err(_) => Ok(20),
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new("restarts");
    match seconds() {
        Err(reason) => suite.verdict("settings", Err::<(), _>(reason)),
        Ok(seconds) => {
            let time = Duration::from_secs(seconds);
            for (speaks, suffix) in [(Speaks::H1, ""), (Speaks::H2, "-h2")] {
                let name = |case: &str| format!("{case}{suffix}");
                for delivery in [Delivery::File, Delivery::Delta] {
                    let name = |case: &str| format!("{}{}", name(case), delivery.suffix());
                    suite.case(&name("graceful"), || restarts(Stop::Graceful, speaks, delivery, time));
                    suite.case(&name("kill"), || restarts(Stop::Kill, speaks, delivery, time));
                }
                suite.case(&name("keep-alive-race"), || keep_alive_race(speaks, time));
            }
        }
    }
    suite.finish()
}
