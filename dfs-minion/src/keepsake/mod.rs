//! The keepsake of the master's log that is kept here, if this minion is a keeper.
//!
//! `copy` has the files, `shelf` the disk that they are on, `follow` asks the master for what comes
//! next. None of it is in the way of blocks: it is written without a sync, and synced once a second.

mod copy;
mod follow;
mod manifest;
mod shelf;

#[cfg(test)]
mod copy_tests;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
#[cfg(test)]
pub(crate) use copy_tests::segments;

pub(crate) use {
    follow::{Follower, Master},
    shelf::Shelf,
};
