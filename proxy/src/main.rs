//! `weir`: the data plane program.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use weir_proxy::boot::{self, Flags, Wish};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags = match Flags::parse(std::env::args().skip(1)) {
        Ok(Wish::Run(flags)) => flags,
        Ok(Wish::Print(text)) => {
            // Whoever reads it may have closed the pipe: not an error of this program.
            let _ = writeln!(std::io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "weir: {why} (weir --help)");
            return ExitCode::FAILURE;
        }
    };
    match boot::run(*flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
