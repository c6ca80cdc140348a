//! From tree to types: what a field may be, which fields there are, and what to say when it is otherwise.
//!
//! A resource's struct is declared with `fields!`, an enumeration with `choices!`; both make the type and its
//! reader at once, so that no field can be declared and not read. A mistake is reported and reading goes on:
//! all mistakes of a file are found in one run.

#[macro_use]
mod macros;
mod duration;
mod object;
mod reader;
mod scalar;
mod string_match;
mod suggest;

pub use duration::{parse_duration, print_duration};
pub use object::{ANY, Object};
pub use reader::{Mistake, Reader};
pub use scalar::choice;
pub use string_match::{Matcher, StringMatch, check_regex};
pub use suggest::nearest;

use crate::yaml::Node;

/// A type that a field can have.
pub trait Field: Sized {
    /// Reads a node. What is wrong is reported to `reader`; `None` means that there is no usable value.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// The value when the field is not there; `None` when it has to be there.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }

    /// The value to go on with when what stands there is wrong (it was reported); `None` when there is none.
    #[must_use]
    fn broken() -> Option<Self> {
        Self::absent()
    }
}
