//! Network namespaces: a machine of one's own, whose addresses and redirections disturb nobody.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use anyhow::Context;

use crate::suite::Suite;

/// Commands of the system's administrator are not on everybody's path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a namespace must be able to do, as a shell's command: hold addresses of its own, and redirect what is sent, by
/// changing its destination (IPv4 and IPv6) and without (TPROXY).
const TRY: &str =
    "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && ip -6 route add local ::/0 dev lo \
&& nft -f - <<'END'
table ip weir_try {
chain out {
type nat hook output priority -100;
meta l4proto tcp meta mark 1 redirect to :15001
}
chain before {
type filter hook prerouting priority mangle;
meta l4proto tcp meta mark 4 tproxy to :15006 accept
}
}
table ip6 weir_try {
chain out {
type nat hook output priority -100;
meta l4proto tcp meta mark 1 redirect to :15001
}
}
END";

/// A command with the administrator's path.
pub fn command(program: &str) -> Command {
    let own = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{own}:{PATH}"));
    command
}

/// Whether this machine lets us make one. The error is a reason for a skip: it contains the word `namespace`.
pub fn allowed() -> anyhow::Result<()> {
    let tried = command("unshare").args(["--net", "--", "sh", "-c", TRY]).output();
    let out = tried.context("no network namespace: there is no program unshare")?;
    anyhow::ensure!(
        out.status.success(),
        "no network namespace with addresses and redirection of its own (needs root and nft): {}",
        told(&out)
    );
    Ok(())
}

/// What a command that failed has said, in one line.
pub fn told(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A folder that is the shared corpora's neighbour. The error is a reason for a skip.
pub fn beside_corpora(name: &str) -> anyhow::Result<PathBuf> {
    let corpus = crate::corpora::folder("istio-simulation")?;
    let folder = corpus.parent().and_then(|corpora| corpora.parent()).map(|shared| shared.join(name));
    let folder = folder.context("the shared corpora have no folder above them")?;
    anyhow::ensure!(folder.is_dir(), "beside the shared corpora there is no {}", folder.display());
    Ok(folder)
}

/// Set in the process that runs inside.
const INSIDE: &str = "WEIR_INSIDE_NAMESPACE";

/// Runs this program again in a namespace of its own, and gives its end; none when this is that run.
pub fn enter() -> anyhow::Result<Option<ExitCode>> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let own = std::env::current_exe().context("the path of this program")?;
    let status = command("unshare")
        .args(["--net", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .context("unshare")?;
    Ok(Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

/// Runs a suite on a corpus in a namespace of its own, and gives its end. Skipped where either cannot be had.
pub fn suite(
    name: &'static str,
    corpus: &str,
    run: impl FnOnce(&mut Suite, &Path) -> anyhow::Result<()>,
) -> ExitCode {
    let mut suite = Suite::new(name);
    match crate::corpora::folder(corpus).and_then(|folder| allowed().map(|()| folder)) {
        Err(reason) => suite.skip("all", format!("{reason:#}")),
        Ok(folder) => match enter() {
            Ok(Some(code)) => return code,
            Ok(None) => {
                if let Err(error) = run(&mut suite, &folder) {
                    suite.verdict("all", Err(error));
                }
            }
            Err(error) => suite.verdict("all", Err(error)),
        },
    }
    suite.finish()
}

/// Runs a shell's script; what it says when it fails is the error.
pub fn script(text: &str) -> anyhow::Result<()> {
    let out = command("sh").args(["-e", "-c", text]).output().context("sh")?;
    anyhow::ensure!(out.status.success(), "{}", told(&out));
    Ok(())
}
