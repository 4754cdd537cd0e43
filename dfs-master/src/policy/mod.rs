//! Policies: how many copies there are to be of what is in and below a directory.
//!
//! Each inode says under which policy it is (`InodeRow::policy`): that of its directory, unless it is
//! a directory with one of its own. Each block says what the files want whose bytes it has
//! ([`Wants`]), so that who cares for blocks looks at nothing else.
//!
//! **The invariant.** An entry that is a directory is under the policy of the one that it is in, or
//! that has an [`UncountedRow`]: then its entries from there on are still to be looked at. A block
//! wants what each file wants that has bytes in it, or the file has such a row: then its blocks from
//! there on are still to be told. Names and commits keep it as they change; what has to be passed on is
//! passed on by [`step::step`], a bounded number of rows at a time, together with what quotas count.
//!
//! A block may want more than its files do: what wants less is found out for those that an
//! [`AmpleRow`] names, when all files have been looked at.
//!
//! A file with names in directories of different policies is under that of the name that it got last
//! (made, linked or moved), or of the one of which a policy was changed last.
//!
//! [`Wants`]: crate::tables::rows::Wants
//! [`UncountedRow`]: crate::tables::rows::UncountedRow
//! [`AmpleRow`]: crate::tables::rows::AmpleRow

pub mod audit;
pub mod blocks;
pub mod inherit;
pub mod set;
pub mod step;
