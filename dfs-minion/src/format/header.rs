//! The first 64 bytes of a block file: whose it is.

use super::FORMAT_VERSION;
use bytes::{Buf, BufMut};
use dfs_proto::{
    checksum::Crc32c,
    id::{BlockId, FilesystemId, SessionId},
    time::Timestamp,
};

/// Bytes of an encoded header.
pub(crate) const HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"dfsblock";

/// What the header of a block file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockHeader {
    /// The file system that the block belongs to.
    pub(crate) filesystem: FilesystemId,
    /// Which block.
    pub(crate) block: BlockId,
    /// The session that it was allocated to: the only one that appends.
    pub(crate) session: SessionId,
    /// When the file was made, by this minion's calendar; for people.
    pub(crate) created: Timestamp,
}

impl BlockHeader {
    /// Its bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut to = &mut bytes[..];
        to.put_slice(MAGIC);
        to.put_u16_le(FORMAT_VERSION);
        to.put_u16_le(0);
        to.put_u32_le(self.created.nanos);
        to.put_u128_le(self.filesystem.0);
        to.put_u64_le(self.block.0);
        to.put_u64_le(self.session.0);
        to.put_i64_le(self.created.seconds);
        let crc = Crc32c::of(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&crc.0.to_le_bytes());
        bytes
    }

    /// Reads it back; `None` if these are not the bytes of a whole header of this version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<BlockHeader> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let (said, mut crc) = bytes.split_at(HEADER_BYTES - 4);
        if Crc32c::of(said).0 != crc.get_u32_le() {
            return None;
        }
        let mut from = said.strip_prefix(MAGIC)?;
        if from.get_u16_le() != FORMAT_VERSION {
            return None;
        }
        from.advance(2);
        let nanos = from.get_u32_le();
        Some(BlockHeader {
            filesystem: FilesystemId(from.get_u128_le()),
            block: BlockId(from.get_u64_le()),
            session: SessionId(from.get_u64_le()),
            created: Timestamp {
                seconds: from.get_i64_le(),
                nanos,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let header = BlockHeader {
            filesystem: FilesystemId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            block: BlockId(0x1112),
            session: SessionId(0x2122),
            created: Timestamp {
                seconds: 0x3132,
                nanos: 0x4142,
            },
        };
        let bytes = header.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "646673626c6f636b0100000042410000100f0e0d0c0b0a090807060504030201\
             12110000000000002221000000000000323100000000000000000000fcc53fc9"
        );
        assert_eq!(BlockHeader::decode(&bytes), Some(header));
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let bytes = BlockHeader {
            filesystem: FilesystemId(7),
            block: BlockId(8),
            session: SessionId(9),
            created: Timestamp::from_nanos(10),
        }
        .encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockHeader::decode(&bad), None, "bit {bit}");
        }
        assert_eq!(BlockHeader::decode(&bytes[..63]), None);
    }
}
