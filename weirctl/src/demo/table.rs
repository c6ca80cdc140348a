//! What a person watches: the steps and, below them, the traffic of this moment. Redrawn in place by ANSI sequences
//! on a terminal; elsewhere one line per finished step.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::load::{Live, look};
use super::steps::{Finding, STEPS};

/// Time between two redraws.
const REDRAW: Duration = Duration::from_millis(250);
/// Columns of the bar of a version's share.
const BAR: usize = 30;

/// How the report is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Redrawn in place.
    Live,
    /// A line per step.
    Lines,
    /// Nothing: the report is JSON.
    Silent,
}

impl Style {
    /// What suits this standard output.
    pub fn of(json: bool) -> Self {
        match (json, std::io::stdout().is_terminal()) {
            (true, _) => Self::Silent,
            (false, true) => Self::Live,
            (false, false) => Self::Lines,
        }
    }
}

struct State {
    current: usize,
    done: Vec<(bool, String)>,
    live: Live,
    last: (Instant, u64),
    rate: f64,
    drawn: usize,
}

/// The board that steps write to and the table reads.
pub struct Board {
    style: Style,
    state: Mutex<State>,
}

impl Board {
    /// An empty board.
    pub fn new(style: Style) -> Self {
        let state = State {
            current: 0,
            done: Vec::new(),
            live: Live::default(),
            last: (Instant::now(), 0),
            rate: 0.0,
            drawn: 0,
        };
        Self { style, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tally for a load, shown from now on.
    pub fn new_load(&self) -> Live {
        let live = Live::default();
        let mut state = self.state();
        state.live = Arc::clone(&live);
        state.last = (Instant::now(), 0);
        live
    }

    /// A step begins.
    pub fn begin(&self, index: usize) {
        self.state().current = index;
    }

    /// A step is over.
    pub fn end(&self, finding: &Finding) {
        let mut state = self.state();
        state.done.push((finding.held, finding.measured.clone()));
        let step = STEPS.get(state.current);
        if let (Style::Lines, Some(step)) = (self.style, step) {
            let word = if finding.held { "held" } else { "FAILED" };
            say(&format!(
                "{word:>6}  {}: {}\n        {}\n",
                step.name,
                step.condition,
                indented(&finding.measured)
            ));
        }
    }

    /// Redraws for ever.
    pub async fn show(&self) {
        if self.style != Style::Live {
            std::future::pending::<()>().await;
        }
        loop {
            self.draw();
            tokio::time::sleep(REDRAW).await;
        }
    }

    /// Draws the table once, over the one before.
    pub fn draw(&self) {
        if self.style != Style::Live {
            return;
        }
        let mut state = self.state();
        let mut text = String::new();
        if state.drawn > 0 {
            // Back to the first line of the last drawing; everything below is erased.
            let _ = write!(text, "\x1b[{}F\x1b[J", state.drawn);
        }
        let body = state.body();
        state.drawn = body.lines().count();
        text.push_str(&body);
        drop(state);
        say(&text);
    }
}

impl State {
    fn body(&mut self) -> String {
        let mut text =
            String::from("\x1b[1mweir demo\x1b[0m: gateway, 6 sidecars, 2 services of 3 versions\n\n");
        for (index, step) in STEPS.iter().enumerate() {
            let (mark, rest) = match self.done.get(index) {
                Some((true, measured)) => ("\x1b[32m✓\x1b[0m", measured.lines().next().unwrap_or_default()),
                Some((false, measured)) => ("\x1b[31m✗\x1b[0m", measured.lines().next().unwrap_or_default()),
                None if index == self.current => ("\x1b[33m▸\x1b[0m", step.condition),
                None => ("·", ""),
            };
            let _ = writeln!(text, "  {mark} {:<26} {}", step.name, clipped(rest));
        }
        let tally = look(&self.live).clone();
        let elapsed = self.last.0.elapsed();
        if elapsed >= REDRAW / 2 {
            // A tally that began anew counts from zero.
            let since = tally.requests.checked_sub(self.last.1).unwrap_or(tally.requests);
            #[allow(clippy::cast_precision_loss)]
            let rate = since as f64 / elapsed.as_secs_f64();
            self.rate = rate;
            self.last = (Instant::now(), tally.requests);
        }
        let _ = writeln!(
            text,
            "\n  {:>7.0} requests/s   p50 {:>7.1?}   p99 {:>7.1?}   {} requests, {} not 200",
            self.rate,
            tally.quantile(0.5),
            tally.quantile(0.99),
            tally.requests,
            tally.failed()
        );
        let total: u64 = tally.versions.values().sum();
        for version in ["v1", "v2", "v3"] {
            let part = tally.version(version);
            let filled =
                usize::try_from(part.saturating_mul(BAR as u64) / total.max(1)).unwrap_or(0).min(BAR);
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
            let _ = writeln!(text, "  {version} {bar} {:>7}", super::steps::percent(part, total));
        }
        text
    }
}

/// Lines that a narrow terminal would wrap put the redraw out of place.
fn clipped(text: &str) -> String {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(120_usize);
    let room = columns.saturating_sub(32);
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

fn indented(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("\n        ")
}

/// Writes to standard output; nobody is left to tell when that is gone.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
