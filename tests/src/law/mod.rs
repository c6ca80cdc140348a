//! Laws of the house, read from the source and held as tests. Each law gives the list of its breaches,
//! every one with file, line and remedy; an empty list is obedience.
//!
//! | module | law |
//! | --- | --- |
//! | [`layers`] | a module of the data plane imports only from lower layers |
//! | [`protos`] | wire messages are known in `control`, `boot` and a plug-in's own file |
//! | [`sizes`] | a file fits a mind |
//! | [`tables`] | every file of a folder is named at its door |
//! | [`crates`] | crates depend on each other in one direction, on pinned versions, without unsafe code |
//! | [`source`] | source files: found, read, without comments and tests |

pub mod crates;
pub mod layers;
pub mod protos;
pub mod sizes;
pub mod source;
pub mod tables;

/// One breach of a law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// File and line, from the repository's root.
    pub at: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}
