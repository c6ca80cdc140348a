//! HTTP/2 floods and stalls against a fresh process: what the attacker does, who else is served meanwhile, what it costs.
//!
//! A new attack is a function and a line in [`ATTACKS`].

mod floods;
mod stall;
mod upstream;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use upstream::Upstream;

use crate::bootstrap::Plan;
use crate::process::Proxy;
use crate::wire::h1::fetch;
use crate::wire::h2::{Connection, End};

/// Resident memory that an attack may add.
pub const MEMORY_KIB: u64 = 50 * 1024;
/// `stream_idle_timeout` of the proxy under attack: what a stalled stream may live.
pub const STREAM_IDLE_S: u32 = 2;
const NEIGHBOUR_WITHIN: Duration = Duration::from_secs(5);
const NEIGHBOUR_GAP: Duration = Duration::from_millis(50);
/// Stack of a thread that only moves bytes.
pub(crate) const SMALL_STACK: usize = 256 * 1024;

/// What one attacking connection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The proxy closed the connection, or refused the stream where that is the remedy.
    Refused,
    /// The time was over first.
    Time,
    /// It could not connect.
    Unreachable,
}

/// One kind of attack.
pub struct Attack {
    /// Its name.
    pub name: &'static str,
    /// One connection's attack, until the proxy ends it or `until` has come.
    pub run: fn(port: u16, until: Instant) -> Ended,
}

/// All attacks.
pub const ATTACKS: &[Attack] = &[
    Attack { name: "rapid-reset", run: floods::rapid_reset },
    Attack { name: "continuation", run: floods::continuation },
    Attack { name: "empty-continuation", run: floods::empty_continuation },
    Attack { name: "settings", run: floods::settings },
    Attack { name: "ping", run: floods::ping },
    Attack { name: "empty-data", run: floods::empty_data },
    Attack { name: "hpack-bomb", run: stall::hpack_bomb },
    Attack { name: "zero-window", run: stall::zero_window },
];

#[derive(Default)]
struct Tally {
    refused: AtomicU64,
    timed_out: AtomicU64,
    unreachable: AtomicU64,
}

/// Runs an attack by `connections` connections for `time` against a proxy of its own.
///
/// # Errors
/// The process died, took more than [`MEMORY_KIB`], let an attacker go on until the end without ever refusing it, or
/// failed a well-behaved client.
pub fn run(attack: &Attack, connections: usize, time: Duration) -> anyhow::Result<()> {
    // The neighbour has a backend to itself: what the attackers do to theirs is not the proxy's doing.
    let (upstream, apart) = (Upstream::start()?, Upstream::start()?);
    let port = crate::ports::free()?;
    let mut plan = Plan::new(port, upstream.port);
    plan.stream_idle_s = Some(STREAM_IDLE_S);
    plan.apart = Some(apart.port);
    let mut proxy = Proxy::start(&plan.bootstrap(), port)?;
    for _ in 0..10 {
        let (status, _) = fetch(port, "/warm", NEIGHBOUR_WITHIN)?;
        anyhow::ensure!(status == 200, "warm-up answered with {status}");
    }
    let before = proxy.resident_kib()?;
    // Nothing can be refused for stalling before a stream may be called idle.
    let until = Instant::now() + time.max(Duration::from_secs(u64::from(STREAM_IDLE_S) * 2 + 1));
    let tally = Tally::default();
    let served = std::thread::scope(|scope| {
        for _ in 0..connections {
            let attacker = || {
                while Instant::now() < until {
                    let ended = (attack.run)(port, until);
                    tally.count(ended);
                    // A refused attacker comes back, but not faster than it can be seen to be refused.
                    std::thread::sleep(Duration::from_millis(5));
                }
            };
            // Fewer attackers than asked for would prove less: the scope panics when a thread cannot start.
            let builder = std::thread::Builder::new().stack_size(SMALL_STACK);
            builder.spawn_scoped(scope, attacker).map(|_| ())?;
        }
        neighbour(port, until)
    });
    proxy.alive()?;
    let peak = proxy.peak_kib()?;
    let added = peak.saturating_sub(before);
    let refused = tally.refused.load(Ordering::Relaxed);
    let timed_out = tally.timed_out.load(Ordering::Relaxed);
    println!(
        "{} x{connections}: refused {refused}, not refused {timed_out}, unreachable {}, memory {before} + {added} KiB",
        attack.name,
        tally.unreachable.load(Ordering::Relaxed)
    );
    served?;
    anyhow::ensure!(refused > 0, "no attacking connection was refused in {time:?}");
    anyhow::ensure!(added < MEMORY_KIB, "{added} KiB above the {before} KiB before (bound {MEMORY_KIB})");
    let (status, _) = fetch(port, "/after", NEIGHBOUR_WITHIN)?;
    anyhow::ensure!(status == 200, "after the attack: {status}");
    Ok(())
}

impl Tally {
    fn count(&self, ended: Ended) {
        let cell = match ended {
            Ended::Refused => &self.refused,
            Ended::Time => &self.timed_out,
            Ended::Unreachable => &self.unreachable,
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }
}

/// A well-behaved client beside the attack: HTTP/1 and HTTP/2, every request must be answered with 200.
fn neighbour(port: u16, until: Instant) -> anyhow::Result<()> {
    let mut h2 = Connection::connect(port, &[])?;
    let mut stream = 1;
    let mut served = 0u32;
    while Instant::now() < until {
        let (status, _) = fetch(port, "/apart/neighbour", NEIGHBOUR_WITHIN).map_err(|error| {
            error.context(format!("the neighbour's HTTP/1 request after {served} good ones"))
        })?;
        anyhow::ensure!(status == 200, "the neighbour's HTTP/1 request was answered with {status}");
        let end = h2.get(stream, "/apart/neighbour", NEIGHBOUR_WITHIN);
        anyhow::ensure!(end == End::Status(200), "the neighbour's HTTP/2 request ended with {end:?}");
        stream += 2;
        served += 1;
        std::thread::sleep(NEIGHBOUR_GAP);
    }
    anyhow::ensure!(served > 0, "the neighbour was never served");
    Ok(())
}
