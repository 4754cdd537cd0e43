//! Advisory locks: what is locked, in rows that the log changes, and who waits for what, in the
//! leader's memory.
//!
//! A lock row belongs to a session that holds its inode open, so that it goes with the open row: at
//! the last close, and at the end of the session. Nothing here forces anybody to lock.

pub mod held;
mod line;
mod ring;

pub use line::{Lines, Place};
pub use ring::{Held, Verdict, judge};
