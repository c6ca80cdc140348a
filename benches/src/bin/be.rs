//! The bench's backend. Usage: `be PORT[=H2_BODY_BYTES]...`
#![forbid(unsafe_code)]

use std::process::ExitCode;

use weir_benches::backend::{Port, serve};

fn main() -> ExitCode {
    let mut ports = Vec::new();
    for argument in std::env::args().skip(1) {
        let (port, body) = argument.split_once('=').unwrap_or((&argument, "100"));
        match (port.parse(), body.parse()) {
            (Ok(port), Ok(h2_body)) => ports.push(Port { port, h2_body }),
            _ => {
                eprintln!("be: '{argument}' is not PORT or PORT=BYTES");
                return ExitCode::from(2);
            }
        }
    }
    if ports.is_empty() {
        eprintln!("usage: be PORT[=H2_BODY_BYTES]...");
        return ExitCode::from(2);
    }
    match serve(&ports) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("be: {error}");
            ExitCode::FAILURE
        }
    }
}
