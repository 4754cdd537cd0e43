//! The cluster as the leader sees it: which minions there are, which live, which get a block.
//!
//! Nothing here reads a clock, a disk or the tables: moments are arguments.

mod choose;
mod keepers;
mod liveness;
mod room;
mod roster;

pub use choose::{Candidate, Wish, choose, copies};
pub use keepers::{Aspirant, Keepers, wants_snapshot};
pub use liveness::Patience;
pub use room::logical_bytes;
pub use roster::{Member, Roster};
