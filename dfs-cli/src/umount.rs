//! `dfs umount`: detaches a mount, whatever state its daemon is in.
//!
//! Touches nothing below the mount point, so that a dead or frozen daemon cannot make it wait. When
//! the daemon lives, waits until it has sent what was written; when it does not, detaches lazily.

use crate::{args, failure::Failure, mounts};
use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tokio::time::timeout;

/// How long detaching may take before it is done lazily: a frozen daemon must not hold it up.
const DETACH_TIMEOUT: Duration = Duration::from_millis(600);

/// How often a daemon that is still sending is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs `dfs umount`.
pub(crate) async fn run(args: &args::Umount) -> Result<(), Failure> {
    let dir = point(&args.dir)?;
    let daemon = daemon_of(&dir);
    if args.lazy {
        detach(&dir, true).await?;
    } else {
        match timeout(DETACH_TIMEOUT, detach(&dir, false)).await {
            Ok(Ok(())) => {}
            // With nobody there to serve them, files in use are of no use to anyone.
            Ok(Err(Failure::Busy { .. })) if daemon.is_none() => detach(&dir, true).await?,
            Ok(Err(refused)) => return Err(refused),
            Err(_) => detach(&dir, true).await?,
        }
    }
    let Some(pid) = daemon else { return Ok(()) };
    if frozen(pid) {
        return Ok(());
    }
    let gone = async {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        while serves(pid, &dir) {
            look.tick().await;
        }
    };
    match timeout(args.timeout, gone).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Failure::StillFlushing {
            dir,
            pid,
            waited: args.timeout,
        }),
    }
}

/// The mount point that is meant.
fn point(dir: &Path) -> Result<PathBuf, Failure> {
    let no_mount = || Failure::NoMount(dir.to_owned());
    let absolute = std::path::absolute(dir).map_err(|_| no_mount())?;
    let mounts = mounts::all().unwrap_or_default();
    let (mount, below) =
        mounts::enter(&absolute, &mounts, |at| fs::read_link(at).ok()).ok_or_else(no_mount)?;
    match below == mount.root {
        true => Ok(mount.point.clone()),
        false => Err(no_mount()),
    }
}

/// Asks fusermount3, which ordinary users may use too, and umount where it is missing.
async fn detach(dir: &Path, lazy: bool) -> Result<(), Failure> {
    let (fuse, plain): (&[&str], &[&str]) = match lazy {
        true => (&["-u", "-z", "--"], &["-i", "-l", "--"]),
        false => (&["-u", "--"], &["-i", "--"]),
    };
    let mut said = String::new();
    for (program, flags) in [("fusermount3", fuse), ("umount", plain)] {
        let mut command = Command::new(program);
        command.args(flags).arg(dir).env("LC_ALL", "C");
        command.stdin(Stdio::null());
        // On a thread that is left behind where it takes too long.
        let output = tokio::task::spawn_blocking(move || command.output());
        match output.await.map_err(io::Error::from).flatten() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                if said.contains("busy") {
                    return Err(Failure::Busy {
                        dir: dir.to_owned(),
                        who: users_of(dir),
                    });
                }
            }
            Err(error) if said.is_empty() => said = format!("{program}: {error}"),
            Err(_) => {}
        }
    }
    Err(Failure::CannotUmount {
        dir: dir.to_owned(),
        why: said,
    })
}

/// The processes of this machine.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The daemon that serves a mount.
fn daemon_of(dir: &Path) -> Option<u32> {
    processes().find(|pid| serves(*pid, dir))
}

/// Whether a process is the living daemon of a mount.
fn serves(pid: u32, dir: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    is_daemon_of(&line, dir) && !matches!(state(pid), None | Some(b'Z' | b'X'))
}

/// Whether a command line is that of the daemon of a mount.
fn is_daemon_of(line: &[u8], dir: &Path) -> bool {
    let mut words = line.split(|b| *b == 0);
    let program = words.next().unwrap_or_default();
    let named = program.rsplit(|b| *b == b'/').next() == Some(b"dfs-fuse");
    named && words.any(|word| word == dir.as_os_str().as_bytes())
}

/// Whether a process is stopped, and so will not end by itself.
fn frozen(pid: u32) -> bool {
    matches!(state(pid), Some(b'T' | b't'))
}

/// The state of a process: the letter after its name, which stands in brackets.
fn state(pid: u32) -> Option<u8> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_end = stat.iter().rposition(|b| *b == b')')?;
    stat.get(name_end + 2).copied()
}

/// Says which processes have their current directory or open files in a mount, as far as this user
/// may see.
fn users_of(dir: &Path) -> String {
    let mut users = Vec::new();
    for pid in processes() {
        let open = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let open = open.flatten().map(|entry| entry.path());
        let mut links = [format!("/proc/{pid}/cwd").into()].into_iter().chain(open);
        if links.any(|link: PathBuf| fs::read_link(link).is_ok_and(|to| to.starts_with(dir))) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            users.push(format!("{} (pid {pid})", name.trim()));
        }
    }
    match users.is_empty() {
        true => String::new(),
        false => format!(" by {}", users.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mount_is_refused() {
        let error = point(Path::new("/etc")).expect_err("is no mount");
        assert!(error.to_string().contains("findmnt"), "{error}");
    }

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
