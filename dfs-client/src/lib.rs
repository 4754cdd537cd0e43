//! The file system as a library: one session with a master, caches, the read and the write path.
//!
//! [`Dfs`] has one method for each call of a file system and speaks inodes, names and bytes; no
//! FUSE type and no errno appears here, so that a mount, a gateway or a tool can stand on it alike.

mod audience;
mod cache;
mod core;
mod error;
mod file;
mod fs;
mod handle;
mod link;
mod locks;
mod names;
mod read;
mod settings;
mod table;
mod tasks;
mod vouch;
mod write;

pub use audience::Audience;
pub use error::Error;
pub use file::{Seek, Waiting};
pub use fs::{Dfs, OpenHow, Opened};
pub use handle::OpenFile;
pub use link::Wait;
pub use locks::Locked;
pub use settings::Settings;
pub use vouch::{FoundAcl, Kept, Vouch, absence};
