//! `dfs mount`: starts the mount's daemon, waits until it serves, and leaves it running.
//!
//! Readiness is what the daemon tells a service manager: it is given a socket of ours for that. A
//! daemon that ends before is quoted.

use crate::{args, failure::Failure, mounts};
use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};
use tokio::{
    net::UnixDatagram,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

/// The daemon of a mount.
const DAEMON: &str = "dfs-fuse";

/// Runs `dfs mount`.
pub(crate) async fn run(args: &args::Mount) -> Result<(), Failure> {
    let cannot = |why: String| Failure::CannotMount {
        dir: args.dir.clone(),
        why,
    };
    let dir = free(&args.dir).map_err(&cannot)?;
    let room = Room::new().map_err(|error| cannot(error.to_string()))?;
    let socket = room.path.join("ready");
    let log = log_file(&dir).map_err(&cannot)?;
    let logged = fs::metadata(&log).map_or(0, |known| known.len());
    let ready = UnixDatagram::bind(&socket).map_err(|error| cannot(error.to_string()))?;
    let child = start(args, &dir, &socket, &log).map_err(&cannot)?;
    match timeout(args.timeout, outcome(ready, child)).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(status))) => {
            let said = said_since(&log, logged);
            Err(cannot(format!("{DAEMON} ended ({status})\n{said}")))
        }
        Ok(Err(error)) => Err(cannot(error.to_string())),
        Err(_) => Err(cannot(format!(
            "{DAEMON} does not serve after {} s; it goes on trying, and logs to {}",
            args.timeout.as_secs(),
            log.display()
        ))),
    }
}

/// The absolute path of a directory that can be mounted on.
fn free(dir: &Path) -> Result<PathBuf, String> {
    let absolute = std::path::absolute(dir).map_err(|error| error.to_string())?;
    let mounts = mounts::all().map_err(|error| error.to_string())?;
    // A dead mount of ours would not answer for its directory; the daemon detaches it first.
    let mounted = mounts.iter().rev().find(|mount| mount.point == absolute);
    match mounted.map(|mount| &mount.master) {
        Some(Some(_)) => return Ok(absolute),
        Some(None) => return Err("another file system is mounted there".to_owned()),
        None => {}
    }
    let canonical = fs::canonicalize(&absolute)
        .map_err(|error| format!("{error}; make the directory first"))?;
    let mut entries = fs::read_dir(&canonical).map_err(|error| error.to_string())?;
    match entries.next() {
        None => Ok(canonical),
        Some(_) => Err("it is not empty; name an empty directory".to_owned()),
    }
}

/// Where another program of ours is: beside this one, or wherever PATH leads.
pub(crate) fn program(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|exe| Some(exe.parent()?.join(name)));
    let there = beside.filter(|path| path.exists());
    there.unwrap_or_else(|| PathBuf::from(name))
}

fn start(args: &args::Mount, dir: &Path, socket: &Path, log: &Path) -> Result<Child, String> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log);
    let log = log.map_err(|error| error.to_string())?;
    let program = program(DAEMON);
    let mut command = Command::new(&program);
    command.arg(dir).args(["--master", &args.master]);
    for options in &args.options {
        command.args(["-o", options]);
    }
    command.args(&args.rest);
    command.env("NOTIFY_SOCKET", socket);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    // A group of its own, so that Ctrl-C in this terminal is not meant for it.
    command.process_group(0);
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{DAEMON} is not installed: it is not beside dfs, nor in PATH")
        }
        _ => format!("{}: {error}", program.display()),
    })
}

/// Where the daemon of this mount logs: XDG_STATE_HOME where that is set, else /var/log/dfs, or the
/// state folder of a user who may not write there.
fn log_file(dir: &Path) -> Result<PathBuf, String> {
    let of = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let folders = [
        of("XDG_STATE_HOME").map(|state| state.join("dfs")),
        Some(PathBuf::from("/var/log/dfs")),
        of("HOME").map(|home| home.join(".local/state/dfs")),
    ];
    let mut why = "no folder for the log: HOME is not set".to_owned();
    for folder in folders.into_iter().flatten() {
        let name = dir.to_string_lossy().trim_matches('/').replace('/', "-");
        let file = folder.join(format!("mount-{name}.log"));
        let made = fs::create_dir_all(&folder);
        let mut options = fs::OpenOptions::new();
        match made.and_then(|()| options.create(true).append(true).open(&file)) {
            Ok(_) => return Ok(file),
            Err(error) => why = format!("cannot log to {}: {error}", file.display()),
        }
    }
    Err(why)
}

/// What was logged after the first `logged` bytes.
fn said_since(log: &Path, logged: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let from = usize::try_from(logged)
        .unwrap_or(bytes.len())
        .min(bytes.len());
    String::from_utf8_lossy(&bytes[from..])
        .trim_end()
        .to_owned()
}

/// `None` when the daemon serves, or how it ended before.
async fn outcome(ready: UnixDatagram, mut child: Child) -> io::Result<Option<ExitStatus>> {
    let mut ended = signal(SignalKind::child())?;
    let mut message = [0; 4096];
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        tokio::select! {
            _ = ended.recv() => {}
            read = ready.recv(&mut message) => {
                if told_ready(&message[..read?]) {
                    return Ok(None);
                }
            }
        }
    }
}

fn told_ready(message: &[u8]) -> bool {
    message
        .split(|b| *b == b'\n')
        .any(|line| line == b"READY=1")
}

/// A folder for the socket, for as long as the start takes.
struct Room {
    path: PathBuf,
}

impl Room {
    fn new() -> io::Result<Room> {
        let path = std::env::temp_dir().join(format!("dfs-mount-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Room { path })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What is left of it harms nobody.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_must_be_there_and_empty() {
        let missing = free(Path::new("/nowhere/at/all")).expect_err("is missing");
        assert!(missing.contains("make the directory first"), "{missing}");
        let full = free(Path::new("/etc")).expect_err("is full");
        assert!(full.contains("not empty"), "{full}");
        let other = free(Path::new("/proc")).expect_err("is another file system");
        assert!(other.contains("another file system"), "{other}");
    }

    #[test]
    fn readiness_is_one_line_of_many() {
        assert!(told_ready(b"STATUS=up\nREADY=1\n"));
        assert!(!told_ready(b"STATUS=not READY=1"));
    }
}
