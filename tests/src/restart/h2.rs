//! The backend over HTTP/2. An idle connection is ended with one GOAWAY that tells the last stream it has seen, so that a
//! request which crosses it on the way is one that was never looked at; stopping gracefully it says GOAWAY twice.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

/// How long a request takes, so that some are under way whenever the process ends.
const WORK: Duration = Duration::from_millis(2);
/// Longest time for the last streams once the backend is told to stop.
const LAST: Duration = Duration::from_secs(5);

/// Serves until standard input ends.
///
/// # Errors
/// The port cannot be bound, or the log cannot be opened.
pub fn serve(port: u16, log: &Path, idle: Option<Duration>) -> anyhow::Result<()> {
    let log = Rc::new(OpenOptions::new().create(true).append(true).open(log)?);
    let (stop, stopping) = watch::channel(false);
    std::thread::spawn(move || {
        // The end of standard input is the signal to stop, an error in reading it likewise.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        // Nobody listens any more: then it has stopped.
        let _ = stop.send(true);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, accept(port, log, idle, stopping))
}

async fn accept(
    port: u16,
    log: Rc<File>,
    idle: Option<Duration>,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let open = Rc::new(Cell::new(0usize));
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = stopping.changed() => break,
        };
        let (log, count, stopping) = (log.clone(), open.clone(), stopping.clone());
        open.set(open.get() + 1);
        spawn_local(async move {
            // A connection that breaks is the peer's affair.
            let _ = connection(stream, log, idle, stopping).await;
            count.set(count.get() - 1);
        });
    }
    drop(listener);
    let drained = async {
        while open.get() > 0 {
            tokio::time::sleep(WORK).await;
        }
    };
    // Whoever is slower than that is cut off.
    let _ = tokio::time::timeout(LAST, drained).await;
    Ok(())
}

async fn connection(
    stream: TcpStream,
    log: Rc<File>,
    idle: Option<Duration>,
    mut stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = h2::server::handshake(stream).await?;
    let active = Rc::new(Cell::new(0usize));
    let mut told = false;
    loop {
        let quiet = tokio::time::sleep(idle.unwrap_or(LAST));
        tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted?;
                let (log, active) = (log.clone(), active.clone());
                active.set(active.get() + 1);
                spawn_local(async move {
                    // A stream that breaks is the peer's affair.
                    let _ = answer(request, respond, &log).await;
                    active.set(active.get() - 1);
                });
            }
            _ = stopping.wait_for(|stop| *stop), if !told => {
                told = true;
                connection.graceful_shutdown();
            }
            () = quiet, if idle.is_some() && !told && active.get() == 0 => {
                told = true;
                connection.abrupt_shutdown(Reason::NO_ERROR);
            }
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    mut log: &File,
) -> anyhow::Result<()> {
    if request.method() == http::Method::POST {
        let id = request.headers().get("x-id").map_or(&b""[..], |value| value.as_bytes());
        log.write_all(&[id, b"\n"].concat())?;
    }
    tokio::time::sleep(WORK).await;
    let response = Response::builder().status(200).header("content-length", "2").body(())?;
    respond.send_response(response, false)?.send_data(Bytes::from_static(b"ok"), true)?;
    Ok(())
}
