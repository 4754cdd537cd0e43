//! POSIX access-control lists: what they are and how they go with modes (pure), and how they are set,
//! removed and inherited.
//!
//! Nobody is let in or kept out here: the kernels that mount the file system do that. What is kept
//! here is that a list and the mode of its inode always agree.

mod change;
mod list;

pub use change::{chmod, inherit, remove, set};
pub use list::List;
