//! What the kernel must forget.
//!
//! Attributes are forgotten on the spot: the notification that names no pages takes no lock that an
//! operation could hold. Forgetting pages waits for every read and write that holds one of them, and
//! forgetting a name waits for the operations on its directory: threads of their own do that, never
//! one that answers requests. Where an operation of this mount holds the directory it is not waited
//! for, because it may be waiting for the very change that the name has to be forgotten for.
//!
//! The kernel takes names, and attributes after a change, in a moment after they were written, in the
//! task that asked. So what was told just now is forgotten twice: at once, and once more when that
//! moment has passed. (The answer to a question for attributes it takes in only if it was told nothing
//! meanwhile: see `looks`.)

use super::looks::{Asks, Looking, Looks};
use dfs_client::Audience;
use dfs_proto::{extent::FileRange, id::InodeId, name::Name, session::Recall};
use fuser::{INodeNo, Notifier};
use futures::future::{BoxFuture, join_all};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

/// The bytes of a file.
const ALL: FileRange = FileRange {
    start: 0,
    end: u64::MAX,
};

/// An offset below zero says that only the attributes are meant.
const ATTRIBUTES_ONLY: i64 = -1;

/// How long names may take to be forgotten: a few, and all of them.
const NAME_WAIT: Duration = Duration::from_millis(50);
const NAMES_WAIT: Duration = Duration::from_secs(5);

/// Between two looks at whether a directory is held.
const HELD_LOOK: Duration = Duration::from_millis(5);

/// Threads that forget names: one that waits for a directory does not hold up the others.
const NAME_THREADS: usize = 4;

/// A thread that was seen waiting for a page so often, with so much time between, waits for a write,
/// or for a reader that does not get to run.
const HELD_UP_LOOKS: u32 = 2;
const LOOK: Duration = Duration::from_millis(3);

/// A write that has come waits so long for a reader of its pages that does not get to run.
const READER_WAIT: Duration = Duration::from_millis(300);

/// The kernel has taken in an answer so long after it was written, and is asked to forget it again
/// where less has passed.
const TAKEN_IN: Duration = Duration::from_millis(10);

/// A code and a flag of a notification that fuser does not offer (`include/uapi/linux/fuse.h`): the
/// name is looked up again before it is used, and what is mounted on it stays.
const NOTIFY_INVAL_ENTRY: i32 = 3;
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
}

#[derive(Debug, Default)]
struct Shared {
    kernel: OnceLock<Kernel>,
    work: Mutex<Work>,
    wake_pages: Condvar,
    wake_names: Condvar,
    /// Directories that operations of this mount hold, and how many.
    held: Mutex<HashMap<InodeId, u32>>,
    told: Mutex<Told>,
    looks: Looks,
}

/// Directories, and inodes that were made or changed, that something was told of just now.
#[derive(Debug, Default)]
struct Told {
    /// Since then, for [`TAKEN_IN`] at the most.
    since: Option<Instant>,
    now: HashSet<InodeId>,
    /// In the time before.
    before: HashSet<InodeId>,
}

impl Told {
    fn pass(&mut self, now: Instant) {
        let Some(age) = self.since.map(|since| now.saturating_duration_since(since)) else {
            self.since = Some(now);
            return;
        };
        if age >= TAKEN_IN {
            std::mem::swap(&mut self.before, &mut self.now);
            self.now.clear();
            self.since = Some(now);
        }
        if age >= TAKEN_IN * 2 {
            self.before.clear();
        }
    }
}

/// What is to be forgotten.
#[derive(Debug, Default)]
struct Work {
    /// Inodes whose pages are; each at most once, so that the number of open files bounds it.
    pages: HashSet<InodeId>,
    names: VecDeque<Names>,
    /// Threads that forget names in directories that are held.
    held_up: usize,
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
        let device = File::from(device);
        let kernel = Kernel { notifier, device };
        if self.shared.kernel.set(kernel).is_err() {
            return Ok(());
        }
        let spawn = |name: &str, work: fn(&Shared)| {
            let shared = self.shared.clone();
            let thread = thread::Builder::new().name(name.to_owned());
            thread.spawn(move || work(&shared)).map(|_| ())
        };
        spawn("forget-pages", Shared::forget_pages)?;
        (0..NAME_THREADS).try_for_each(|_| spawn("forget-names", Shared::forget_names))
    }

    /// The kernel is being told names in these, or attributes after a change of its own: it takes them
    /// in whatever it is told to forget meanwhile. (The answer to a question it does not.)
    pub(crate) fn tells(&self, inodes: impl IntoIterator<Item = InodeId>) {
        let mut told = self.shared.told.lock();
        told.pass(Instant::now());
        told.now.extend(inodes);
    }

    /// The kernel asks for attributes or bytes of a file, until what is returned is dropped.
    pub(crate) fn looks(&self, inode: InodeId, asks: Asks) -> Looking {
        self.shared.looks.begin(inode, asks)
    }

    /// The kernel is about to forget the pages of a file, because an open does not keep them; others
    /// have the file open, or it is opened `alone`.
    pub(crate) fn drops_pages(&self, inode: InodeId, alone: bool) {
        self.shared.looks.opens(inode, alone);
    }

    /// The kernel forgets what it has in place of what a write brought, before that is answered; the
    /// write may hold pages itself, or not.
    pub(crate) async fn written(
        &self,
        inode: InodeId,
        range: FileRange,
        may_hold: impl Fn() -> bool,
    ) {
        let since = Instant::now();
        self.shared.looks.forgets(inode);
        while !Shared::forget_range(self.shared.clone(), inode, range).await {
            // What the write holds itself has nothing in it.
            if may_hold() {
                return;
            }
            if since.elapsed() >= READER_WAIT {
                tracing::debug!(%inode, "the kernel does not forget what was written over");
                return;
            }
        }
    }

    /// How often the kernel forgot pages of a file; more often than it did where that is not remembered,
    /// and nothing if it did a moment ago.
    pub(crate) fn forgot(&self, inode: InodeId) -> Option<u64> {
        self.shared.looks.dropped(inode)
    }

    /// The kernel's attributes of `inode` are forgotten when this returns.
    pub(crate) fn attributes(&self, inode: InodeId) {
        self.shared.tell_attributes(inode);
    }

    /// The kernel looks this name up again before it uses it, as soon as nobody holds the directory.
    pub(crate) fn name(&self, parent: InodeId, name: &Name) {
        // Nobody waits for it.
        drop(self.shared.name_soon(parent, vec![name.clone()]));
    }

    /// The kernel forgets the names of a directory that it was told just now, when it has taken them in.
    pub(crate) async fn list_soon(self, directory: InodeId) {
        tokio::time::sleep(TAKEN_IN).await;
        self.shared.tell_list(directory);
    }

    /// The kernel's pages and attributes of `inode` will be forgotten soon.
    pub(crate) fn pages(&self, inode: InodeId) {
        self.shared.work.lock().pages.insert(inode);
        self.shared.wake_pages.notify_one();
    }

    /// The kernel's pages and attributes of `inode` are forgotten when this returns. Waits for every
    /// read of those pages that is in flight: only for who is waited for by none of them, and not
    /// on a thread that answers requests.
    pub(crate) fn pages_now(&self, inode: InodeId) {
        self.shared.tell_all(inode);
    }

    /// As [`Invalidator::pages_now`], but does not wait for a write that holds pages; answers whether
    /// all are forgotten.
    pub(crate) async fn pages_but_written(&self, inode: InodeId) -> bool {
        self.forget_bytes(inode, ALL).await
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
        self.shared.wake_names.notify_all();
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
        let shared = self.shared.clone();
        Box::pin(async move {
            let files = recalls.iter().filter(|recall| recall.content);
            let asked = files.map(|recall| shared.looks.settle(recall.inode));
            join_all(asked).await;
            let again = shared.told_just_now(recalls.iter().map(|recall| recall.inode));
            shared.forget(&recalls, NAME_WAIT).await;
            if again {
                tokio::time::sleep(TAKEN_IN).await;
                shared.forget(&recalls, NAME_WAIT).await;
            }
        })
    }

    fn settle(&self, inode: InodeId) -> BoxFuture<'static, ()> {
        let looks = self.shared.looks.clone();
        Box::pin(async move { looks.settle(inode).await })
    }

    fn forget_bytes(&self, inode: InodeId, range: FileRange) -> BoxFuture<'static, bool> {
        let shared = self.shared.clone();
        Box::pin(async move {
            shared.looks.forgets(inode);
            shared.looks.drops(inode);
            Shared::forget_range(shared, inode, range).await
        })
    }

    fn forget_all(
        &self,
        inodes: Vec<InodeId>,
        names: Vec<(InodeId, Vec<Name>)>,
    ) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        Box::pin(async move {
            tokio::time::sleep(TAKEN_IN).await;
            inodes
                .into_iter()
                .for_each(|inode| shared.tell_attributes(inode));
            names
                .iter()
                .for_each(|(parent, _)| shared.tell_list(*parent));
            shared.forget_all(names, NAMES_WAIT).await;
        })
    }

    fn forget_attributes(&self, inode: InodeId) {
        self.attributes(inode);
    }

    fn forget_content(&self, inode: InodeId) {
        self.pages(inode);
    }

    fn forget_name(&self, parent: InodeId, name: &Name) {
        self.name(parent, name);
    }
}

impl Kernel {
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

/// Whether a thread, by its folder in /proc, is in uninterruptible sleep: in a notification it sleeps
/// so only for a page that somebody else has locked.
fn waits_for_page(thread: &PathBuf) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(thread).join("stat"));
    // The name in brackets may contain anything.
    let state = stat.map(|stat| {
        stat.rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next())
    });
    state.is_ok_and(|state| state == Some('D'))
}

impl Shared {
    fn told_just_now(&self, mut inodes: impl Iterator<Item = InodeId>) -> bool {
        let mut told = self.told.lock();
        told.pass(Instant::now());
        inodes.any(|inode| told.now.contains(&inode) || told.before.contains(&inode))
    }

    /// Has what these name forgotten, and waits for that, but for names in directories that an
    /// operation of this mount holds.
    async fn forget(&self, recalls: &[Recall], within: Duration) {
        let mut waits = Vec::new();
        for recall in recalls {
            match recall.names.is_empty() && !recall.whole {
                true => self.tell_attributes(recall.inode),
                false => self.tell_list(recall.inode),
            }
            if !recall.names.is_empty() {
                let done = self.name_soon(recall.inode, recall.names.clone());
                waits.extend((!self.is_held(recall.inode)).then_some(done));
            }
        }
        // What takes longer waits for an operation that began meanwhile, and is done after it.
        let _ = timeout(within, join_all(waits)).await;
    }

    /// Has names forgotten, and waits for that, but for those in directories that an operation of this
    /// mount holds or begins to hold.
    async fn forget_all(&self, names: Vec<(InodeId, Vec<Name>)>, within: Duration) {
        let queue = |(parent, names)| (parent, self.name_soon(parent, names));
        let queued: Vec<_> = names.into_iter().map(queue).collect();
        let until = Instant::now() + within;
        for (parent, mut done) in queued {
            while !self.is_held(parent) && Instant::now() < until {
                if timeout(HELD_LOOK, &mut done).await.is_ok() {
                    break;
                }
            }
        }
    }

    fn is_held(&self, directory: InodeId) -> bool {
        self.held.lock().contains_key(&directory)
    }

    /// Has these names forgotten; tells when they are.
    fn name_soon(&self, parent: InodeId, names: Vec<Name>) -> oneshot::Receiver<()> {
        let (done, forgotten) = oneshot::channel();
        let names = Names {
            parent,
            names,
            done,
        };
        self.work.lock().names.push_back(names);
        self.wake_names.notify_one();
        forgotten
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
            inodes.into_iter().for_each(|inode| self.tell_all(inode));
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
            // Those in directories that are held come last, and leave one thread for others: they
            // hold up theirs.
            let mut parents = work.names.iter().map(|names| names.parent);
            let free = parents.position(|parent| !self.is_held(parent));
            let held = usize::from(free.is_none());
            if work.held_up + held == NAME_THREADS {
                self.wake_names.wait_for(&mut work, HELD_LOOK);
                continue;
            }
            let next = work.names.remove(free.unwrap_or(0));
            work.held_up += held;
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
            // Nobody waits any more where it took too long.
            let _ = next.done.send(());
            self.work.lock().held_up -= held;
        }
    }

    /// See [`Audience::forget_bytes`].
    async fn forget_range(shared: Arc<Shared>, inode: InodeId, range: FileRange) -> bool {
        let thread = Arc::new(OnceLock::new());
        let late = Arc::new(AtomicBool::new(false));
        let (here, there, gone_on) = (shared.clone(), thread.clone(), late.clone());
        // A thread of the pool: it may be held up for as long as a write waits.
        let mut forgotten = tokio::task::spawn_blocking(move || {
            let _ = there.set(fs::read_link("/proc/thread-self").unwrap_or_default());
            here.tell_range(inode, range);
            if gone_on.load(Ordering::Acquire) {
                here.looks.drops(inode);
            }
        });
        let mut held_up = 0;
        while held_up < HELD_UP_LOOKS {
            // It fails only when the process ends.
            if timeout(LOOK, &mut forgotten).await.is_ok() {
                return true;
            }
            // A read that holds a page is answered, and lets it go.
            let reads = shared.looks.holds(inode, range);
            let waits = !reads && thread.get().is_some_and(waits_for_page);
            held_up = if waits { held_up + 1 } else { 0 };
        }
        // What it forgets from now on, it forgets whatever has come to be meanwhile.
        late.store(true, Ordering::Release);
        false
    }

    /// Pages of a range, and the attributes.
    fn tell_range(&self, inode: InodeId, range: FileRange) {
        let offset = i64::try_from(range.start).unwrap_or(i64::MAX);
        // To the end where the length is 0.
        let length = match range.end {
            u64::MAX => 0,
            _ => i64::try_from(range.len()).unwrap_or(0),
        };
        self.tell_part(inode, offset, length);
    }

    fn tell_attributes(&self, inode: InodeId) {
        self.looks.forgets(inode);
        self.tell_part(inode, ATTRIBUTES_ONLY, 0);
    }

    /// The pages of a directory, which nobody holds while anybody is waited for, and its attributes.
    fn tell_list(&self, directory: InodeId) {
        self.looks.forgets(directory);
        self.tell_part(directory, 0, 0);
    }

    /// All pages, and the attributes.
    fn tell_all(&self, inode: InodeId) {
        self.looks.forgets(inode);
        self.looks.drops(inode);
        self.tell_range(inode, ALL);
        // It may have taken long.
        self.looks.drops(inode);
    }

    fn tell_part(&self, inode: InodeId, offset: i64, length: i64) {
        let Some(kernel) = self.kernel.get() else {
            return;
        };
        // ENOENT: the kernel has forgotten the inode by itself. ENODEV: the mount has ended.
        if let Err(error) = kernel
            .notifier
            .inval_inode(INodeNo(inode.0), offset, length)
        {
            tracing::trace!(%inode, "the kernel was told to forget and said: {error}");
        }
    }
}
