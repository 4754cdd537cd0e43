//! Ranges of files: given up, allocated.

use super::shared::{Adapter, asked, done};
use dfs_proto::extent::FileRange;
use fuser::{Errno, FileHandle, INodeNo, ReplyEmpty, Request};

/// What fallocate(2) asks for.
#[derive(Clone, Copy)]
enum Wanted {
    Space { keep_size: bool },
    Zeros { keep_size: bool },
}

/// What a mode of fallocate(2) asks for, where that can be done: bytes can be given up, not moved.
fn wanted(mode: i32) -> Option<Wanted> {
    let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
    match mode & !libc::FALLOC_FL_KEEP_SIZE {
        0 => Some(Wanted::Space { keep_size }),
        libc::FALLOC_FL_PUNCH_HOLE if keep_size => Some(Wanted::Zeros { keep_size }),
        libc::FALLOC_FL_ZERO_RANGE => Some(Wanted::Zeros { keep_size }),
        _ => None,
    }
}

impl Adapter {
    /// Gives up a range, or says that there is room for it.
    pub(super) fn fallocate_range(
        &self,
        request: &Request,
        (inode, handle): (INodeNo, FileHandle),
        range: FileRange,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let asked = asked("fallocate", inode);
        let Some(held) = self.files.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        let Some(wanted) = wanted(mode) else {
            return reply.error(Errno::EOPNOTSUPP);
        };
        // The kernel does not say, as it does of a write.
        let kill = request.uid() != 0;
        let work = async move {
            let file = &held.file;
            match wanted {
                Wanted::Space { keep_size } => file.allocate(range, keep_size, kill).await,
                Wanted::Zeros { keep_size } => file.punch(range, !keep_size, kill).await,
            }
        };
        self.answers.later(asked, reply, work, done);
    }
}
