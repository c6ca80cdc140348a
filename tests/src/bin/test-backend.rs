//! A small backend that can be restarted under load. Usage: `test-backend PORT LOG IDLE_MS h1|h2`
//!
//! A POST's `x-id` is appended to LOG before it is answered: what stands there was executed. Idle connections are closed
//! after IDLE_MS (0: never). When standard input ends it stops gracefully: no new connections, requests that have begun
//! are answered, idle connections are closed. Over HTTP/2 (by prior knowledge) see `weir_tests::restart::h2`.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weir_tests::restart::h2;
use weir_tests::wire::h1::{Request, Step, read};

/// How long a request takes, so that some are under way whenever the process ends.
const WORK: Duration = Duration::from_millis(2);
const TICK: Duration = Duration::from_millis(5);

struct Shared {
    stopping: AtomicBool,
    open: AtomicUsize,
    log: File,
    idle: Option<Duration>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test-backend: {error:#}\nusage: test-backend PORT LOG IDLE_MS h1|h2");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, log, idle, speaks] = arguments.as_slice() else { anyhow::bail!("four arguments are needed") };
    let idle = Duration::from_millis(idle.parse()?);
    if speaks == "h2" {
        return h2::serve(port.parse()?, log.as_ref(), (!idle.is_zero()).then_some(idle));
    }
    let shared = Arc::new(Shared {
        stopping: AtomicBool::new(false),
        open: AtomicUsize::new(0),
        log: OpenOptions::new().create(true).append(true).open(log)?,
        idle: (!idle.is_zero()).then_some(idle),
    });
    let listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>()?))?;
    listener.set_nonblocking(true)?;
    let flag = Arc::clone(&shared);
    std::thread::spawn(move || {
        // The end of standard input is the signal to stop, an error in reading it likewise.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        flag.stopping.store(true, Ordering::SeqCst);
    });
    while !shared.stopping.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                let own = Arc::clone(&shared);
                own.open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    // A connection that breaks is the peer's affair.
                    let _ = serve(stream, &own);
                    own.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(TICK / 5),
            Err(error) => return Err(error.into()),
        }
    }
    drop(listener);
    let end = Instant::now() + Duration::from_secs(5);
    while shared.open.load(Ordering::SeqCst) > 0 && Instant::now() < end {
        std::thread::sleep(TICK);
    }
    Ok(())
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 16_384];
    let mut since = Instant::now();
    loop {
        match read(&bytes) {
            Step::Request(request, used) => {
                bytes.drain(..used);
                answer(&mut stream, shared, &request)?;
                since = Instant::now();
                continue;
            }
            Step::Odd(reason) => return Err(std::io::Error::new(ErrorKind::InvalidData, reason)),
            Step::Partial => {}
        }
        let idle = bytes.is_empty();
        let due = shared.idle.is_some_and(|limit| since.elapsed() >= limit);
        if idle && (due || shared.stopping.load(Ordering::SeqCst)) {
            return Ok(());
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

fn answer(stream: &mut TcpStream, shared: &Shared, request: &Request) -> std::io::Result<()> {
    if request.method == "POST" {
        let id = request.values("x-id").concat();
        (&shared.log).write_all(&[id.as_slice(), b"\n"].concat())?;
    }
    std::thread::sleep(WORK);
    let closing = if shared.stopping.load(Ordering::SeqCst) { "connection: close\r\n" } else { "" };
    let reply = format!("HTTP/1.1 200 OK\r\n{closing}content-length: 2\r\n\r\nok");
    stream.write_all(reply.as_bytes())
}
