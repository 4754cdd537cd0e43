//! What the kernel must forget.
//!
//! Attributes are forgotten on the spot: the notification that names no pages takes no lock that an
//! operation could hold. Forgetting pages waits for every read of those pages that is in flight, so
//! a thread of its own does that, never one that answers requests.

use dfs_proto::id::InodeId;
use fuser::{INodeNo, Notifier};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::HashSet,
    io,
    sync::{Arc, OnceLock},
    thread,
};

/// An offset below zero says that only the attributes are meant.
const ATTRIBUTES_ONLY: i64 = -1;

/// Tells the kernel what to forget. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Invalidator {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    notifier: OnceLock<Notifier>,
    pages: Mutex<Pages>,
    wake: Condvar,
}

/// Inodes whose pages are to be forgotten; each at most once, so that the number of open files
/// bounds it.
#[derive(Debug, Default)]
struct Pages {
    waiting: HashSet<InodeId>,
    stopped: bool,
}

impl Invalidator {
    /// Begins with the kernel's ear; until then there is nothing that the kernel could know.
    pub(crate) fn start(&self, notifier: Notifier) -> io::Result<()> {
        if self.shared.notifier.set(notifier).is_err() {
            return Ok(());
        }
        let shared = self.shared.clone();
        thread::Builder::new()
            .name("forget-pages".to_owned())
            .spawn(move || shared.forget_pages())?;
        Ok(())
    }

    /// The kernel's attributes of `inode` are forgotten when this returns.
    pub(crate) fn attributes(&self, inode: InodeId) {
        self.shared.tell(inode, ATTRIBUTES_ONLY);
    }

    /// The kernel's pages and attributes of `inode` will be forgotten soon.
    pub(crate) fn pages(&self, inode: InodeId) {
        self.shared.pages.lock().waiting.insert(inode);
        self.shared.wake.notify_one();
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.pages.lock().stopped = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn forget_pages(&self) {
        loop {
            let mut pages = self.pages.lock();
            while pages.waiting.is_empty() && !pages.stopped {
                self.wake.wait(&mut pages);
            }
            if pages.stopped {
                return;
            }
            let inodes = std::mem::take(&mut pages.waiting);
            drop(pages);
            inodes.into_iter().for_each(|inode| self.tell(inode, 0));
        }
    }

    fn tell(&self, inode: InodeId, offset: i64) {
        let Some(notifier) = self.notifier.get() else {
            return;
        };
        // ENOENT: the kernel has forgotten the inode by itself. ENODEV: the mount has ended.
        if let Err(error) = notifier.inval_inode(INodeNo(inode.0), offset, 0) {
            tracing::debug!(%inode, "the kernel was told to forget and said: {error}");
        }
    }
}
