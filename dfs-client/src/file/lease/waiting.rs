//! Writes that have come and are not answered yet, and whether pages can be held for them.
//!
//! Whoever keeps bytes in pages, as the kernel does, holds a page of a write until it is answered if
//! there was nothing in it when it came, and nobody reads that meanwhile. So a page that is read after
//! the write came is not held for it.

use super::Write;
use crate::file::File;
use dfs_proto::extent::FileRange;
use std::{fmt, sync::Arc};

/// A write, until it is answered and this is dropped.
pub struct Waiting {
    file: Arc<File>,
    number: u64,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("inode", &self.file.inode)
            .field("number", &self.number)
            .finish()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.file.state.lock();
        state.waiting.retain(|write| write.number != self.number);
    }
}

impl Waiting {
    /// Whether a page may be held for it, with nothing in it.
    pub fn may_hold(&self) -> bool {
        let state = self.file.state.lock();
        let mut waiting = state.waiting.iter();
        waiting.any(|write| write.number == self.number && !write.read)
    }
}

impl File {
    /// A write of `range` has come.
    pub(crate) fn waits(self: &Arc<Self>, range: FileRange) -> Waiting {
        let mut state = self.state.lock();
        state.waited += 1;
        let number = state.waited;
        let read = false;
        state.waiting.push(Write {
            number,
            range,
            read,
        });
        let file = self.clone();
        Waiting { file, number }
    }

    /// The audience reads pages of `range`.
    pub(crate) fn is_read(&self, range: FileRange) {
        let mut state = self.state.lock();
        state.waiting.iter_mut().for_each(|one| one.is_read(range));
    }
}
