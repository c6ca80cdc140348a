//! `envoy.filters.http.compressor`: compresses responses for clients that accept it, and requests where configured.
//!
//! | module | what it does |
//! | --- | --- |
//! | `accept` | the choice among the compressors of a chain |
//! | `config` | configuration of the chain and of routes |
//! | `filter` | one exchange |
//! | `library` | gzip, brotli and zstd |

mod accept;
mod config;
mod filter;
mod library;

use super::Factory;

/// The table's line.
pub const FACTORY: Factory = Factory {
    type_name: "envoy.extensions.filters.http.compressor.v3.Compressor",
    name: "envoy.filters.http.compressor",
    terminal: false,
    config: config::compile,
    route_config: Some((
        "envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
        config::compile_route,
    )),
    run: Some(filter::run),
};
