//! The protocols as bytes, written and read by hand: what a correct library would never send can be sent from here.

pub mod h1;
pub mod h2;
pub mod hpack;
