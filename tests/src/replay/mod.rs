//! Replay of what istiod was recorded to push, step by step, with requests through the listeners after each step.
//!
//! What is expected stands in `tests/data/replay.yaml`, read off the recorded resources and the YAML that made them.

mod calls;
mod expect;
mod ground;
mod line;
mod recording;

pub use calls::{Made, call, connect};
pub use expect::{Call, Node, Speaks, Want, Way, expectations};
pub use ground::{Backend, prepare};
pub use line::Line;
pub use recording::{Recording, Step, bootstrap};
