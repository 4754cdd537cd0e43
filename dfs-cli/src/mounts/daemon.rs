//! The processes that serve mounts, as /proc has them.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

/// The processes of this machine.
pub(crate) fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The daemon that serves a mount, by its command line; none that sees other mounts than we do.
pub(crate) fn daemon_of(dir: &Path) -> Option<u32> {
    let ours = fs::read_link("/proc/self/ns/mnt").ok();
    let elsewhere = |pid: u32| {
        let theirs = fs::read_link(format!("/proc/{pid}/ns/mnt"));
        theirs.is_ok_and(|theirs| Some(theirs) != ours)
    };
    processes().find(|pid| serves(*pid, dir) && !elsewhere(*pid))
}

/// Whether a process is the living daemon of a mount.
fn serves(pid: u32, dir: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline"));
    line.is_ok_and(|line| is_daemon_of(&line, dir)) && lives(pid)
}

/// Whether a process has not ended.
pub(crate) fn lives(pid: u32) -> bool {
    !matches!(state(pid), None | Some(b'Z' | b'X'))
}

/// Whether a command line is that of the daemon of a mount.
fn is_daemon_of(line: &[u8], dir: &Path) -> bool {
    let mut words = line.split(|b| *b == 0);
    let program = words.next().unwrap_or_default();
    let named = program.rsplit(|b| *b == b'/').next() == Some(b"dfs-fuse");
    named && words.any(|word| word == dir.as_os_str().as_bytes())
}

/// Whether a process is stopped, and so will not end by itself.
pub(crate) fn frozen(pid: u32) -> bool {
    matches!(state(pid), Some(b'T' | b't'))
}

/// The state of a process: the letter after its name, which stands in brackets.
fn state(pid: u32) -> Option<u8> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_end = stat.iter().rposition(|b| *b == b')')?;
    stat.get(name_end + 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_are_known_by_their_command_line() {
        let dir = Path::new("/mnt/dfs");
        assert!(is_daemon_of(
            b"/usr/bin/dfs-fuse\0/mnt/dfs\0--master\0a:1\0",
            dir
        ));
        assert!(is_daemon_of(b"dfs-fuse\0--master\0a:1\0/mnt/dfs\0", dir));
        assert!(!is_daemon_of(b"/usr/bin/dfs-fuse\0/mnt/dfs2\0", dir));
        assert!(!is_daemon_of(b"/bin/vi\0/mnt/dfs\0", dir));
        assert!(!is_daemon_of(b"", dir));
    }

    #[test]
    fn this_process_runs() {
        assert!(!frozen(std::process::id()));
        assert!(state(std::process::id()).is_some());
        assert_eq!(state(u32::MAX), None);
    }
}
