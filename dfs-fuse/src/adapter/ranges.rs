//! Ranges of files: given up, allocated, copied without moving a byte.

use super::shared::{Adapter, HeldFile, asked, done};
use dfs_client::Error;
use dfs_proto::extent::FileRange;
use fuser::{Errno, FileHandle, INodeNo, ReplyEmpty, ReplyWrite, Request};

/// Bytes that one copy may be asked for, in whole pages: the answer has 32 bits.
const COPY_BYTES_MAX: u64 = (u32::MAX - 4095) as u64;

/// A place in a file that the kernel holds open.
pub(super) type At = (INodeNo, FileHandle, u64);

/// What fallocate(2) asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// Makes what was done durable, where the file was opened to have that (O_SYNC).
async fn sync(held: &HeldFile) -> Result<(), Error> {
    match held.synced {
        Some(data_only) => held.file.fsync(data_only).await,
        None => Ok(()),
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
                Wanted::Space { keep_size } => file.allocate(range, keep_size, kill).await?,
                Wanted::Zeros { keep_size } => file.punch(range, !keep_size, kill).await?,
            }
            sync(&held).await
        };
        self.answers.later(asked, reply, work, done);
    }

    /// Copies a range of a file to another place, or as much of it as goes at once.
    pub(super) fn copy_range(
        &self,
        request: &Request,
        (_, source, from): At,
        (inode, handle, at): At,
        len: u64,
        reply: ReplyWrite,
    ) {
        let asked = asked("copy_file_range", inode);
        let (Some(source), Some(held)) = (self.files.get(source), self.files.get(handle)) else {
            return reply.error(Errno::EBADF);
        };
        let kill = request.uid() != 0;
        let range = (from, at, len.min(COPY_BYTES_MAX));
        let (dfs, invalidator) = (self.dfs.clone(), self.invalidator.clone());
        let work = async move {
            let copied = held.file.copy_from(&source.file, range, kill).await?;
            // After a read the kernel asks for the access time anew, and after a copy it does not.
            let read = source.file.inode();
            if copied > 0 && source.counted && dfs.accessed(read) {
                invalidator.attributes(read);
            }
            sync(&held).await?;
            Ok(copied)
        };
        self.answers
            .later(asked, reply, work, |reply, copied: u64| {
                reply.written(u32::try_from(copied).expect("no more than was asked for"));
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_bytes_is_refused() {
        let keep = libc::FALLOC_FL_KEEP_SIZE;
        let punch = libc::FALLOC_FL_PUNCH_HOLE;
        let zero = libc::FALLOC_FL_ZERO_RANGE;
        let space = |keep_size| Some(Wanted::Space { keep_size });
        let zeros = |keep_size| Some(Wanted::Zeros { keep_size });
        let table = [
            (0, space(false)),
            (keep, space(true)),
            (punch | keep, zeros(true)),
            (zero, zeros(false)),
            (zero | keep, zeros(true)),
            (punch, None),
            (punch | zero | keep, None),
            (libc::FALLOC_FL_COLLAPSE_RANGE, None),
            (libc::FALLOC_FL_INSERT_RANGE, None),
            (libc::FALLOC_FL_UNSHARE_RANGE | keep, None),
        ];
        for (mode, expected) in table {
            assert_eq!(wanted(mode), expected, "{mode:#x}");
        }
    }
}
