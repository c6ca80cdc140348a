//! Signals and the end: SIGTERM drains and exits when idle, at the latest after the grace time; a second one exits at
//! once; SIGUSR1 reopens logs; SIGHUP is ignored.

use super::crew::Crew;
use crate::control::Control;
use crate::live::drain::{self, Reach};
use crate::observe::log;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// How often open connections are counted while draining.
const LOOK: Duration = Duration::from_millis(20);

/// Longest time for the last log lines.
const LOG_FLUSH: Duration = Duration::from_secs(1);

/// The signals that are obeyed from the moment on that this is made. Those that come before [`Shutdown::wait`] are found
/// there: a process that is asked to end while it starts ends in order.
pub struct Signals {
    runtime: Runtime,
    term: Signal,
    int: Signal,
    usr1: Signal,
    hup: Signal,
}

impl Signals {
    /// Begins.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub fn catch() -> std::io::Result<Signals> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let term = signal(SignalKind::terminate())?;
        let int = signal(SignalKind::interrupt())?;
        let usr1 = signal(SignalKind::user_defined1())?;
        let hup = signal(SignalKind::hangup())?;
        drop(inside);
        Ok(Signals { runtime, term, int, usr1, hup })
    }
}

/// Ends the process.
pub struct Shutdown {
    crew: Arc<Crew>,
    control: Control,
    grace: Duration,
    quit: Notify,
    draining: AtomicBool,
}

impl Shutdown {
    /// With the flags' times.
    pub fn new(crew: Arc<Crew>, control: Control, grace: Duration) -> Arc<Shutdown> {
        Arc::new(Shutdown { crew, control, grace, quit: Notify::new(), draining: AtomicBool::new(false) })
    }

    /// Is the process on its way out?
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// `/quitquitquit`
    pub fn quit(&self) {
        self.quit.notify_one();
    }

    /// `/drain_listeners`
    pub fn drain_listeners(&self, graceful: bool, inbound_only: bool, skip_exit: bool) {
        let mut after = Duration::ZERO;
        if graceful {
            let reach = if inbound_only { Reach::Inbound } else { Reach::All };
            drain::begin(reach, drain::spread());
            self.crew.drain();
            log::flush_all(LOG_FLUSH);
            if skip_exit {
                return;
            }
            // Whatever the strategy: that tells when connections close, not how long listeners accept.
            after = drain::time();
        }
        let control = self.control.clone();
        let name = std::thread::Builder::new().name("drain".into());
        let spawned = name.spawn(move || {
            std::thread::sleep(after);
            control.stop_listening_blocking(inbound_only);
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to end the drain: the listeners are not stopped; ask again");
        }
    }

    /// Waits for the end; returns when the process may exit.
    pub fn wait(&self, signals: Signals) {
        let Signals { runtime, term, int, usr1, hup } = signals;
        runtime.block_on(self.ended(term, int, usr1, hup));
        self.control.save_last_blocking();
        log::flush_all(LOG_FLUSH);
    }

    async fn ended(&self, mut term: Signal, mut int: Signal, mut usr1: Signal, mut hup: Signal) {
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                () = self.quit.notified() => return,
                _ = usr1.recv() => log::reopen_all(),
                _ = hup.recv() => {}
            }
        }
        self.begin().await;
        tokio::select! {
            () = self.idle() => tracing::info!("drained"),
            () = tokio::time::sleep(self.grace) => tracing::warn!(open = self.crew.connections(), "grace time is over"),
            _ = term.recv() => tracing::warn!("second signal: exit at once"),
            _ = int.recv() => tracing::warn!("second signal: exit at once"),
            () = self.quit.notified() => {}
        }
    }

    async fn begin(&self) {
        tracing::info!(grace_s = self.grace.as_secs(), open = self.crew.connections(), "draining");
        self.draining.store(true, Ordering::Relaxed);
        drain::begin(Reach::All, None);
        drain::close_idle();
        self.control.stop_listening(false).await;
        self.crew.drain();
        log::expect_end();
        log::flush_all(LOG_FLUSH);
    }

    async fn idle(&self) {
        while self.crew.connections() > 0 {
            tokio::time::sleep(LOOK).await;
            self.crew.drain();
        }
    }
}
