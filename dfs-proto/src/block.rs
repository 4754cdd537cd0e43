//! Blocks as client, master and minions speak of them: pieces, replicas, where they are, and how many
//! of them there are to be.

use crate::{
    checksum::Crc32c,
    id::{BlockId, InodeId, MinionId},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a request to a minion may do, as the master grants it. Opaque to clients and, until the
/// security work fills it, empty.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Capability(pub Bytes);

/// The most copies that anybody can ask for.
pub const COPIES_MAX: u32 = 16;

/// How many copies there are to be of each block: what is asked for as the policy of a directory, or
/// what is possible of that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Copies {
    /// So many, if that many minions can take one.
    pub wanted: u32,
    /// So many at least: with fewer nothing is written.
    pub least: u32,
}

impl Copies {
    /// What is possible of it on so many minions. Who asks for more copies than there are minions
    /// gets as many as there are.
    pub fn on(self, minions: usize) -> Copies {
        let minions = u32::try_from(minions).unwrap_or(u32::MAX).max(1);
        let wanted = self.wanted.clamp(1, minions);
        Copies {
            wanted,
            least: self.least.clamp(1, wanted),
        }
    }
}

/// One checksummed record of a block, without its bytes.
///
/// Sent by the writer beside the bytes, kept by the minion in the piece's header, and returned to
/// the reader, so that one checksum, computed by the writer, guards the bytes end to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Piece {
    /// Offset in the block's payload of the first byte.
    pub block_offset: u32,
    /// Payload bytes, 1 to [`crate::extent::PIECE_BYTES_MAX`].
    pub len: u32,
    /// Checksum of the payload.
    pub crc: Crc32c,
    /// The file that the bytes were written to.
    pub inode: InodeId,
    /// Where in that file.
    pub file_offset: u64,
    /// The writer's own count of its pieces, so that a lost namespace can be rebuilt in order.
    pub sequence: u64,
}

impl Piece {
    /// The offset after its last byte in the block. What a stranger claims may lie beyond all offsets
    /// that there are: then the last one, which no block reaches.
    pub fn block_end(&self) -> u32 {
        self.block_offset.saturating_add(self.len)
    }
}

/// Where a block is and how far it goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockPlace {
    /// Which block.
    pub block: BlockId,
    /// The minions that have it; for an open block the chain in write order.
    pub replicas: Vec<MinionId>,
    /// Its length for good, once it is sealed.
    pub sealed: Option<u32>,
    /// Counts the changes of `replicas`; an order to drop a replica names the count that it ends.
    pub placement: u32,
    /// What to show to its minions.
    pub capability: Capability,
}

/// How far one replica of a block goes, as its minion tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaState {
    /// Which block.
    pub block: BlockId,
    /// Payload bytes that it has.
    pub length: u32,
    /// Payload bytes that are synced to its disk.
    pub synced: u32,
    /// Whether it is sealed at `length`.
    pub sealed: bool,
    /// Whether bytes of it are known to be damaged.
    pub damaged: bool,
    /// The count of the last order to give dead bytes up that was carried out; 0 before the first.
    pub punched: u32,
}
