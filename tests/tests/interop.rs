//! grpc-go's interop client and server with the proxy between them: all four streaming shapes, deadlines,
//! cancellation, statuses and metadata.
#![forbid(unsafe_code)]

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use weir_tests::bootstrap::Plan;
use weir_tests::process::Proxy;
use weir_tests::suite::Suite;

/// The client's cases that need neither TLS nor credentials.
const CASES: [&str; 16] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
    "channel_soak",
];
const CASE_WITHIN: Duration = Duration::from_secs(40);

fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin").join(name)
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good as ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn server(port: u16) -> anyhow::Result<Server> {
    let child = Command::new(tool("grpc-interop-server"))
        .arg(format!("-port={port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("grpc-interop-server")?;
    let server = Server(child);
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        anyhow::ensure!(Instant::now() < end, "grpc-interop-server does not listen on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

fn case(port: u16, name: &str) -> anyhow::Result<()> {
    let mut client = Command::new(tool("grpc-interop-client"))
        .args(["-server_host=127.0.0.1", "-use_tls=false"])
        .arg(format!("-server_port={port}"))
        .arg(format!("-test_case={name}"))
        .args(["-soak_iterations=20", "-soak_overall_timeout_seconds=20"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("grpc-interop-client")?;
    let end = Instant::now() + CASE_WITHIN;
    let status = loop {
        if let Some(status) = client.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            client.kill()?;
            client.wait()?;
            anyhow::bail!("not done after {CASE_WITHIN:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    if let Some(stderr) = client.stderr.as_mut() {
        stderr.read_to_string(&mut said)?;
    }
    let last = said.lines().last().unwrap_or_default();
    anyhow::ensure!(status.success(), "{status}: {last}");
    Ok(())
}

fn main() -> ExitCode {
    let mut suite = Suite::new("interop");
    for name in ["grpc-interop-client", "grpc-interop-server"] {
        if !tool(name).is_file() {
            suite.skip("all", format!("{} is missing; run: make setup", tool(name).display()));
            return suite.finish();
        }
    }
    let started = (|| {
        let upstream = weir_tests::ports::free()?;
        let server = server(upstream)?;
        let port = weir_tests::ports::free()?;
        let mut plan = Plan::new(port, upstream);
        plan.upstream_h2 = true;
        let proxy = Proxy::start(&plan.bootstrap(), port)?;
        anyhow::Ok((server, proxy, port))
    })();
    match started {
        Err(error) => suite.verdict("start", Err::<(), _>(error)),
        Ok((_server, _proxy, port)) => {
            for name in CASES {
                suite.case(name, || case(port, name));
            }
        }
    }
    suite.finish()
}
