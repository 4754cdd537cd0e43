//! The log and the group that agrees on it: openraft behind one door.
//!
//! `segment`, `log`, `recover`, `kept` and `journal` keep the entries on a disk and know nothing
//! of Raft but its words; `types`, `store`, `machine` and `network` are what openraft asks for;
//! `group` is the door, and no type of openraft passes it.

mod fault;
mod group;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
mod journal;
mod kept;
mod log;
mod machine;
mod network;
mod recover;
mod segment;
mod store;
mod types;

#[cfg(test)]
mod log_tests;

pub use fault::LogError;
pub use group::{Answered, Group, GroupError, Opening};
pub use kept::{Copied, Kinship, place_segment, rebuild};
