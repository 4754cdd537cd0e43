//! What can be wrong with a log, with the file, the offset and what a person can do.

use std::io;

/// Why the log cannot be opened or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused.
    #[error("cannot {what} {file}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file of the data folder.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that were acknowledged are not what was written.
    #[error(
        "the master's log is damaged: {file} at byte {offset}: {why}. Nothing was changed. Restore \
         the data folder from a copy of this master, or, if there is none, keep this folder and ask \
         for help: starting without these bytes would lose changes that were acknowledged"
    )]
    Damaged {
        /// Which file of the data folder.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The log of another file system.
    #[error(
        "{file} is of another file system than the file `dfs-master` of this data folder: one of the two \
         does not belong here, or is damaged; put back the one that does"
    )]
    Foreign {
        /// Which file of the data folder.
        file: String,
    },
    /// An earlier failure; nothing is written any more.
    #[error("the log has stopped after an earlier failure: {0}")]
    Stopped(String),
}

impl LogError {
    /// An error of the disk.
    pub(crate) fn io(what: &'static str, file: &str, source: io::Error) -> LogError {
        LogError::Io {
            what,
            file: file.to_owned(),
            source,
        }
    }

    /// Damage.
    pub(crate) fn damaged(file: &str, offset: u64, why: &str) -> LogError {
        LogError::Damaged {
            file: file.to_owned(),
            offset,
            why: why.to_owned(),
        }
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> io::Error {
        io::Error::other(error)
    }
}
