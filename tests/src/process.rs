//! Starting weir (or, with `WEIR_BIN`, any proxy that takes Envoy's command line) and watching what it uses.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

/// How long a proxy may take until its listener accepts.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// The program under test: `WEIR_BIN`, else `weir` beside this test's own program.
fn weir() -> anyhow::Result<PathBuf> {
    crate::oracle::binaries::weir()
        .context("weir is not built (cargo build -p weir-proxy), or WEIR_BIN names no file")
}

/// A proxy process with its configuration in a folder of its own; killed and cleaned up when dropped.
pub struct Proxy {
    child: Child,
    folder: PathBuf,
}

impl Proxy {
    /// Starts the program under test with one worker on `bootstrap`, and waits until `port` accepts.
    ///
    /// # Errors
    /// The program is missing, exits, or does not listen in time; the end of its standard error is in the text.
    pub fn start(bootstrap: &serde_json::Value, port: u16) -> anyhow::Result<Self> {
        Self::start_more(bootstrap, &[], port)
    }

    /// The same with further flags.
    pub fn start_more(bootstrap: &serde_json::Value, flags: &[&str], port: u16) -> anyhow::Result<Self> {
        Self::start_program(&weir()?, bootstrap, flags, port)
    }

    /// The same with a program of the caller's.
    pub fn start_program(
        program: &Path,
        bootstrap: &serde_json::Value,
        flags: &[&str],
        port: u16,
    ) -> anyhow::Result<Self> {
        let folder = folder()?;
        let config = folder.join("bootstrap.json");
        fs::write(&config, serde_json::to_vec_pretty(bootstrap)?)?;
        let config = config.display().to_string();
        let arguments =
            ["-c", &config, "--disable-hot-restart", "-l", "warning", "--file-flush-interval-msec", "100"];
        Self::run(program, folder, &[&arguments, flags].concat(), port)
    }

    /// The same with arguments of the caller's instead of a bootstrap.
    pub fn start_with(arguments: &[&str], port: u16) -> anyhow::Result<Self> {
        Self::run(&weir()?, folder()?, arguments, port)
    }

    /// Starts the program under test in a folder, which is its own from now on, with these arguments alone, and does
    /// not wait.
    pub fn start_in(folder: PathBuf, arguments: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(weir()?);
        command.args(arguments).current_dir(&folder);
        Self::spawn(command, folder)
    }

    fn spawn(mut command: Command, folder: PathBuf) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(fs::File::create(folder.join("stdout"))?)
            .stderr(fs::File::create(folder.join("stderr"))?)
            .spawn()
            .with_context(|| command.get_program().display().to_string())?;
        Ok(Self { child, folder })
    }

    fn run(program: &Path, folder: PathBuf, arguments: &[&str], port: u16) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).args(["--concurrency", "1"]);
        let mut proxy = Self::spawn(command, folder)?;
        let end = Instant::now() + READY_WITHIN;
        while Instant::now() < end {
            if let Some(status) = proxy.child.try_wait()? {
                anyhow::bail!("the proxy ended with {status}: {}", proxy.said());
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(proxy);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the proxy does not listen on port {port} after {READY_WITHIN:?}: {}", proxy.said())
    }

    /// Whether the process still runs; the error tells how it ended.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the proxy died with {status}: {}", self.said()),
        }
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        crate::namespace::script(&format!("kill -s {name} {}", self.child.id()))
    }

    /// Waits until it has ended, and tells how.
    pub fn ended(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            anyhow::ensure!(Instant::now() < end, "it runs on after {within:?}: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Resident memory now (VmRSS), in KiB.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// Largest resident memory so far (VmHWM), in KiB.
    pub fn peak_kib(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// All that the process wrote to standard output: its access log, where that is the log's file.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.folder.join("stdout")).unwrap_or_default()
    }

    /// All that the process wrote to standard error.
    pub fn logged(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    /// The end of what the process wrote to standard error.
    pub fn said(&self) -> String {
        let text = self.logged();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(12)).copied().collect::<Vec<_>>().join("\n")
    }
}

/// A new folder for one process.
pub fn folder() -> anyhow::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let unique = format!("weir-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(unique);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // What is already gone needs no ending, and a folder left behind harms nobody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
