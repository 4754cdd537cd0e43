//! Keepsakes: a copy of a master's log and of a snapshot, on a minion, for the day on which the
//! master's machine is lost.
//!
//! The minion asks: it says what it has and is answered with what comes next. So it is always known
//! how far each is, an answer that is lost is given again, and the master dials nobody.

use crate::{
    id::{FilesystemId, MinionId},
    log::record::Spot,
    payload::Payload,
};
use serde::{Deserialize, Serialize};

/// Bytes of the log, or of a snapshot, in one answer at the most.
pub const KEEPSAKE_PART_MAX: u32 = 256 << 10;

/// A place in a snapshot that is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamSpot {
    /// Which snapshot: the master numbers them.
    pub stream: u64,
    /// Bytes of it before this place.
    pub offset: u64,
}

/// What a keeper has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    /// The boot of the last master that it followed.
    pub epoch: u64,
    /// The entry that its snapshot is as of; 0 while none has arrived.
    pub snapshot: u64,
    /// Bytes of that.
    pub snapshot_bytes: u64,
    /// The oldest segment that it has.
    pub oldest: u32,
    /// It has every record of the log before this.
    pub end: Spot,
    /// Checksum of the last of them.
    pub chain: u32,
    /// Index of the last entry among them; 0 before the first.
    pub index: u64,
    /// Bytes of a record after `end` that has not arrived as a whole.
    pub beyond: u32,
    /// Bytes of log that it has.
    pub log_bytes: u64,
    /// A snapshot that is on its way to it.
    pub arriving: Option<StreamSpot>,
}

/// A minion asks what comes next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Keep {
    /// Who.
    pub minion: MinionId,
    /// Of which registration.
    pub incarnation: u64,
    /// What it has; `None` for nothing that is of use.
    pub have: Option<Kept>,
}

/// A part of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotPart {
    /// The entry that it is as of.
    pub index: u64,
    /// The segment with the entry after that: older ones are not needed beside it.
    pub oldest: u32,
    /// Which stream, and where in it these bytes belong.
    pub at: StreamSpot,
    /// The bytes: of the stream of rows of docs/on-disk.md.
    pub bytes: Payload,
    /// Whether these are the last.
    pub last: bool,
}

/// The master's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Keeping {
    /// Nothing new: ask again.
    Nothing,
    /// Others keep one: remove what you have.
    Others,
    /// What comes next in the log, as it stands in its segment.
    Log {
        /// The boot of the master that says so.
        epoch: u64,
        /// What was there before is void: it is not of this log, or too far behind.
        anew: bool,
        /// Where the bytes belong; at offset 0 a segment begins.
        at: Spot,
        /// The bytes; at offset 0 with the whole header of the segment.
        bytes: Payload,
    },
    /// What comes next of a snapshot.
    Snapshot {
        /// The boot of the master that says so.
        epoch: u64,
        /// The part.
        part: SnapshotPart,
    },
}

/// A keepsake, for who recovers from it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Keepsake {
    /// The file system.
    pub filesystem: FilesystemId,
    /// What it has.
    pub kept: Kept,
    /// Milliseconds since the master was heard last.
    pub age_ms: u64,
    /// Why it is of no use, if that is known.
    pub damage: Option<String>,
}

/// A file of a keepsake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeepsakeFile {
    /// Its snapshot.
    Snapshot,
    /// A segment of the log.
    Segment(u32),
}

/// A keepsake, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeepsakeStatus {
    /// On which minion.
    pub minion: MinionId,
    /// On which machine.
    pub host: String,
    /// Whether a master can be recovered from it: it has a snapshot, and the log since.
    pub whole: bool,
    /// Entries of the synced log that it does not have.
    pub behind: u64,
    /// Milliseconds for which the oldest of those has waited.
    pub behind_ms: u64,
    /// Bytes that it takes.
    pub bytes: u64,
}

/// A part of a backup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackupPart {
    /// The file system.
    pub filesystem: FilesystemId,
    /// The part.
    pub part: SnapshotPart,
}
