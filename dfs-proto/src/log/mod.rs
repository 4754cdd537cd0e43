//! The master's log as others than the master know it: its records, as they stand in its segments,
//! and what is said of the keepsakes that minions have of it.

mod keepsake;
pub mod record;

pub use keepsake::{
    BackupPart, KEEPSAKE_PART_MAX, Keep, Keeping, Keepsake, KeepsakeFile, KeepsakeStatus, Kept,
    SnapshotPart, StreamSpot,
};
