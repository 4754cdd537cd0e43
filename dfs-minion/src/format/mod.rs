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

/// The version of the format that is written; the only one that is read.
pub(crate) const FORMAT_VERSION: u16 = 1;
