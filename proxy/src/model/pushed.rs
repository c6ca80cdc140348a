//! What a compiled resource says of another one that a source brings apart.

use crate::base::Name;
use std::time::Duration;

/// A resource of another type, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pushed {
    /// Its name.
    pub name: Name,
    /// How long it is waited for (`initial_fetch_timeout`, 15 s); none: for ever.
    pub fetch: Option<Duration>,
}
