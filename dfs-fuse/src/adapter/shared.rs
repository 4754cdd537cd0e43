//! What every translation needs: the adapter's parts, the settings of the kernel's side, and how
//! common answers are said.

use crate::{
    accesses::Counted,
    answer::{Answers, Refuse, Request as Asked},
    attr, errno,
    forget::Invalidator,
    handles::Handles,
    listing::OpenDirectory,
    reading::Reader,
    root::Root,
    tell::Teller,
};
use dfs_client::{Dfs, OpenFile};
use dfs_host::clock::Clock;
use dfs_proto::{change::Caller, id::InodeId, name::Name};
use fuser::{INodeNo, InitFlags, ReplyEmpty, Request};
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, sync::Arc};

/// The largest request, in bytes; what the kernel allows by default.
pub(super) const REQUEST_BYTES: u32 = 1 << 20;

/// Requests that nobody waits for (read-ahead, write-back) in flight at once.
pub(super) const BACKGROUND: u16 = 64;

/// What statfs counts in.
pub(super) const STATFS_BLOCK_BYTES: u32 = 4096;

pub(super) const CAPABILITIES: [InitFlags; 11] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_POSIX_LOCKS,
    InitFlags::FUSE_FLOCK_LOCKS,
    // Inodes are found by their ids, whatever the kernel has forgotten.
    InitFlags::FUSE_EXPORT_SUPPORT,
];

/// With these the kernel obeys access-control lists, and leaves it to us to apply a umask or a
/// default list to what is made.
pub(super) const ACL_CAPABILITIES: InitFlags =
    InitFlags::FUSE_POSIX_ACL.union(InitFlags::FUSE_DONT_MASK);

/// The kernel's view of a file system.
pub(crate) struct Adapter {
    pub(super) dfs: Dfs,
    pub(super) answers: Answers,
    pub(super) reader: Reader,
    pub(super) root: Arc<Root>,
    pub(super) files: Arc<Handles<HeldFile>>,
    pub(super) directories: Arc<Handles<OpenDirectory>>,
    pub(super) teller: Teller,
    pub(super) invalidator: Invalidator,
    /// Which reads set access times.
    pub(super) counted: Counted,
    /// The kernel obeys access-control lists.
    pub(super) acls: bool,
    /// The kernel gives labels of SELinux a meaning.
    pub(super) labels: bool,
}

/// A file that the kernel holds open.
#[derive(Debug)]
pub(crate) struct HeldFile {
    /// The file.
    pub(crate) file: Arc<OpenFile>,
    /// Whether what changes its bytes is to be synced before it is answered, and then whether data
    /// only (O_SYNC, O_DSYNC). The kernel says so with each write, and with nothing else.
    pub(super) synced: Option<bool>,
    /// Whether it is read and written past the kernel's pages.
    pub(super) direct: bool,
    /// Whether it sets its access time that the file is copied from. Of reads the kernel says so with
    /// each.
    pub(super) counted: bool,
}

impl Adapter {
    /// Serves `dfs`, answering through `answers`; reads that are `counted` set access times.
    pub(crate) fn new(
        dfs: Dfs,
        answers: Answers,
        root: Root,
        clock: Arc<dyn Clock>,
        invalidator: Invalidator,
        counted: Counted,
    ) -> Adapter {
        let root = Arc::new(root);
        let reader = Reader {
            dfs: dfs.clone(),
            root: root.clone(),
            clock,
            invalidator: invalidator.clone(),
            listed: Arc::default(),
        };
        let teller = Teller {
            dfs: dfs.clone(),
            invalidator: invalidator.clone(),
        };
        Adapter {
            dfs,
            answers,
            reader,
            root,
            files: Arc::new(Handles::new()),
            directories: Arc::new(Handles::new()),
            teller,
            invalidator,
            counted,
            acls: false,
            labels: has_labels(),
        }
    }

    /// The files that are open.
    pub(crate) fn files(&self) -> Arc<Handles<HeldFile>> {
        self.files.clone()
    }
}

/// Whether the kernel gives labels of SELinux a meaning.
fn has_labels() -> bool {
    let types = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    types.contains("selinuxfs")
}

pub(super) fn asked(verb: &'static str, inode: INodeNo) -> Asked {
    let inode = InodeId(inode.0);
    Asked { verb, inode }
}

pub(super) fn caller(request: &Request, umask: u32) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        umask: attr::permissions(umask),
    }
}

/// The name, or the refusal of the request.
pub(super) fn named<R: Refuse>(name: &OsStr, reply: R) -> Option<(Name, R)> {
    match Name::new(name.as_bytes()) {
        Ok(name) => Some((name, reply)),
        Err(error) => {
            reply.refuse(errno::of_name(&error));
            None
        }
    }
}

pub(super) fn done(reply: ReplyEmpty, (): ()) {
    reply.ok();
}
