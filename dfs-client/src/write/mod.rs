//! The way of written bytes: copied, cut into pieces, appended to open blocks, synced.

mod block;
mod blocks;
mod buffers;
mod dirty;
mod pieces;

pub(crate) use blocks::{Blocks, Owner, Sent, Share};
pub(crate) use buffers::Buffers;
pub(crate) use dirty::Dirty;
