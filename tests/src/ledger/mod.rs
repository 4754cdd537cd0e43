//! The ledger: what was acknowledged, kept outside of the file system under test.
//!
//! A [`Scribe`] owns a directory and does random creates, overwrites, appends, truncations, renames
//! and unlinks in it. Each is written down before it starts and after it was acknowledged, so that
//! after a fault at most one operation is in doubt: everything else must be there, whole, and the
//! one in doubt must have happened entirely, not at all, or, where it writes many blocks, block by
//! block. Every 4 KiB says who wrote it, to which file, in which version, at which index.

mod scribe;
mod stamp;

pub use scribe::{Acknowledge, Scribe};
