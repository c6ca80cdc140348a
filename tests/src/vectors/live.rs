//! A proxy between a client that may send anything and the recording upstream.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::recorder::{Event, Recorder};
use crate::bootstrap::Plan;
use crate::process::Proxy;
use crate::wire::h1::{Reply, Request, exchange, fetch};

/// How long the proxy may be quiet before its answer counts as complete.
const QUIET: Duration = Duration::from_millis(150);
const SENTINEL_WITHIN: Duration = Duration::from_secs(3);

/// The set-up; one serves many cases, one after the other.
pub struct Live {
    proxy: Proxy,
    recorder: Recorder,
    /// The proxy's port.
    pub port: u16,
    sentinels: u32,
}

/// What a case led to.
pub struct Outcome {
    /// What the client got.
    pub reply: Reply,
    /// The complete requests that the upstream got, without the sentinel.
    pub requests: Vec<Request>,
}

impl Live {
    /// Starts proxy and upstream.
    pub fn start() -> anyhow::Result<Self> {
        let recorder = Recorder::start()?;
        let port = crate::ports::free()?;
        let proxy = Proxy::start(&Plan::new(port, recorder.port).bootstrap(), port)?;
        recorder.take();
        Ok(Self { proxy, recorder, port, sentinels: 0 })
    }

    /// Sends raw bytes on a connection of their own, then judges ([`Self::judge`]).
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<Outcome> {
        let reply = exchange(self.port, bytes, QUIET)?;
        Ok(Outcome { reply, requests: self.judge()? })
    }

    /// Sends a plain request after a case and looks at all that has reached the upstream.
    ///
    /// # Errors
    /// The proxy died, an odd byte arrived, or the sentinel did not arrive as exactly one request of its own (an
    /// upstream connection was left in the middle of a message).
    pub fn judge(&mut self) -> anyhow::Result<Vec<Request>> {
        self.sentinels += 1;
        let path = format!("/sentinel/{}", self.sentinels);
        let answer = fetch(self.port, &path, SENTINEL_WITHIN);
        self.proxy.alive()?;
        let mut requests = Vec::new();
        let mut arrived = 0;
        for event in self.recorder.take() {
            match event {
                Event::Odd(reason) => anyhow::bail!("the upstream received {reason}"),
                Event::Request(request) if request.target == path => arrived += 1,
                Event::Request(request) => requests.push(request),
            }
        }
        let (status, _) = answer.map_err(|error| error.context("the request after this one"))?;
        anyhow::ensure!(status == 200, "the request after this one was answered with {status}");
        anyhow::ensure!(arrived == 1, "the request after this one arrived {arrived} times");
        Ok(requests)
    }
}

/// Proxies that work through a set of cases side by side; each case waits more than it computes.
const LANES: usize = 4;

/// Runs every case on one of a few [`Live`] set-ups; the verdicts in the order of the cases.
pub fn in_parallel<C: Send>(
    cases: Vec<(String, C)>,
    run: impl Fn(&mut Live, &C) -> anyhow::Result<()> + Sync,
) -> Vec<(String, anyhow::Result<()>)> {
    let queue = Mutex::new(cases.into_iter().enumerate());
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                let mut live = None;
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((index, (name, case))) = next else { return };
                    let verdict = one(&mut live, &case, &run);
                    let mut all = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push((index, name, verdict));
                }
            });
        }
    });
    let mut all = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|(index, _, _)| *index);
    all.into_iter().map(|(_, name, verdict)| (name, verdict)).collect()
}

/// One case; a set-up that it has broken is replaced for the next.
fn one<C>(
    live: &mut Option<Live>,
    case: &C,
    run: &impl Fn(&mut Live, &C) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if live.is_none() {
        *live = Some(Live::start()?);
    }
    let Some(own) = live.as_mut() else { anyhow::bail!("no set-up") };
    let verdict = run(own, case);
    if verdict.is_err() {
        *live = None;
    }
    verdict
}
