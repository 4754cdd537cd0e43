//! Why no master can be made of a copy, and what a person can do.

use crate::{engine::apply::Damage, folder::FolderError, raft::GroupError};
use dfs_host::folder::FolderError as LockError;
use dfs_proto::{error::FsError, id::FilesystemId, wire::NotAnAddress};
use std::{io, path::PathBuf};

/// Why a data folder could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Another process has the folder, or it cannot be made.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// There is something in it.
    #[error(
        "{} is not empty (there is {found:?}): nothing was changed. Name an empty folder with --data; \
         if a master's data is in this one, start dfs-master with it, or move it away",
        .folder.display()
    )]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
        /// Something that is there.
        found: String,
    },
    /// An address that is none.
    #[error(transparent)]
    Address(#[from] NotAnAddress),
    /// The minion does not answer.
    #[error("the minion at {at} does not give its keepsake: {why}")]
    Silent {
        /// Where.
        at: String,
        /// Why not.
        why: String,
    },
    /// There is none.
    #[error(
        "the minion at {at} has no keepsake of a master: ask another one. `dfs status` said which \
         minions have one, and so does the folder keepsake/ in their data"
    )]
    Nothing {
        /// Where.
        at: String,
    },
    /// It is of another file system.
    #[error("what is at {at} is of file system {theirs}, not of {ours}: nothing was made of it")]
    Foreign {
        /// Where it came from.
        at: String,
        /// The file system that was meant.
        ours: FilesystemId,
        /// The file system that it is of.
        theirs: FilesystemId,
    },
    /// It is damaged.
    #[error(
        "the copy at {at} is damaged: {what}. Nothing was made of it: take another minion's, or a \
         backup (dfs-master restore)"
    )]
    Damaged {
        /// Where it came from.
        at: String,
        /// Which file, where, and what is wrong there.
        what: String,
    },
    /// The disk of the new folder.
    #[error("the folder cannot be written: {0}")]
    Disk(#[from] io::Error),
    /// The log that was made does not go on.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The marker.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The new master refuses its first command.
    #[error("the master that was made does not begin: {0}")]
    Begin(#[from] FsError),
    /// None of several could be used.
    #[error("none of these copies can be used:\n{0}")]
    None(String),
}

impl RecoverError {
    /// Tables that cannot be made of a copy.
    pub(super) fn tables(at: &str, file: &str, damage: Damage) -> RecoverError {
        match damage {
            Damage::Disk(why) => RecoverError::Disk(io::Error::other(why)),
            Damage::Content(why) | Damage::Contradiction(why) => RecoverError::Damaged {
                at: at.to_owned(),
                what: format!("{file}: {why}"),
            },
        }
    }
}
