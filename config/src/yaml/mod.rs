//! YAML (and JSON, which is YAML) as a tree in which every node and every key knows its place in the source.

mod load;
mod node;
mod source;
mod span;
mod tree;

pub use load::{LoadError, MAX_ALIAS_NODES, MAX_ANCHOR_NODES, MAX_DEPTH, MAX_FILE_BYTES, MAX_NODES, load};
pub use node::{Entry, Kind, Node, Style};
pub use source::{Source, Sources};
pub use span::{Span, Spanned};
