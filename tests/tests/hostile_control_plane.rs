//! Control planes that do what they must not, in Python on grpcio and xds-protos, and on bare sockets. The program is in
//! `tests/interop/hostile-control-plane`.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, ExitCode};

use weir_tests::suite::Suite;
use weir_tests::verdicts;

/// Cases of the program.
const CASES: usize = 12;

fn main() -> ExitCode {
    let mut suite = Suite::new("hostile-control-plane");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../.venv/bin/python");
    if !python.is_file() {
        suite.skip("all", format!("{} is missing; run: make setup-test", python.display()));
        return suite.finish();
    }
    let program = root.join("interop/hostile-control-plane/main.py");
    match verdicts::of(Command::new(python).arg(program).arg("--weir"), CASES) {
        Err(error) => suite.verdict("all", Err::<(), _>(error)),
        Ok(verdicts) => verdicts.into_iter().for_each(|(name, verdict)| suite.verdict(&name, verdict)),
    }
    suite.finish()
}
