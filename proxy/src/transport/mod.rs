//! One byte-stream type over TCP and Unix sockets, and the buffers that reads and writes go through.

pub mod alarm;
pub mod input;
pub mod io;
pub mod output;
pub mod scratch;
pub mod turn;

pub use alarm::Alarm;
pub use input::Input;
pub use io::Io;
pub use output::Output;
pub use scratch::Scratch;
pub use turn::TurnEnd;
