//! The files that this session holds open, and the lazy closing of those that nobody uses any more.
//!
//! A file that nobody uses is kept for a while if it is leased: whoever opens it again need not ask
//! the master, and what was known of its content is still known.
//!
//! An inode is in one of three states: in `files` (held at the master), in `closing` (being let go:
//! whoever wants to open it waits), or in neither.

use crate::{core::Core, error::Error, file::File, link::Session};
use dfs_proto::{change::Change, id::InodeId, view::View};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;

/// Inodes let go in one change, at the most.
const CLOSE_MAX: usize = 1024;

/// Files that nobody uses are kept for so long, and so many of them.
const KEEP: Duration = Duration::from_secs(30);
const KEPT_MAX: usize = 1024;

/// The files that are held open.
#[derive(Default)]
pub(crate) struct Table {
    files: Mutex<HashMap<InodeId, Arc<File>>>,
    /// Files whose last handle went.
    idle: Mutex<Vec<InodeId>>,
    /// Those of them that are kept, and since when; oldest first.
    kept: Mutex<VecDeque<(Duration, InodeId)>>,
    closing: Mutex<HashSet<InodeId>>,
    closed: Notify,
    /// There is something in `idle`.
    pub(crate) released: Notify,
}

impl Table {
    /// The file, if it is held.
    pub(crate) fn get(&self, inode: InodeId) -> Option<Arc<File>> {
        self.files.lock().get(&inode).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<File>> {
        self.files.lock().values().cloned().collect()
    }

    /// One more handle of a file that is held, once it is not being let go; and the count of errors
    /// that this handle need not be told.
    pub(crate) async fn hold(&self, inode: InodeId) -> Option<(Arc<File>, u64)> {
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            {
                let mut files = self.files.lock();
                if let Some(file) = files.get(&inode) {
                    if file.check_lost().is_ok() {
                        return Some((file.clone(), file.hold()));
                    }
                    // It fails for those that had it; who opens it now gets it anew.
                    file.lose();
                    files.remove(&inode);
                }
                if !self.closing.lock().contains(&inode) {
                    return None;
                }
            }
            closed.await;
        }
    }

    /// One more handle of a file that the master has just opened.
    pub(crate) fn add(
        &self,
        core: &Arc<Core>,
        session: &Arc<Session>,
        view: View,
        index: u64,
    ) -> (Arc<File>, u64) {
        let mut files = self.files.lock();
        let known = files.get(&view.attr.inode);
        if let Some(file) = known.filter(|file| file.check_lost().is_ok()) {
            let seen = file.hold();
            file.learn(view, index);
            return (file.clone(), seen);
        }
        if let Some(lost) = known {
            lost.lose();
        }
        let inode = view.attr.inode;
        let file = Arc::new(File::new(core.clone(), session.clone(), view, index));
        let seen = file.hold();
        files.insert(inode, file.clone());
        (file, seen)
    }

    /// Files that are open and whose lease is getting old are asked for again: the kernel may have
    /// bytes of them, and it does not ask.
    pub(crate) fn renew(&self, core: &Core) {
        let now = core.now();
        let old = |file: &Arc<File>| core.attrs.is_aging(file.inode, now) && !file.is_idle();
        for file in self.all().into_iter().filter(old) {
            core.runtime.spawn(async move {
                if let Err(error) = file.refresh().await {
                    tracing::debug!(inode = %file.inode, "its lease was not renewed: {error}");
                }
            });
        }
    }

    /// The last handle of a file went.
    pub(crate) fn release(&self, inode: InodeId) {
        self.idle.lock().push(inode);
        self.released.notify_one();
    }

    /// A file need not be kept, should nobody use it: it is about to change, or has no name left.
    pub(crate) fn let_go(&self, inode: InodeId) {
        if self.files.lock().contains_key(&inode) {
            self.release(inode);
        }
    }

    /// Lets go of what nobody uses, what is sent, and what is not kept; what is not sent yet stays
    /// for the next time. Answers whether something stayed.
    pub(crate) async fn close_idle(&self, core: &Core) -> Result<bool, Error> {
        let mut idle = std::mem::take(&mut *self.idle.lock());
        let now = core.now();
        idle.sort_unstable();
        idle.dedup();
        let mut stay = Vec::new();
        let mut gone: Vec<Arc<File>> = Vec::new();
        {
            let mut files = self.files.lock();
            let mut closing = self.closing.lock();
            for inode in idle {
                let Some(file) = files.get(&inode) else {
                    continue;
                };
                if !file.is_idle() {
                    // Opened again, or not sent yet; in the first case its release tells.
                    if file.is_unsent() || file.is_unlocking() {
                        stay.push(inode);
                    }
                // Locks go with the last close, whatever became of their unlock.
                } else if is_worth_keeping(core, inode) && !file.locks.ever() {
                    file.give_back_stream();
                    self.kept.lock().push_back((now, inode));
                } else if gone.len() == CLOSE_MAX {
                    stay.push(inode);
                } else {
                    closing.insert(inode);
                    gone.extend(files.remove(&inode));
                }
            }
            let mut kept = self.kept.lock();
            while let Some((since, inode)) = kept.front().copied() {
                let too_old = since + KEEP <= now || !is_worth_keeping(core, inode);
                let idle = files.get(&inode).is_some_and(|file| file.is_idle());
                if gone.len() == CLOSE_MAX || (idle && !too_old && kept.len() <= KEPT_MAX) {
                    break;
                }
                kept.pop_front();
                if idle {
                    closing.insert(inode);
                    gone.extend(files.remove(&inode));
                }
            }
        }
        // What the kernel has of those that are lost was never sent.
        let lost = gone.iter().filter(|file| file.check_lost().is_err());
        lost.for_each(|file| file.lose());
        let again = !stay.is_empty();
        self.idle.lock().extend(stay);
        let outcome = close(core, &gone).await;
        let mut closing = self.closing.lock();
        for file in &gone {
            closing.remove(&file.inode);
        }
        drop(closing);
        self.closed.notify_waiters();
        outcome.map(|()| again)
    }

    /// What is being let go now.
    pub(crate) fn are_closing(&self) -> Vec<InodeId> {
        self.closing.lock().iter().copied().collect()
    }

    /// Waits until an inode is let go, if it is being so.
    pub(crate) async fn is_closed(&self, inode: InodeId) {
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            closed.as_mut().enable();
            if !self.closing.lock().contains(&inode) {
                return;
            }
            closed.await;
        }
    }

    /// Forgets a file that is lost: its handles fail, and who opens it anew gets it as it is now.
    pub(crate) fn forget(&self, lost: &Arc<File>) {
        let mut files = self.files.lock();
        if files.get(&lost.inode).is_some_and(|f| Arc::ptr_eq(f, lost)) {
            files.remove(&lost.inode);
        }
    }
}

/// Whether a file that nobody uses may be opened again without asking.
fn is_worth_keeping(core: &Core, inode: InodeId) -> bool {
    let known = core.attrs.attr(inode, core.now());
    known.is_some_and(|(attr, _)| attr.links > 0)
}

async fn close(core: &Core, gone: &[Arc<File>]) -> Result<(), Error> {
    let mut by_session: HashMap<u64, (Arc<Session>, Vec<InodeId>)> = HashMap::new();
    for file in gone {
        file.give_back_stream();
        let session = file.session();
        let list = by_session.entry(session.id.0);
        let (_, inodes) = list.or_insert_with(|| (session, Vec::new()));
        inodes.push(file.inode);
    }
    for (session, inodes) in by_session.into_values() {
        match core.master.change(&session, Change::Close { inodes }).await {
            // A session that is over holds nothing.
            Ok(_) | Err(Error::SessionLost) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
