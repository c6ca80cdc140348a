//! `/help`

use super::call::{Call, Reply};
use super::{ENDPOINTS, Endpoint};
use std::fmt::Write;

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/help", changes: false, help: "print out list of admin commands", params: &[], answer };

/// Every endpoint with its parameters.
pub(super) fn text() -> String {
    let mut out = String::from("admin commands are:\n");
    for endpoint in ENDPOINTS {
        let post = if endpoint.changes { " (POST)" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {}{post}: {}", endpoint.path, endpoint.help);
        for (name, meaning) in endpoint.params {
            let _ = writeln!(out, "      {name}: {meaning}");
        }
    }
    out
}

fn answer(_: &Call<'_>) -> Reply {
    Reply::text(text())
}
