//! The bytes of a block file: a header, then pieces, and a footer once it is sealed.
//!
//! ```text
//! header (64) | piece header (64) payload | piece header (64) payload | ... | index | trailer (64)
//! ```
//!
//! All numbers are little-endian. Every part has a CRC-32C of its own, and those of piece headers
//! and trailers also cover the block id, so that bytes of another block are never taken for ours.
//! The full description, with golden bytes, is docs/on-disk.md; the tests here hold both together.

mod footer;
mod header;
mod holes;
mod piece;

pub(crate) use footer::{TRAILER_BYTES, Trailer, decode_index, encode_index};
pub(crate) use header::{BlockHeader, HEADER_BYTES};
pub(crate) use holes::{HOLES_BYTES_MAX, Holes};
pub(crate) use piece::{PIECE_HEADER_BYTES, PIECE_MAGIC, PieceHeader};

use dfs_proto::extent::{BLOCK_BYTES_MAX, PIECE_BYTES_MAX};

/// Pieces of one block, at the most: it bounds the index of a block to 1 MiB.
pub(crate) const PIECES_MAX: usize = 1 << 18;

/// Whether a block can have so many bytes in so many pieces. Whatever speaks of a whole block is asked
/// this before memory is taken, or a loop is begun, for so many.
fn is_possible(length: u32, pieces: u32) -> bool {
    let bounded = length <= BLOCK_BYTES_MAX && pieces as usize <= PIECES_MAX;
    bounded
        && pieces <= length
        && u64::from(length) <= u64::from(pieces) * u64::from(PIECE_BYTES_MAX)
}

/// The version of the format that is written; the only one that is read.
pub(crate) const FORMAT_VERSION: u16 = 1;
