//! `weir`: the data plane program.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use weir_proxy::boot::{self, Flags, Wish};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags = match Flags::parse(std::env::args().skip(1)) {
        Ok(Wish::Run(flags)) => flags,
        Ok(Wish::Print(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("weir: {why} (weir --help)");
            return ExitCode::FAILURE;
        }
    };
    match boot::run(*flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
