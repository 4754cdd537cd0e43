//! Locks of an open file: the changes at the master, and the note of who may hold what.

mod change;
mod holders;

pub(crate) use change::is_locked;
pub(crate) use holders::Locks;
