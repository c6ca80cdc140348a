//! What proxies refuse, and what is refused to them, on standard error: the same text of the same node once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::folder::tell;

/// Nodes and types whose last text is remembered. Beyond that all are forgotten, and may be told again.
const MOST_REMEMBERED: usize = 10_000;

/// Lines within [`WINDOW`].
const MOST_LINES: u32 = 50;

/// See [`MOST_LINES`].
const WINDOW: Duration = Duration::from_secs(1);

/// Longest part of a line that is somebody else's, in bytes.
const LONGEST: usize = 1024;

/// The log.
#[derive(Debug, Default)]
pub struct Log(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// What was told last, by node and type. Of a stream that was refused the type is empty.
    last: HashMap<(String, String), String>,
    /// When the window began, and its lines.
    window: Option<(Instant, u32)>,
}

impl Log {
    /// A proxy refuses what it was sent.
    pub fn refused(&self, node: &str, kind: &str, why: &str) {
        let (node, why) = (line(node), line(why));
        self.once(&node, kind, &why, || format!("{node} refuses {kind}: {why}\n"));
    }

    /// A proxy has taken what it was sent: should it refuse the same again, that is news.
    pub fn taken(&self, node: &str, kind: &str) {
        self.memory(|memory| memory.last.remove(&(line(node), kind.to_owned())));
    }

    /// A stream is refused. `peer`: its address; `node`: its node's id, if it has one.
    pub fn stream_refused(&self, peer: &str, node: &str, why: &str) {
        let (id, why) = (line(node), line(why));
        // Without an id a client is its address; its port is another each time.
        let who = if id.is_empty() { peer.rsplit_once(':').map_or(peer, |(ip, _)| ip) } else { id.as_str() };
        self.once(who, "", &why, || format!("a stream from {peer} is refused: {why}\n"));
    }

    fn once(&self, node: &str, kind: &str, why: &str, text: impl FnOnce() -> String) {
        match self.memory(|memory| memory.admits((node.to_owned(), kind.to_owned()), why, Instant::now())) {
            Admitted::Yes => tell(&text()),
            Admitted::Last => {
                tell(&format!("{}more than {MOST_LINES} a second: see /debug/syncz\n", text()));
            }
            Admitted::No => {}
        }
    }

    fn memory<T>(&self, with: impl FnOnce(&mut Memory) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Is a line told?
#[derive(Debug, PartialEq)]
enum Admitted {
    Yes,
    /// It is the last one of its window.
    Last,
    No,
}

impl Memory {
    fn admits(&mut self, key: (String, String), why: &str, now: Instant) -> Admitted {
        if self.last.get(&key).is_some_and(|last| last == why) {
            return Admitted::No;
        }
        let fresh = |(began, _): &(Instant, u32)| now.saturating_duration_since(*began) < WINDOW;
        let (began, lines) = self.window.filter(fresh).unwrap_or((now, 0));
        if lines >= MOST_LINES {
            return Admitted::No;
        }
        let lines = lines.saturating_add(1);
        self.window = Some((began, lines));
        if self.last.len() >= MOST_REMEMBERED {
            self.last.clear();
        }
        self.last.insert(key, why.to_owned());
        if lines == MOST_LINES { Admitted::Last } else { Admitted::Yes }
    }
}

/// Text of a stranger: on one line, and of bounded length.
fn line(text: &str) -> String {
    let (cut, rest) = text.split_at(text.floor_char_boundary(LONGEST));
    let mut line: String = cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if !rest.is_empty() {
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(node: &str) -> (String, String) {
        (node.to_owned(), "Cluster".to_owned())
    }

    #[test]
    fn the_same_text_of_the_same_node_is_told_once() {
        let (log, now) = (Log::default(), Instant::now());
        let admits = |node: &str, why: &str| log.memory(|memory| memory.admits(key(node), why, now));
        assert_eq!(admits("a", "bad"), Admitted::Yes);
        assert_eq!(admits("a", "bad"), Admitted::No);
        assert_eq!(admits("b", "bad"), Admitted::Yes);
        assert_eq!(admits("a", "worse"), Admitted::Yes);
        log.taken("a", "Cluster");
        assert_eq!(admits("a", "worse"), Admitted::Yes);
    }

    #[test]
    fn a_flood_is_bounded() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let told = |memory: &mut Memory, from: u32, now: Instant| {
            let all = (from..from + 100).map(|number| memory.admits(key(&number.to_string()), "bad", now));
            let all: Vec<Admitted> = all.collect();
            (
                all.iter().filter(|one| **one != Admitted::No).count(),
                all.iter().filter(|one| **one == Admitted::Last).count(),
            )
        };
        assert_eq!(told(&mut memory, 0, now), (MOST_LINES as usize, 1));
        assert_eq!(told(&mut memory, 100, now), (0, 0));
        assert_eq!(told(&mut memory, 100, now + WINDOW), (MOST_LINES as usize, 1));
    }

    #[test]
    fn a_text_stays_on_its_line() {
        assert_eq!(line("a\nb\u{1b}c"), "a b c");
        assert_eq!(line(&"é".repeat(LONGEST)).len(), LONGEST + 3);
    }
}
