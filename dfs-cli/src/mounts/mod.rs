//! The mounts of this machine, as /proc/self/mountinfo lists them: which are ours, and which of
//! them a path is in.
//!
//! Answers without touching a mount, so that a dead one cannot make it wait.

mod ask;
mod command;
pub(crate) mod daemon;

pub(crate) use {
    ask::ask,
    command::{run, waiting},
};

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

/// What our mounts have for a type.
const TYPE: &str = "fuse.dfs";

/// What stands before the master's address in the source of our mounts.
const SOURCE: &str = "dfs@";

/// Symbolic links that one path may lead over.
const LINKS_MAX: u32 = 40;

/// A mount of this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mount {
    /// Where.
    pub(crate) point: PathBuf,
    /// Its device number, `major:minor`.
    pub(crate) device: String,
    /// Which part of the file system it shows: `/` unless it is a bind mount.
    pub(crate) root: PathBuf,
    /// Addresses of the master, if it is a mount of ours.
    pub(crate) master: Option<String>,
    /// The user who has mounted it, if it is a FUSE mount.
    pub(crate) user: Option<u32>,
}

impl Mount {
    /// Where the kernel shows its side of it, if it is a FUSE mount.
    pub(crate) fn connection(&self) -> PathBuf {
        let minor = self.device.rsplit(':').next().unwrap_or_default();
        Path::new("/sys/fs/fuse/connections").join(minor)
    }
}

/// All mounts of this machine, in the order in which they were made.
pub(crate) fn all() -> io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

fn parse(mountinfo: &[u8]) -> Vec<Mount> {
    mountinfo.split(|b| *b == b'\n').filter_map(mount).collect()
}

/// One line: id, parent, device, root, point, options, any number of fields, `-`, type, source.
fn mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let (kind, source) = (fields.get(dash + 1)?, fields.get(dash + 2)?);
    let source = unescaped(source).into_string().ok();
    let ours = (*kind == TYPE.as_bytes()).then_some(source).flatten();
    let options = fields.get(dash + 3).copied().unwrap_or_default();
    let mut options = options.split(|b| *b == b',');
    let user = options.find_map(|option| option.strip_prefix(b"user_id="));
    Some(Mount {
        point: unescaped(fields.get(4)?).into(),
        device: String::from_utf8_lossy(fields.get(2)?).into_owned(),
        root: unescaped(fields.get(3)?).into(),
        master: ours.and_then(|source| source.strip_prefix(SOURCE).map(str::to_owned)),
        user: user.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok()),
    })
}

/// Puts back the blanks that mountinfo writes as octal numbers.
fn unescaped(field: &[u8]) -> OsString {
    let mut out = Vec::new();
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = digits.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(out)
}

/// The mount that an absolute path without links is in: the deepest, and of those the last made.
pub(crate) fn mount_of<'a>(path: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.as_os_str().len())
}

/// Follows an absolute path until it enters a mount of ours; `None` if it never does. Says the
/// mount, and the path within its file system. Links before the mount are followed by `read_link`;
/// what lies in the mount is not touched, and `..` in it is taken as written.
pub(crate) fn enter<'a>(
    path: &Path,
    mounts: &'a [Mount],
    read_link: impl Fn(&Path) -> Option<PathBuf>,
) -> Option<(&'a Mount, PathBuf)> {
    let mut ahead: Vec<OsString> = parts(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        match part.as_bytes() {
            b".." => {
                at.pop();
                continue;
            }
            _ => at.push(&part),
        }
        if ours(&at, mounts).is_some() {
            continue;
        }
        if let Some(target) = read_link(&at) {
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            ahead.extend(parts(&target));
        }
    }
    let mount = ours(&at, mounts)?;
    let below = at.strip_prefix(&mount.point).ok()?;
    Some((mount, mount.root.join(below)))
}

fn ours<'a>(path: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    mount_of(path, mounts).filter(|mount| mount.master.is_some())
}

/// The names of a path and its `..`, the last first.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:41 / /mnt/dfs rw,nosuid - fuse.dfs dfs@10.0.0.1:7400 rw,user_id=0
31 22 0:42 / /mnt/my\\040files rw - fuse.dfs dfs@127.0.0.1:7401 rw
32 22 0:41 /sub /srv rw - fuse.dfs dfs@10.0.0.1:7400 rw
33 30 0:43 / /mnt/dfs/over rw shared:5 master:2 - tmpfs tmpfs rw
34 22 0:44 / /mnt/other rw - fuse.sshfs dfs@nobody rw

";

    fn find(path: &str) -> Option<(String, String)> {
        let mounts = parse(MOUNTINFO);
        let links = |at: &Path| match at.to_str()? {
            "/home/ann/link" => Some(PathBuf::from("/mnt/dfs/a")),
            "/home/ann/up" => Some(PathBuf::from("../../mnt")),
            "/home/ann/loop" => Some(PathBuf::from("loop")),
            "/mnt/dfs/over" | "/mnt/dfs/over/x" => None,
            inside if inside.starts_with("/mnt/dfs/") => panic!("touched {inside}"),
            _ => None,
        };
        let (mount, path) = enter(Path::new(path), &mounts, links)?;
        Some((mount.master.clone()?, path.to_str()?.to_owned()))
    }

    fn at(master: &str, path: &str) -> Option<(String, String)> {
        Some((master.to_owned(), path.to_owned()))
    }

    #[test]
    fn paths_below_a_mount_are_found() {
        assert_eq!(find("/mnt/dfs"), at("10.0.0.1:7400", "/"));
        assert_eq!(find("/mnt/dfs/a/./b//c"), at("10.0.0.1:7400", "/a/b/c"));
        assert_eq!(find("/mnt/my files/x"), at("127.0.0.1:7401", "/x"));
        assert_eq!(find("/srv/x"), at("10.0.0.1:7400", "/sub/x"));
    }

    #[test]
    fn paths_elsewhere_are_not() {
        for path in ["/", "/mnt", "/mnt/dfsx", "/mnt/other/x", "/mnt/dfs/over/x"] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn links_to_a_mount_are_followed_and_in_it_are_not_touched() {
        assert_eq!(find("/home/ann/link/b"), at("10.0.0.1:7400", "/a/b"));
        assert_eq!(find("/home/ann/up/dfs/b/../c"), at("10.0.0.1:7400", "/c"));
        assert_eq!(find("/mnt/dfs/../dfs/x"), at("10.0.0.1:7400", "/x"));
        assert_eq!(find("/home/ann/loop/x"), None);
    }

    #[test]
    fn what_is_no_mountinfo_is_passed_over() {
        assert!(parse(b"garbage\n1 2 3 - x\n").is_empty());
        assert_eq!(unescaped(b"a\\134b\\"), OsString::from("a\\b\\"));
    }
}
