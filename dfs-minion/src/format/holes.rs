//! The file beside a sealed block that says which of its pieces were given up.
//!
//! It is durable before the first byte goes, so that a zero on the disk is never taken for data, nor
//! for rot. It knows as well where the block ends: what a footer says, should that be lost.

use super::{FORMAT_VERSION, is_possible};
use bytes::{Buf, BufMut};
use dfs_proto::{checksum::Crc32c, id::BlockId};

const MAGIC: &[u8; 8] = b"dfsholes";
const FIXED_BYTES: usize = 36;
const RANGE_BYTES: usize = 8;

/// The longest encoding: every second of 262,144 pieces.
pub(crate) const HOLES_BYTES_MAX: u64 = 2 << 20;

/// What was given up of a block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Holes {
    /// The count of the order that was carried out last.
    pub(crate) count: u32,
    /// Payload bytes of the block, for good.
    pub(crate) length: u32,
    /// Pieces of the block.
    pub(crate) pieces: u32,
    /// Payload ranges `[start, end)` of whole pieces, in order, apart from each other.
    pub(crate) ranges: Vec<(u32, u32)>,
}

impl Holes {
    /// Whether a byte of `[start, end)` was given up.
    pub(crate) fn overlap(&self, start: u32, end: u32) -> bool {
        let behind = self.ranges.partition_point(|(_, upto)| *upto <= start);
        self.ranges.get(behind).is_some_and(|(from, _)| *from < end)
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self, block: BlockId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.ranges.len() * RANGE_BYTES + 4);
        bytes.put_slice(MAGIC);
        bytes.put_u16_le(FORMAT_VERSION);
        bytes.put_u16_le(0);
        bytes.put_u32_le(self.count);
        bytes.put_u64_le(block.0);
        bytes.put_u32_le(self.length);
        bytes.put_u32_le(self.pieces);
        bytes.put_u32_le(u32::try_from(self.ranges.len()).expect("a block has fewer bytes"));
        for (start, end) in &self.ranges {
            bytes.put_u32_le(*start);
            bytes.put_u32_le(*end);
        }
        let crc = Crc32c::of(&bytes);
        bytes.put_u32_le(crc.0);
        bytes
    }

    /// Reads it back; `None` if these are not the bytes of a whole file of `block`.
    pub(crate) fn decode(block: BlockId, bytes: &[u8]) -> Option<Holes> {
        let (said, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if said.len() < FIXED_BYTES || Crc32c::of(said).0 != crc.get_u32_le() {
            return None;
        }
        let mut from = said.strip_prefix(MAGIC)?;
        if from.get_u16_le() != FORMAT_VERSION {
            return None;
        }
        from.advance(2);
        let count = from.get_u32_le();
        if from.get_u64_le() != block.0 {
            return None;
        }
        let (length, pieces) = (from.get_u32_le(), from.get_u32_le());
        let number = from.get_u32_le() as usize;
        if from.len() != number.checked_mul(RANGE_BYTES)? || !is_possible(length, pieces) {
            return None;
        }
        let ranges: Vec<(u32, u32)> = (0..number)
            .map(|_| (from.get_u32_le(), from.get_u32_le()))
            .collect();
        let apart = ranges.windows(2).all(|two| two[0].1 < two[1].0);
        let within = ranges.iter().all(|(a, b)| a < b && *b <= length);
        (apart && within).then_some(Holes {
            count,
            length,
            pieces,
            ranges,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holes() -> Holes {
        Holes {
            count: 3,
            length: 0x5000,
            pieces: 9,
            ranges: vec![(0, 0x1000), (0x2000, 0x3001)],
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = holes().encode(BlockId(0x2a));
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "646673686f6c657301000000030000002a00000000000000005000000900000002000000\
             00000000001000000020000001300000dfff2ec8"
        );
        assert_eq!(Holes::decode(BlockId(0x2a), &bytes), Some(holes()));
        assert_eq!(Holes::decode(BlockId(0x2b), &bytes), None);
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unnoticed() {
        let bytes = holes().encode(BlockId(1));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Holes::decode(BlockId(1), &bad), None, "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert_eq!(
                Holes::decode(BlockId(1), &bytes[..end]),
                None,
                "cut at {end}"
            );
        }
    }

    #[test]
    fn what_overlaps_a_hole_is_known() {
        let holes = holes();
        let cases = [(0, 1, true), (0x1000, 0x2000, false), (0xfff, 0x1000, true)];
        for (start, end, expected) in cases {
            assert_eq!(holes.overlap(start, end), expected, "{start} {end}");
        }
        assert!(holes.overlap(0x1fff, 0x2001) && !holes.overlap(0x3001, 0x5000));
    }
}
