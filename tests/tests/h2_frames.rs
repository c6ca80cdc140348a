//! The HTTP/2 frame vectors over live connections: a broken frame is answered with an error, a correct one as RFC 9113
//! says for where it stands, and the process serves on.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use weir_tests::corpora;
use weir_tests::suite::Suite;
use weir_tests::vectors::live::{Live, in_parallel};
use weir_tests::wire::h2::{ACK, Connection, End, GOAWAY, PING, RST_STREAM, SETTINGS, Silence};

const WITHIN: Duration = Duration::from_millis(1500);

struct Vector {
    wire: Vec<u8>,
    kind: String,
    /// The frame itself is wrong.
    broken: bool,
}

/// How the proxy took the frame.
#[derive(Debug)]
struct Taken {
    refused: bool,
    ping_ack: bool,
    settings_acks: usize,
    usable: bool,
}

fn vectors(folder: &Path) -> anyhow::Result<Vec<(String, Vector)>> {
    let mut files = Vec::new();
    for kind in std::fs::read_dir(folder)?.flatten().filter(|entry| entry.path().is_dir()) {
        files.extend(std::fs::read_dir(kind.path())?.flatten().map(|entry| entry.path()));
    }
    files.sort();
    files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "json"))
        .map(|file| vector(file))
        .collect()
}

fn vector(file: &Path) -> anyhow::Result<(String, Vector)> {
    let case = corpora::json(file)?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let wire = case.get("wire").and_then(Value::as_str).unwrap_or_default();
    let broken = case.get("error").is_some_and(|error| !error.is_null());
    let kind =
        if folder == "error" { stem.split('-').next().unwrap_or_default().into() } else { folder.clone() };
    Ok((format!("{folder}/{stem}"), Vector { wire: corpora::hex(wire)?, kind, broken }))
}

fn run(live: &mut Live, vector: &Vector) -> anyhow::Result<()> {
    let mut connection = Connection::connect(live.port, &[])?;
    connection.greet()?;
    connection.write(&vector.wire)?;
    let taken = watch(&mut connection);
    drop(connection);
    let requests = live.judge()?;
    anyhow::ensure!(requests.iter().all(|r| r.target == "/after"), "the frame became a request");
    if vector.broken && vector.kind == "priority" && taken.usable {
        // PRIORITY is deprecated (RFC 9113 5.3.2): a server that ignores it may ignore a broken one.
        return Ok(());
    }
    if vector.broken {
        anyhow::ensure!(taken.refused, "a broken {} frame was taken: {taken:?}", vector.kind);
        return Ok(());
    }
    // Where the vectors' streams (2 and 50) are idle, RFC 9113 5.1 allows HEADERS and PRIORITY only.
    match vector.kind.as_str() {
        "ping" => anyhow::ensure!(taken.ping_ack && taken.usable, "PING: {taken:?}"),
        "settings" => anyhow::ensure!(taken.settings_acks >= 2 && taken.usable, "SETTINGS: {taken:?}"),
        "priority" => anyhow::ensure!(taken.usable && !taken.refused, "PRIORITY: {taken:?}"),
        "goaway" => {}
        _ => anyhow::ensure!(taken.refused, "a {} frame on an idle stream was taken: {taken:?}", vector.kind),
    }
    Ok(())
}

/// Reads what follows the frame, then tries a request on the same connection.
fn watch(connection: &mut Connection) -> Taken {
    let mut taken = Taken { refused: false, ping_ack: false, settings_acks: 0, usable: false };
    // A PING behind the frame: its answer, or the connection's end, tells that the frame was worked off.
    let marker = b"markmark";
    let _ = connection.send(PING, 0, 0, marker);
    loop {
        match connection.next(WITHIN) {
            Ok(frame) if frame.kind == PING && frame.flags & ACK != 0 => {
                if frame.payload == marker {
                    break;
                }
                taken.ping_ack = true;
            }
            Ok(frame) if frame.kind == SETTINGS && frame.flags & ACK != 0 => taken.settings_acks += 1,
            Ok(frame) if frame.kind == GOAWAY || frame.kind == RST_STREAM => {
                taken.refused |= frame.code().unwrap_or(0) != 0;
                if frame.kind == GOAWAY && taken.refused {
                    return taken;
                }
            }
            Ok(_) => {}
            Err(Silence::Closed) => {
                taken.refused = true;
                return taken;
            }
            Err(Silence::Quiet) => return taken,
        }
    }
    taken.usable = connection.get(51, "/after", WITHIN) == End::Status(200);
    taken
}

fn main() -> ExitCode {
    let mut suite = Suite::new("h2_frames");
    match corpora::folder("h2-frames") {
        Err(reason) => suite.skip("h2-frames", reason),
        Ok(folder) => match vectors(&folder) {
            Err(error) => suite.verdict("read", Err::<(), _>(error)),
            Ok(cases) => {
                let wanted = cases.into_iter().filter(|(name, _)| suite.wants(name)).collect();
                for (name, verdict) in in_parallel(wanted, run) {
                    suite.verdict(&name, verdict);
                }
            }
        },
    }
    suite.finish()
}
