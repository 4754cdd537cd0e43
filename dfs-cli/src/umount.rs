//! `dfs umount`: detaches a mount, whatever state its daemon is in.
//!
//! Touches nothing below the mount point, so that a dead or frozen daemon cannot make it wait. When
//! the daemon lives, waits until it has sent what was written; when it does not, detaches lazily.
//! By force, everybody who uses the mount is cut off, and its daemon does not outlive it.

use crate::{
    args,
    failure::Failure,
    mounts::{
        self, Mount,
        daemon::{frozen, lives, processes},
    },
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use tokio::time::timeout;

/// How long detaching may take before it is done lazily: a frozen daemon must not hold it up.
const DETACH_TIMEOUT: Duration = Duration::from_millis(600);

/// How often a daemon that is still sending is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Who is cut off by force has so long to end by himself.
const FORCED_END: Duration = Duration::from_secs(2);

/// Runs `dfs umount`.
pub(crate) async fn run(args: &args::Umount) -> Result<(), Failure> {
    let mount = mount(&args.dir)?;
    let dir = &mount.point;
    let daemon = mounts::ask(&mount).await.pid();
    if args.force {
        cut_off(&mount)?;
        detach(dir, true).await?;
        return match daemon {
            Some(pid) => end(pid, dir).await,
            None => Ok(()),
        };
    }
    if args.lazy {
        detach(dir, true).await?;
    } else {
        match timeout(DETACH_TIMEOUT, detach(dir, false)).await {
            Ok(Ok(())) => {}
            // With nobody there to serve them, files in use are of no use to anyone.
            Ok(Err(Failure::Busy { .. })) if daemon.is_none() => detach(dir, true).await?,
            Ok(Err(refused)) => return Err(refused),
            Err(_) => detach(dir, true).await?,
        }
    }
    let Some(pid) = daemon else { return Ok(()) };
    if frozen(pid) {
        return Ok(());
    }
    match timeout(args.timeout, gone(pid)).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Failure::StillFlushing {
            dir: dir.clone(),
            pid,
            waited: args.timeout,
        }),
    }
}

/// The mount that is meant.
fn mount(dir: &Path) -> Result<Mount, Failure> {
    let no_mount = || Failure::NoMount(dir.to_owned());
    let absolute = std::path::absolute(dir).map_err(|_| no_mount())?;
    let mounts = mounts::all().unwrap_or_default();
    let (mount, below) =
        mounts::enter(&absolute, &mounts, |at| fs::read_link(at).ok()).ok_or_else(no_mount)?;
    match below == mount.root {
        true => Ok(mount.clone()),
        false => Err(no_mount()),
    }
}

/// Has all calls that wait for the mount fail, and all that come.
fn cut_off(mount: &Mount) -> Result<(), Failure> {
    let refused = |why: String| Failure::CannotUmount {
        dir: mount.point.clone(),
        why,
    };
    if mount.root != Path::new("/") {
        let why =
            "it shows a part of a mount, and --force would cut off all of that; leave --force away";
        return Err(refused(why.to_owned()));
    }
    let knob = mount.connection().join("abort");
    match fs::write(&knob, "1") {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(refused(format!("{}: only root may", knob.display())))
        }
        // Where the kernel does not show it, the end of the process does the same.
        _ => Ok(()),
    }
}

/// Waits until a daemon is gone.
async fn gone(pid: u32) {
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    while lives(pid) {
        look.tick().await;
    }
}

/// Sees to it that a daemon that was cut off ends.
async fn end(pid: u32, dir: &Path) -> Result<(), Failure> {
    if !frozen(pid) && timeout(FORCED_END, gone(pid)).await.is_ok() {
        return Ok(());
    }
    let kill = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .output();
    match (kill, timeout(FORCED_END, gone(pid)).await) {
        (Ok(_), Ok(())) => Ok(()),
        _ => Err(Failure::StillFlushing {
            dir: dir.to_owned(),
            pid,
            waited: FORCED_END,
        }),
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
        let error = mount(Path::new("/etc")).expect_err("is no mount");
        assert!(error.to_string().contains("dfs mounts"), "{error}");
    }
}
