//! `/`: a page of links for people.

use super::call::{Call, Reply};
use super::{ENDPOINTS, Endpoint};
use std::fmt::Write;

pub(super) const ENDPOINT: Endpoint =
    Endpoint { path: "/", changes: false, help: "Admin home page", params: &[], answer };

fn answer(_: &Call<'_>) -> Reply {
    let mut out = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>weir admin</title></head>\n<body>\n<table>\n",
    );
    for Endpoint { path, changes, help, .. } in ENDPOINTS {
        let link = if *changes {
            format!("<form action=\"{path}\" method=\"post\"><button>{path}</button></form>")
        } else {
            format!("<a href=\"{path}\">{path}</a>")
        };
        let _ = writeln!(out, "<tr><td>{link}</td><td>{help}</td></tr>");
    }
    out.push_str("</table>\n</body>\n</html>\n");
    Reply::html(out)
}
