//! The end of a sealed block file: where each piece begins, and how long the block is.
//!
//! The index is one `u32` for each piece, its offset in the payload; where it is in the file
//! follows, as all headers have one size. The trailer stands in the last 64 bytes of the file.

use super::{FORMAT_VERSION, is_possible};
use bytes::{Buf, BufMut};
use dfs_proto::{checksum::Crc32c, id::BlockId};

/// Bytes of an encoded trailer.
pub(crate) const TRAILER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"dfsfoot.";

/// What the trailer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trailer {
    /// Pieces of the block.
    pub(crate) pieces: u32,
    /// Payload bytes of the block, for good.
    pub(crate) length: u32,
    /// Checksum of the encoded index.
    pub(crate) index: Crc32c,
}

impl Trailer {
    /// Its bytes in a file of `block`.
    pub(crate) fn encode(&self, block: BlockId) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        let mut to = &mut bytes[..];
        to.put_slice(MAGIC);
        to.put_u16_le(FORMAT_VERSION);
        to.put_u16_le(0);
        to.put_u32_le(self.pieces);
        to.put_u32_le(self.length);
        to.put_u32_le(self.index.0);
        let crc = checksum(block, &bytes[..TRAILER_BYTES - 4]);
        bytes[TRAILER_BYTES - 4..].copy_from_slice(&crc.0.to_le_bytes());
        bytes
    }

    /// Reads it back; `None` if these are not the bytes of a whole trailer of `block`.
    pub(crate) fn decode(block: BlockId, bytes: &[u8]) -> Option<Trailer> {
        let bytes = bytes.get(..TRAILER_BYTES)?;
        let (said, mut crc) = bytes.split_at(TRAILER_BYTES - 4);
        if checksum(block, said).0 != crc.get_u32_le() {
            return None;
        }
        let mut from = said.strip_prefix(MAGIC)?;
        if from.get_u16_le() != FORMAT_VERSION {
            return None;
        }
        from.advance(2);
        let trailer = Trailer {
            pieces: from.get_u32_le(),
            length: from.get_u32_le(),
            index: Crc32c(from.get_u32_le()),
        };
        is_possible(trailer.length, trailer.pieces).then_some(trailer)
    }
}

fn checksum(block: BlockId, said: &[u8]) -> Crc32c {
    Crc32c::of_parts([&block.0.to_le_bytes()[..], said])
}

/// The bytes of an index.
pub(crate) fn encode_index(starts: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(starts.len() * 4);
    for start in starts {
        bytes.put_u32_le(*start);
    }
    bytes
}

/// Reads an index back; `None` if it is not the one that the trailer speaks of.
pub(crate) fn decode_index(mut bytes: &[u8], trailer: &Trailer) -> Option<Vec<u32>> {
    let whole = bytes.len() == trailer.pieces as usize * 4 && Crc32c::of(bytes) == trailer.index;
    if !whole {
        return None;
    }
    let mut starts = Vec::with_capacity(trailer.pieces as usize);
    while bytes.has_remaining() {
        starts.push(bytes.get_u32_le());
    }
    Some(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let index = encode_index(&[0, 0x0102]);
        assert_eq!(index, [0, 0, 0, 0, 2, 1, 0, 0]);
        let trailer = Trailer {
            pieces: 2,
            length: 0x0203,
            index: Crc32c::of(&index),
        };
        let bytes = trailer.encode(BlockId(0x2a));
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "646673666f6f742e01000000020000000302000075030e960000000000000000\
             00000000000000000000000000000000000000000000000000000000cc583dbb"
        );
        assert_eq!(Trailer::decode(BlockId(0x2a), &bytes), Some(trailer));
        assert_eq!(Trailer::decode(BlockId(0x2b), &bytes), None);
        assert_eq!(decode_index(&index, &trailer), Some(vec![0, 0x0102]));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let index = encode_index(&[0, 5, 9]);
        let trailer = Trailer {
            pieces: 3,
            length: 12,
            index: Crc32c::of(&index),
        };
        let bytes = trailer.encode(BlockId(1));
        for bit in 0..TRAILER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Trailer::decode(BlockId(1), &bad), None, "bit {bit}");
        }
        for bit in 0..index.len() * 8 {
            let mut bad = index.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_index(&bad, &trailer), None, "bit {bit}");
        }
        assert_eq!(decode_index(&index[..8], &trailer), None);
    }
}
