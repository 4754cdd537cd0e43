//! One file that is open: its content as this client knows it, and what it has written to it.
//!
//! All handles of an inode share one [`File`]. Reads lay what is dirty over what is on its way over
//! what is committed. Everything that changes the inode goes through its lane, one at a time, in the
//! order it was asked for (D7).

mod commit;
mod content;
mod copy;
mod flush;
mod lease;
mod load;
mod locks;
mod quota;
mod range;
mod seek;
mod setattr;
mod state;
mod sync;

pub use lease::Waiting;
pub(crate) use load::Use;
pub(crate) use locks::is_locked;
pub use seek::Seek;
pub(crate) use state::File;
