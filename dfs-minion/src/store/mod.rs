//! The blocks of this minion: their files, how they come, grow, end, are read and recovered.
//!
//! [`Store`] is the door. It knows which block is on which drive; a block knows its own state.

mod block;
mod buffers;
mod drive;
mod holes;
mod index;
mod look;
mod open;
mod opened;
mod read;
mod recover;
mod seal;
mod shelf;
mod threads;
mod write;

pub(crate) use block::{Block, Pending};
pub(crate) use drive::{BLOCKS, Drive, is_full};
pub(crate) use read::READ_BYTES_MAX;
pub(crate) use shelf::Store;
pub(crate) use write::Accepted;

#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod world;
