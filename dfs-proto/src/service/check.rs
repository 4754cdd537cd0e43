//! What a master tells whoever checks whether everything fits together.

use crate::id::{BlockId, InodeId, MinionId};
use serde::{Deserialize, Serialize};

/// Blocks in one answer, at the most.
pub const BLOCKS_PER_ANSWER_MAX: u32 = 256;

/// What a replica counts for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Standing {
    /// Its block is written to, or it is not known yet to have kept the end of it.
    Writing,
    /// It is a whole copy.
    Whole,
    /// It counts for nothing, and is removed.
    Lost,
}

/// A replica, as the master has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// On which minion.
    pub minion: MinionId,
    /// What it counts for.
    pub standing: Standing,
}

/// A block, as the master has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlockRecord {
    /// Which.
    pub block: BlockId,
    /// Its length for good, once it is sealed.
    pub sealed: Option<u32>,
    /// Nothing names it, and it is decided that it goes.
    pub goes: bool,
    /// Of an open block: the end of the last byte that some file consists of.
    pub named_end: u32,
    /// Counts the decisions to give bytes of it up.
    pub punched: u32,
    /// Counts the changes of its replicas.
    pub placement: u32,
    /// The copies that it should have now.
    pub copies: u32,
    /// Its replicas.
    pub replicas: Vec<ReplicaRecord>,
    /// Minions that are ordered to do something with it: what they have of it changes.
    pub ordered: Vec<MinionId>,
    /// Some of the files that consist of it.
    pub inodes: Vec<InodeId>,
}

/// What is asked of a check of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TablesWish {
    /// Which run is asked about; `None` begins one, or joins the one that is under way.
    pub run: Option<u64>,
    /// What can be put right is, at the end of the run.
    pub repair: bool,
    /// It makes no way for others.
    pub hurry: bool,
}

/// Something in the tables that does not fit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableFault {
    /// What, in one sentence.
    pub what: String,
    /// It can be put right.
    pub mendable: bool,
}

/// How far a check of the tables is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TablesCheck {
    /// Which run.
    pub run: u64,
    /// Rows looked at.
    pub rows: u64,
    /// About how many there are, inodes, blocks and extents.
    pub of: u64,
    /// It is over.
    pub ended: bool,
    /// What was found; all of it once it is over, with a limit.
    pub faults: Vec<TableFault>,
    /// More was found than is told.
    pub more: bool,
    /// How many of the faults were put right; another run says whether they were.
    pub mended: u64,
    /// Why it could not be carried out, if so.
    pub failure: Option<String>,
}
