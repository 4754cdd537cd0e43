//! Attributes in the words of the kernel, and back.
//!
//! The times need care: fuser 0.18 hands over a moment before 1970 with the sign of its fraction
//! turned (`epoch - (seconds, nanos)` for what the kernel gave as seconds below zero and nanos
//! after them). [`moment`] undoes exactly that.

use dfs_proto::{
    attr::{Attr, FileKind, MODE_MASK, SetAttr, SetTime},
    time::Timestamp,
};
use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What st_blksize says: reads and writes of this size are cheap. One piece, so that the buffers
/// of stdio and of copying tools fill pieces.
pub(crate) const IO_BYTES: u32 = 64 << 10;

/// The unit of st_blocks.
const STAT_BLOCK_BYTES: u64 = 512;

/// What the kernel is told of an inode.
pub(crate) fn to_kernel(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.inode.0),
        size: attr.size,
        blocks: attr.stored.div_ceil(STAT_BLOCK_BYTES),
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.btime),
        kind: kind(attr.kind),
        perm: attr.mode,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: IO_BYTES,
        flags: 0,
    }
}

/// The attributes of nothing: an entry of inode 0 is how the kernel is told to remember that a name
/// is not there.
pub(crate) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// A kind in the words of the kernel.
pub(crate) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The permission bits of a mode.
pub(crate) fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & u32::from(MODE_MASK)).expect("masked to twelve bits")
}

/// What a FUSE setattr asks for, with the clearing of set-user-id bits that the kernel leaves to us
/// under HANDLE_KILLPRIV_V2: always when the owner or group is set (also to what it is: a setattr
/// that names nothing is chown(-1, -1)), and when the size is set by another user than root.
pub(crate) fn to_set(
    asked: (Option<u32>, Option<u32>, Option<u32>, Option<u64>),
    atime: Option<TimeOrNow>,
    mtime: Option<TimeOrNow>,
    caller_is_root: bool,
) -> SetAttr {
    let (mode, uid, gid, size) = asked;
    let owned = uid.is_some() || gid.is_some();
    let nothing = !owned && mode.is_none() && size.is_none() && atime.is_none() && mtime.is_none();
    SetAttr {
        mode: mode.map(permissions),
        uid,
        gid,
        size,
        atime: atime.map(set_time),
        mtime: mtime.map(set_time),
        kill_privileges: owned || nothing || (size.is_some() && !caller_is_root),
    }
}

fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(moment(time)),
    }
}

/// The moment that the kernel meant by what fuser made of it.
fn moment(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            Timestamp {
                seconds: i64::try_from(before.as_secs()).map_or(i64::MIN, |s| -s),
                nanos: before.subsec_nanos(),
            }
        }
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let second = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    let exact = second.and_then(|s| s.checked_add(Duration::from_nanos(u64::from(time.nanos))));
    exact.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fuser 0.18 makes of the seconds and nanoseconds of a setattr request.
    fn as_fuser_hands_over(seconds: i64, nanos: u32) -> SystemTime {
        if seconds >= 0 {
            UNIX_EPOCH + Duration::new(seconds.unsigned_abs(), nanos)
        } else {
            UNIX_EPOCH - Duration::new(seconds.unsigned_abs(), nanos)
        }
    }

    #[test]
    fn times_on_both_sides_of_1970_come_through() {
        for (seconds, nanos) in [(0, 0), (0, 5), (1 << 33, 999_999_999), (-1, 1), (-7, 0)] {
            let kept = moment(as_fuser_hands_over(seconds, nanos));
            assert_eq!(kept, Timestamp { seconds, nanos });
            let told = system_time(kept);
            let nanos_since = match told.duration_since(UNIX_EPOCH) {
                Ok(after) => i128::try_from(after.as_nanos()).expect("small"),
                Err(before) => -i128::try_from(before.duration().as_nanos()).expect("small"),
            };
            assert_eq!(nanos_since, kept.as_nanos());
        }
    }

    #[test]
    fn privileges_are_killed_as_the_kernel_would() {
        let kills = |mode, uid, size, root| {
            to_set((mode, uid, None, size), None, None, root).kill_privileges
        };
        assert!(!kills(Some(0o644), None, None, false));
        assert!(
            kills(None, Some(0), None, true),
            "chown clears for root too"
        );
        assert!(kills(None, None, None, true), "chown(-1, -1)");
        assert!(kills(None, None, Some(0), false));
        assert!(!kills(None, None, Some(0), true));
        let touch = to_set(
            (None, None, None, None),
            Some(TimeOrNow::Now),
            Some(TimeOrNow::Now),
            false,
        );
        assert!(!touch.kill_privileges);
    }

    #[test]
    fn modes_lose_their_file_type() {
        assert_eq!(permissions(0o104_755), 0o4755);
    }
}
