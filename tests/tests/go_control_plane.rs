//! go-control-plane as the control plane: both dialects, aggregated and one stream per type, through snapshots, partial
//! updates, removals, refused resources and restarts. The program is in `tests/interop/go-control-plane`.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, ExitCode};

use weir_tests::suite::Suite;
use weir_tests::verdicts;

/// The program's modes.
const MODES: [&str; 4] = ["ads-sotw", "ads-delta", "types-sotw", "types-delta"];

/// Cases of a mode.
const CASES: usize = 8;

fn main() -> ExitCode {
    let mut suite = Suite::new("go-control-plane");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/go-control-plane");
    if !program.is_file() {
        suite.skip("all", format!("{} is missing; run: make setup-test", program.display()));
        return suite.finish();
    }
    for mode in MODES {
        if !suite.wants(mode) {
            continue;
        }
        match verdicts::of(Command::new(&program).args(["-mode", mode, "-weir"]), CASES) {
            Err(error) => suite.verdict(mode, Err::<(), _>(error)),
            Ok(verdicts) => verdicts.into_iter().for_each(|(name, verdict)| suite.verdict(&name, verdict)),
        }
    }
    suite.finish()
}
