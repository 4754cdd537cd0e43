//! The 64 bytes in front of each piece's payload: which bytes they are, and their checksum.

use bytes::{Buf, BufMut};
use dfs_proto::{
    block::Piece,
    checksum::Crc32c,
    extent::{BLOCK_BYTES_MAX, PIECE_BYTES_MAX},
    id::{BlockId, InodeId},
};

/// Bytes of an encoded piece header.
pub(crate) const PIECE_HEADER_BYTES: usize = 64;

/// What every piece header begins with; recovery looks for it behind damage.
pub(crate) const PIECE_MAGIC: &[u8; 4] = b"dfsp";

/// What the header of a piece says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PieceHeader {
    /// The piece as its writer described it.
    pub(crate) piece: Piece,
    /// Payload bytes of the block that were synced when this piece was written: damage below is
    /// rot, never a torn tail.
    pub(crate) synced: u32,
    /// None defined yet: 0.
    pub(crate) flags: u32,
}

impl PieceHeader {
    /// Its bytes in a file of `block`.
    pub(crate) fn encode(&self, block: BlockId) -> [u8; PIECE_HEADER_BYTES] {
        let mut bytes = [0; PIECE_HEADER_BYTES];
        let mut to = &mut bytes[..];
        to.put_slice(PIECE_MAGIC);
        to.put_u32_le(self.piece.len);
        to.put_u32_le(self.piece.block_offset);
        to.put_u32_le(self.synced);
        to.put_u64_le(self.piece.inode.0);
        to.put_u64_le(self.piece.file_offset);
        to.put_u64_le(self.piece.sequence);
        to.put_u32_le(self.flags);
        to.put_u32_le(self.piece.crc.0);
        let crc = checksum(block, &bytes[..PIECE_HEADER_BYTES - 4]);
        bytes[PIECE_HEADER_BYTES - 4..].copy_from_slice(&crc.0.to_le_bytes());
        bytes
    }

    /// Reads it back; `None` if these are not the bytes of a whole piece header of `block`.
    pub(crate) fn decode(block: BlockId, bytes: &[u8]) -> Option<PieceHeader> {
        let bytes = bytes.get(..PIECE_HEADER_BYTES)?;
        let (said, mut crc) = bytes.split_at(PIECE_HEADER_BYTES - 4);
        let mut from = said.strip_prefix(PIECE_MAGIC)?;
        if checksum(block, said).0 != crc.get_u32_le() {
            return None;
        }
        let len = from.get_u32_le();
        let block_offset = from.get_u32_le();
        let synced = from.get_u32_le();
        let inode = InodeId(from.get_u64_le());
        let file_offset = from.get_u64_le();
        let sequence = from.get_u64_le();
        let flags = from.get_u32_le();
        let piece = Piece {
            block_offset,
            len,
            crc: Crc32c(from.get_u32_le()),
            inode,
            file_offset,
            sequence,
        };
        let end = block_offset.checked_add(len)?;
        let possible = (1..=PIECE_BYTES_MAX).contains(&len) && end <= BLOCK_BYTES_MAX;
        (possible && synced <= block_offset).then_some(PieceHeader {
            piece,
            synced,
            flags,
        })
    }
}

fn checksum(block: BlockId, said: &[u8]) -> Crc32c {
    Crc32c::of_parts([&block.0.to_le_bytes()[..], said])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> PieceHeader {
        PieceHeader {
            piece: Piece {
                block_offset: 0x0102,
                len: 0x0203,
                crc: Crc32c(0x0405_0607),
                inode: InodeId(0x11),
                file_offset: 0x12,
                sequence: 0x13,
            },
            synced: 0x0101,
            flags: 0,
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = header().encode(BlockId(0x2a));
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "6466737003020000020100000101000011000000000000001200000000000000\
             1300000000000000000000000706050400000000000000000000000009cc1c4c"
        );
        assert_eq!(PieceHeader::decode(BlockId(0x2a), &bytes), Some(header()));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed_nor_another_block() {
        let bytes = header().encode(BlockId(1));
        for bit in 0..PIECE_HEADER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(PieceHeader::decode(BlockId(1), &bad), None, "bit {bit}");
        }
        assert_eq!(PieceHeader::decode(BlockId(2), &bytes), None);
    }

    #[test]
    fn an_impossible_length_is_refused() {
        let mut long = header();
        long.piece.len = PIECE_BYTES_MAX + 1;
        assert_eq!(
            PieceHeader::decode(BlockId(1), &long.encode(BlockId(1))),
            None
        );
        let mut ahead = header();
        ahead.synced = ahead.piece.block_offset + 1;
        assert_eq!(
            PieceHeader::decode(BlockId(1), &ahead.encode(BlockId(1))),
            None
        );
    }
}
