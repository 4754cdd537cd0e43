//! What the kernel must forget.
//!
//! Attributes are forgotten on the spot: the notification that names no pages takes no lock that an
//! operation could hold. Forgetting pages waits for every read of those pages that is in flight, and
//! forgetting a name waits for the operations on its directory: threads of their own do that, never
//! one that answers requests. A name that is not forgotten soon is not waited for: then the kernel is
//! told to look every name up again before it uses it, which needs no lock. That is also the way
//! where an operation of this mount holds the directory, because it may be waiting for the very
//! change that the name has to be forgotten for.

use dfs_client::Audience;
use dfs_proto::{id::InodeId, name::Name, session::Recall};
use fuser::{INodeNo, Notifier};
use futures::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// An offset below zero says that only the attributes are meant.
const ATTRIBUTES_ONLY: i64 = -1;

/// How long a name may take to be forgotten.
const NAME_WAIT: Duration = Duration::from_millis(50);

/// Codes and flags of notifications that fuser does not offer (`include/uapi/linux/fuse.h`).
const NOTIFY_INVAL_ENTRY: i32 = 3;
const NOTIFY_INC_EPOCH: i32 = 8;
const EXPIRE_ONLY: u32 = 1;

/// Tells the kernel what to forget. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Invalidator {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Kernel {
    notifier: Notifier,
    device: File,
    /// It can be told to look every name up again (Linux 6.16).
    has_epochs: bool,
}

#[derive(Debug, Default)]
struct Shared {
    kernel: OnceLock<Kernel>,
    work: Mutex<Work>,
    wake_pages: Condvar,
    wake_names: Condvar,
    /// Directories that operations of this mount hold, and how many.
    held: Mutex<HashMap<InodeId, u32>>,
    /// A name could not be forgotten in time, and still is not.
    stuck: AtomicBool,
}

/// What is to be forgotten.
#[derive(Debug, Default)]
struct Work {
    /// Inodes whose pages are; each at most once, so that the number of open files bounds it.
    pages: HashSet<InodeId>,
    names: VecDeque<Names>,
    stopped: bool,
}

#[derive(Debug)]
struct Names {
    parent: InodeId,
    names: Vec<Name>,
    done: oneshot::Sender<()>,
}

/// An operation of this mount on a directory, which the kernel has locked.
#[derive(Debug)]
pub(crate) struct Holds {
    shared: Arc<Shared>,
    directories: Vec<InodeId>,
}

impl Invalidator {
    /// Begins with the kernel's ear; until then there is nothing that the kernel could know.
    pub(crate) fn start(&self, notifier: Notifier, device: OwnedFd) -> io::Result<()> {
        let mut kernel = Kernel {
            notifier,
            device: File::from(device),
            has_epochs: false,
        };
        kernel.has_epochs = kernel.new_epoch().is_ok();
        if !kernel.has_epochs {
            tracing::info!("this kernel asks for every name again: Linux 6.16 would keep them");
        }
        if self.shared.kernel.set(kernel).is_err() {
            return Ok(());
        }
        let spawn = |name: &str, work: fn(&Shared)| {
            let shared = self.shared.clone();
            let thread = thread::Builder::new().name(name.to_owned());
            thread.spawn(move || work(&shared)).map(|_| ())
        };
        spawn("forget-pages", Shared::forget_pages)?;
        spawn("forget-names", Shared::forget_names)
    }

    /// For how long the kernel may keep a name: where it cannot be told to look all of them up
    /// again, it looks each up each time.
    pub(crate) fn name_ttl(&self, wished: Duration) -> Duration {
        match self.shared.kernel.get() {
            Some(kernel) if kernel.has_epochs => wished,
            _ => Duration::ZERO,
        }
    }

    /// The kernel's attributes of `inode` are forgotten when this returns.
    pub(crate) fn attributes(&self, inode: InodeId) {
        self.shared.tell(inode, ATTRIBUTES_ONLY);
    }

    /// The kernel looks every name up again before it uses it.
    pub(crate) fn all_names(&self) {
        self.shared.new_epoch();
    }

    /// The kernel's pages and attributes of `inode` will be forgotten soon.
    pub(crate) fn pages(&self, inode: InodeId) {
        self.shared.work.lock().pages.insert(inode);
        self.shared.wake_pages.notify_one();
    }

    /// An operation of this mount changes names in these directories, until what is returned is
    /// dropped.
    pub(crate) fn holds(&self, directories: Vec<InodeId>) -> Holds {
        let mut held = self.shared.held.lock();
        for directory in &directories {
            *held.entry(*directory).or_default() += 1;
        }
        drop(held);
        Holds {
            shared: self.shared.clone(),
            directories,
        }
    }

    /// Ends the threads.
    pub(crate) fn stop(&self) {
        self.shared.work.lock().stopped = true;
        self.shared.wake_pages.notify_one();
        self.shared.wake_names.notify_one();
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        let mut held = self.shared.held.lock();
        for directory in &self.directories {
            if let Some(count) = held.get_mut(directory) {
                *count -= 1;
                if *count == 0 {
                    held.remove(directory);
                }
            }
        }
    }
}

impl Audience for Invalidator {
    fn forget(&self, recalls: Vec<Recall>) -> BoxFuture<'static, ()> {
        let mut waits = Vec::new();
        let mut all = false;
        for recall in recalls {
            self.attributes(recall.inode);
            if recall.content {
                self.pages(recall.inode);
            }
            all |= recall.whole;
            if !recall.names.is_empty() && !recall.whole {
                match self.shared.name_soon(recall.inode, recall.names) {
                    Some(done) => waits.push(done),
                    None => all = true,
                }
            }
        }
        let shared = self.shared.clone();
        Box::pin(async move {
            if !all {
                let done = futures::future::join_all(waits);
                if tokio::time::timeout(NAME_WAIT, done).await.is_ok() {
                    return;
                }
                shared.stuck.store(true, Ordering::Release);
            }
            shared.new_epoch();
        })
    }

    fn forget_all(&self, inodes: Vec<InodeId>) -> BoxFuture<'static, ()> {
        for inode in inodes {
            self.attributes(inode);
        }
        self.shared.new_epoch();
        Box::pin(async {})
    }

    fn forget_attributes(&self, inode: InodeId) {
        self.attributes(inode);
    }

    fn forget_content(&self, inode: InodeId) {
        self.pages(inode);
    }
}

impl Kernel {
    /// The kernel looks every name up again before it uses it.
    fn new_epoch(&self) -> io::Result<()> {
        self.notify(NOTIFY_INC_EPOCH, &[])
    }

    /// The kernel looks this name up again before it uses it. Waits for the directory.
    fn expire(&self, parent: InodeId, name: &Name) -> io::Result<()> {
        let name = name.as_bytes();
        let length = u32::try_from(name.len()).map_err(io::Error::other)?;
        let mut body = Vec::with_capacity(17 + name.len());
        body.extend(parent.0.to_ne_bytes());
        body.extend(length.to_ne_bytes());
        body.extend(EXPIRE_ONLY.to_ne_bytes());
        body.extend(name);
        body.push(0);
        self.notify(NOTIFY_INVAL_ENTRY, &body)
    }

    /// One notification: a header of 16 bytes (length, code, 0) and what belongs to the code.
    fn notify(&self, code: i32, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(code.to_ne_bytes());
        message.extend(0u64.to_ne_bytes());
        message.extend(body);
        (&self.device).write(&message).map(|_| ())
    }
}

impl Shared {
    /// Has these names forgotten; `None` where that could wait for an operation of this mount.
    fn name_soon(&self, parent: InodeId, names: Vec<Name>) -> Option<oneshot::Receiver<()>> {
        if self.stuck.load(Ordering::Acquire) || self.held.lock().contains_key(&parent) {
            return None;
        }
        let (done, forgotten) = oneshot::channel();
        let names = Names {
            parent,
            names,
            done,
        };
        self.work.lock().names.push_back(names);
        self.wake_names.notify_one();
        Some(forgotten)
    }

    fn new_epoch(&self) {
        if let Some(kernel) = self.kernel.get()
            && kernel.has_epochs
            && let Err(error) = kernel.new_epoch()
        {
            tracing::debug!("the kernel was told to look all names up again and said: {error}");
        }
    }

    fn forget_pages(&self) {
        loop {
            let mut work = self.work.lock();
            while work.pages.is_empty() && !work.stopped {
                self.wake_pages.wait(&mut work);
            }
            if work.stopped {
                return;
            }
            let inodes = std::mem::take(&mut work.pages);
            drop(work);
            inodes.into_iter().for_each(|inode| self.tell(inode, 0));
        }
    }

    fn forget_names(&self) {
        loop {
            let mut work = self.work.lock();
            while work.names.is_empty() && !work.stopped {
                self.wake_names.wait(&mut work);
            }
            if work.stopped {
                return;
            }
            let next = work.names.pop_front();
            drop(work);
            let (Some(next), Some(kernel)) = (next, self.kernel.get()) else {
                continue;
            };
            for name in &next.names {
                // ENOENT: the kernel does not know the name, or the directory.
                if let Err(error) = kernel.expire(next.parent, name) {
                    tracing::trace!(parent = %next.parent, "a name was to be forgotten: {error}");
                }
            }
            self.stuck.store(false, Ordering::Release);
            // Nobody waits any more where it took too long.
            let _ = next.done.send(());
        }
    }

    fn tell(&self, inode: InodeId, offset: i64) {
        let Some(kernel) = self.kernel.get() else {
            return;
        };
        // ENOENT: the kernel has forgotten the inode by itself. ENODEV: the mount has ended.
        if let Err(error) = kernel.notifier.inval_inode(INodeNo(inode.0), offset, 0) {
            tracing::trace!(%inode, "the kernel was told to forget and said: {error}");
        }
    }
}
