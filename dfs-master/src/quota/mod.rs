//! Quotas: what a directory and all below it may take.
//!
//! Each inode says in which quota it is counted (`InodeRow::quota`): what its directory says, unless
//! it is a directory with a quota of its own. Each quota counts what is counted in it and in those
//! that have it above them, so that a change touches one row for each quota around it, however much
//! is below.
//!
//! **The invariant.** An entry is counted as its directory is, or its directory has an [`UncountedRow`]:
//! then the entries from there on are still to be looked at. Names keep it as they change; where a
//! directory comes to be counted otherwise (a quota is set or taken away), it gets such a row, and
//! [`step`] passes it on, a bounded number of entries at a time. With no such row left, every
//! directory is counted where it should be. An inode with names on both sides of a border, from before
//! there was one, is counted in one of them.
//!
//! [`step`]: crate::policy::step::step
//! [`UncountedRow`]: crate::tables::rows::UncountedRow

pub mod account;
pub mod audit;
pub mod border;
pub mod count;
pub mod set;
pub mod tell;

pub use account::{dropped, made, resized};
