//! Attacks by 1 and by 100 connections: memory bounded, the offender refused, a well-behaved client unharmed.
//!
//! `WEIR_ATTACK_SECONDS` sets the length of each (30; 3 where `CI` is set).
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use weir_tests::attack::{ATTACKS, run};
use weir_tests::suite::Suite;

fn seconds() -> Result<u64, String> {
    match std::env::var("WEIR_ATTACK_SECONDS") {
        Ok(text) => {
            text.parse().map_err(|_| format!("WEIR_ATTACK_SECONDS={text} is not a number of seconds"))
        }
        Err(_) if std::env::var_os("CI").is_some() => Ok(3),
        Err(_) => Ok(30),
    }
}

fn main() -> ExitCode {
    let mut suite = Suite::new("attacks");
    match seconds() {
        Err(reason) => suite.verdict("settings", Err::<(), _>(reason)),
        Ok(seconds) => {
            println!("each attack lasts {seconds} s");
            for attack in ATTACKS {
                for connections in [1, 100] {
                    let name = format!("{} x{connections}", attack.name);
                    suite.case(&name, || run(attack, connections, Duration::from_secs(seconds)));
                }
            }
        }
    }
    suite.finish()
}
