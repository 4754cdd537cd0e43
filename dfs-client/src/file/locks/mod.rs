//! Locks of an open file: who has locked what, the changes at the master, and the locks that are kept
//! here.

mod book;
mod change;
mod here;
mod holders;

pub(crate) use change::is_locked;
pub(crate) use holders::Locks;
