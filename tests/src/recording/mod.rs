//! A file system that passes one folder through and remembers every write and every sync, so that
//! a power cut at any moment can be replayed afterwards, thousands of times, from one run.
//!
//! For what maps its file and so cannot run on the simulated disk. [`Recording`] mounts it,
//! [`History`] is what happened, [`Replay`] walks through it and lays out what a disk could hold
//! after a cut: everything that was synced, and of the rest any part, torn at 512 bytes.

mod history;
mod passthrough;
mod replay;

pub use history::{Event, History};
pub use passthrough::Recording;
pub use replay::Replay;
