//! Anyone -> minion: append, sync, read.

use crate::{
    block::{Capability, Piece, ReplicaState},
    checksum::Crc32c,
    error::BlockError,
    id::{BlockId, MinionId, SessionId},
    log::{Keepsake, KeepsakeFile},
    payload::{Gathered, Payload},
};
use serde::{Deserialize, Serialize};

/// Bytes for the end of a block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Append {
    /// What the writer may do.
    pub capability: Capability,
    /// The writer.
    pub session: SessionId,
    /// Which block. Its first append, at offset 0, makes it.
    pub block: BlockId,
    /// The pieces, contiguous, in block order; the first one's offset is where the append goes. An
    /// append that begins beyond the end waits a while for the one before it (several are in flight
    /// on one connection), then is refused with `Gap`. An exact repeat is acknowledged again.
    pub pieces: Vec<Piece>,
    /// Their bytes, one after the other.
    pub bytes: Payload,
    /// The minions that come after this one in the chain, with their addresses: the bytes are
    /// passed on to the first of them while they are written here.
    pub chain: Vec<(MinionId, Vec<String>)>,
    /// Whether the bytes (and all before them) are to be synced to disk, here and down the chain,
    /// before the answer.
    pub sync: bool,
    /// How long the answer may take, in milliseconds; down the chain it is less.
    pub timeout_ms: u32,
}

/// What this minion and all after it in the chain have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Appended {
    /// Payload bytes of the block on every replica of the chain from here on.
    pub length: u32,
    /// Payload bytes that are synced on every one of them.
    pub synced: u32,
}

/// Whole pieces of a block.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockBytes {
    /// The pieces, contiguous, in block order.
    pub pieces: Vec<Piece>,
    /// Their bytes, one after the other.
    pub bytes: Gathered,
}

/// What was given up of a sealed block on one minion.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct GivenUp {
    /// The count of the order that was carried out last; 0 if none was.
    pub count: u32,
    /// Payload ranges `[start, end)` of whole pieces, in order, apart from each other.
    pub ranges: Vec<(u32, u32)>,
}

/// How closely a replica is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Look {
    /// Every byte is read from the disk and verified; else only that the file is there, as long as it
    /// should be, and says itself where its pieces are.
    pub read: bool,
    /// It makes no way for others.
    pub hurry: bool,
}

/// What a look at a replica found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Looked {
    /// The replica. Damage that was found is in it, and is told to the master as any other.
    pub replica: ReplicaState,
    /// The checksum of its payload without what was given up, if all was read and is whole. Of two
    /// replicas that are equally long, and have given up the same, it is the same.
    pub payload: Option<Crc32c>,
}

/// Replicas in one answer of [`Minion::held`], at the most.
pub const HELD_PER_ANSWER_MAX: u32 = 4096;

/// What a client, or the minion before in a chain, asks of a minion.
#[tarpc::service(derive = [Serialize, Deserialize])]
pub trait Minion {
    /// Appends here and down the chain; answered when all of them have the bytes.
    async fn append(append: Append) -> Result<Appended, BlockError>;

    /// Syncs the block up to `end` at least to this minion's disk. `Short` if it is shorter.
    async fn sync(capability: Capability, block: BlockId, end: u32) -> Result<(), BlockError>;

    /// The pieces that cover `[start, end)` of the block's payload, whole: the first begins at or
    /// before `start`, the last ends at or after `end`. At most 1 MiB plus two pieces is asked for.
    async fn read(
        capability: Capability,
        block: BlockId,
        start: u32,
        end: u32,
    ) -> Result<BlockBytes, BlockError>;

    /// How far the replica of a block goes here.
    async fn measure(capability: Capability, block: BlockId) -> Result<ReplicaState, BlockError>;

    /// Who answers here; `None` before the first registration with a master.
    async fn whoami() -> Option<MinionId>;

    /// What was given up of a sealed block here, for whoever copies it.
    async fn given_up(capability: Capability, block: BlockId) -> Result<GivenUp, BlockError>;

    /// Looks whether the replica of a block is what it should be, from its file and not from memory.
    /// Takes its turn in the budget of work that nobody waits for: a deadline of minutes is right.
    async fn look(capability: Capability, block: BlockId, look: Look)
    -> Result<Looked, BlockError>;

    /// At most `limit` replicas of blocks after `after` that are here, in the order of their ids.
    async fn held(
        capability: Capability,
        after: BlockId,
        limit: u32,
    ) -> Result<Vec<ReplicaState>, BlockError>;

    /// The keepsake of the master's log that is here; `None` if there is none.
    async fn keepsake() -> Result<Option<Keepsake>, BlockError>;

    /// Bytes of a file of it from `offset` on, 256 KiB at the most; none where it ends.
    async fn read_keepsake(file: KeepsakeFile, offset: u64) -> Result<Payload, BlockError>;
}
