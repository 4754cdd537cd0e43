//! The directory to mount on: what stands there now, and whether it may be used.
//!
//! A mount whose process has died stays in the way and fails every call with ENOTCONN. Such a one is
//! detached here if it is ours; a living one, or one of somebody else, never.

use super::device::{self, AttachError, FSTYPE};
use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long a mount may take to say that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Why a directory cannot be mounted on.
#[derive(Debug, thiserror::Error)]
pub enum PointError {
    /// It is not there.
    #[error("{0} does not exist: make it first (mkdir -p {0})")]
    Missing(PathBuf),
    /// It is something else.
    #[error("{0} is not a directory")]
    NotDirectory(PathBuf),
    /// A living mount is there.
    #[error(
        "{dir} is mounted already, from {source_name}: unmount it first (dfs umount {dir}), or use it"
    )]
    Mounted {
        /// Where.
        dir: PathBuf,
        /// What.
        source_name: String,
    },
    /// A mount is there whose process is alive and silent.
    #[error(
        "{0} is mounted already, by a dfs-fuse that does not answer: end that process, then try again"
    )]
    Silent(PathBuf),
    /// Something else is mounted there and dead.
    #[error("{dir} has a dead mount of type {fstype}: unmount it first (umount -l {dir})")]
    DeadForeign {
        /// Where.
        dir: PathBuf,
        /// What.
        fstype: String,
    },
    /// There are files in it.
    #[error(
        "{0} is not empty, and mounting would hide what is in it: choose another directory, or say -o nonempty"
    )]
    NotEmpty(PathBuf),
    /// A dead mount of ours could not be detached.
    #[error("{dir} has a dead mount of ours that cannot be detached: {why}")]
    Stuck {
        /// Where.
        dir: PathBuf,
        /// Why.
        why: AttachError,
    },
    /// It could not be looked at.
    #[error("{dir}: {why}")]
    Io {
        /// Where.
        dir: PathBuf,
        /// Why.
        why: io::Error,
    },
}

/// A mount as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// `major:minor` of its device number.
    pub(crate) device: String,
    /// Its type.
    pub(crate) fstype: String,
    /// What is mounted.
    pub(crate) source: String,
}

/// Makes sure that `dir` can be mounted on, detaching a dead mount of ours; answers its full path.
pub(crate) fn prepare(dir: &Path, nonempty: bool) -> Result<PathBuf, PointError> {
    let failed = |why: io::Error| match why.kind() {
        io::ErrorKind::NotFound => PointError::Missing(dir.to_owned()),
        _ => PointError::Io {
            dir: dir.to_owned(),
            why,
        },
    };
    let path = dir.canonicalize().map_err(failed)?;
    while let Some(mounted) = at(&path).map_err(failed)? {
        let dead = match sign_of_life(&path) {
            Some(alive) => !alive,
            None => return Err(PointError::Silent(path)),
        };
        match (dead, mounted.fstype == FSTYPE) {
            (true, true) => {
                tracing::info!(
                    "detaching a dead mount of {} from {}",
                    mounted.source,
                    path.display()
                );
                let stuck = |why| PointError::Stuck {
                    dir: path.clone(),
                    why,
                };
                device::detach(&path).map_err(stuck)?;
            }
            (true, false) => {
                return Err(PointError::DeadForeign {
                    dir: path,
                    fstype: mounted.fstype,
                });
            }
            (false, true) => {
                return Err(PointError::Mounted {
                    dir: path,
                    source_name: mounted.source,
                });
            }
            (false, false) => break,
        }
    }
    if !path.is_dir() {
        return Err(PointError::NotDirectory(path));
    }
    if !nonempty && path.read_dir().map_err(failed)?.next().is_some() {
        return Err(PointError::NotEmpty(path));
    }
    Ok(path)
}

/// What is mounted on `path`, on top of all else.
pub(crate) fn at(path: &Path) -> io::Result<Option<Mounted>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(top(&table, path))
}

/// Whether a mount answers; `None` if that takes too long. Asked in a thread of its own, since the
/// call can hang for as long as a process does not answer.
pub(crate) fn sign_of_life(path: &Path) -> Option<bool> {
    let (tell, told) = mpsc::sync_channel(1);
    let path = path.to_owned();
    thread::spawn(move || {
        // Not stat: the kernel answers that from the attributes that the dead process gave it, for
        // as long as they last. The figures of statfs are never kept.
        let alive = nix::sys::statfs::statfs(&path).err() != Some(nix::errno::Errno::ENOTCONN);
        // Nobody listens any more if it took too long.
        let _ = tell.send(alive);
    });
    told.recv_timeout(SIGN_OF_LIFE).ok()
}

/// The last line of a mountinfo table (proc_pid_mountinfo(5)) that is about `path`.
fn top(table: &[u8], path: &Path) -> Option<Mounted> {
    let lines = table.split(|&byte| byte == b'\n');
    let mut mounts = lines.rev().filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let separator = fields.iter().position(|field| *field == b"-")?;
        let text = |at: usize| {
            fields
                .get(at)
                .map(|f| String::from_utf8_lossy(f).into_owned())
        };
        let mounted = Mounted {
            device: text(2)?,
            fstype: text(separator + 1)?,
            source: text(separator + 2)?,
        };
        let on = PathBuf::from(OsString::from_vec(unescape(fields.get(4)?)));
        (on == path).then_some(mounted)
    });
    mounts.next()
}

/// Undoes the octal escapes of blanks in a mount table.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &rest[4..] } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
23 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 23 0:50 / /mnt/a\\040b rw,nosuid shared:3 - fuse.dfs dfs@127.0.0.1:7400 rw,user_id=0
41 23 0:51 / /mnt/a\\040b rw - tmpfs tmpfs rw
42 23 0:52 / /mnt/x rw - fuse.dfs dfs@[::1]:7400 rw
";

    #[test]
    fn the_topmost_mount_counts_and_blanks_are_unescaped() {
        let found = top(TABLE, Path::new("/mnt/a b")).expect("is mounted");
        assert_eq!(
            (found.fstype.as_str(), found.device.as_str()),
            ("tmpfs", "0:51")
        );
        let found = top(TABLE, Path::new("/mnt/x")).expect("is mounted");
        assert_eq!(
            (found.fstype.as_str(), found.source.as_str()),
            (FSTYPE, "dfs@[::1]:7400")
        );
        assert_eq!(top(TABLE, Path::new("/mnt")), None);
    }

    #[test]
    fn directories_that_cannot_be_used_are_named() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let missing = scratch.path().join("missing");
        assert!(matches!(
            prepare(&missing, false),
            Err(PointError::Missing(_))
        ));
        let file = scratch.path().join("file");
        std::fs::write(&file, "x").expect("writes");
        assert!(matches!(
            prepare(&file, false),
            Err(PointError::NotDirectory(_))
        ));
        let scratched = prepare(scratch.path(), false);
        assert!(matches!(scratched, Err(PointError::NotEmpty(_))));
        assert!(prepare(scratch.path(), true).is_ok());
        std::fs::remove_file(&file).expect("removes");
        assert!(prepare(scratch.path(), false).is_ok());
    }
}
