//! What happened to the files of a folder, in order.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// One thing that happened. Files go by a number of their own, since names change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A folder was made.
    Folder(PathBuf),
    /// A new empty file got a name.
    Create {
        /// Which file.
        file: u64,
        /// Its name, below the top.
        path: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// To which file.
        file: u64,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// A file was cut or extended.
    SetLen {
        /// Which.
        file: u64,
        /// To how many bytes.
        len: u64,
    },
    /// A file was synced, and with it, as a journal does it, every name before.
    Sync {
        /// Which.
        file: u64,
    },
    /// A folder was synced.
    SyncFolder,
    /// A name changed; what had the new one is gone.
    Rename {
        /// The old name.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// A name went.
    Remove(PathBuf),
}

/// All that happened so far.
#[derive(Default, Debug)]
pub struct History(Mutex<Vec<Event>>);

impl History {
    /// Adds to it.
    pub(super) fn push(&self, event: Event) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }

    /// Takes it out.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
