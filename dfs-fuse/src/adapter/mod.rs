//! The kernel's requests, translated to calls of the file system.
//!
//! What is at hand is answered on the thread that took the request (2 to 3 us); what is not becomes
//! a task with a deadline (see `answer`).

mod acls;
mod caller;
mod files;
mod filesystem;
mod groups;
mod locks;
mod names;
mod ranges;
mod shared;
mod xattrs;

pub(crate) use shared::{Adapter, HeldFile};
