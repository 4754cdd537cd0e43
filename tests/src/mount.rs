//! A mount that comes down whatever happens: the daemon asked, then killed, the kernel's side
//! aborted, the mount point detached.

use crate::{kernel, process::Daemon, wait};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a mount may take to answer after its start.
const START: Duration = Duration::from_secs(20);

/// How long it may take to flush and leave.
const LEAVE: Duration = Duration::from_secs(90);

/// What statfs(2) says of a FUSE mount.
const FUSE_MAGIC: i64 = 0x6573_5546;

/// One dfs-fuse and its mount point.
#[derive(Debug)]
pub struct Mount {
    point: PathBuf,
    daemon: Daemon,
}

impl Mount {
    /// Mounts at `point` and waits until it answers.
    pub fn new(name: &str, point: &Path, master: &str, options: &[&str], log: PathBuf) -> Mount {
        let mut mount = Mount::to_be(name, point, master, options, log);
        mount.start();
        mount
    }

    /// A mount that is not started yet.
    pub fn to_be(name: &str, point: &Path, master: &str, options: &[&str], log: PathBuf) -> Mount {
        fs::create_dir_all(point).expect("a mount point");
        let mut arguments: Vec<OsString> = vec![point.into(), "--master".into(), master.into()];
        arguments.extend(["--log-format", "json"].map(OsString::from));
        arguments.extend(options.iter().map(OsString::from));
        Mount {
            point: point.to_path_buf(),
            daemon: Daemon::new(name, "dfs-fuse", arguments, log),
        }
    }

    /// Starts it, and waits until it answers. A dead mount point in its place is its own to clear.
    pub fn start(&mut self) {
        self.daemon.start();
        let point = self.point.clone();
        // A dead mount point does not answer statfs, and the folder below says that it is another
        // file system. The kernel gives the numbers of connections out again, so they cannot tell
        // the old one from the new.
        self.daemon.wait_ready(START, || {
            kernel::statfs(&point).is_ok_and(|(_, _, magic)| magic == FUSE_MAGIC)
        });
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// The daemon behind it.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// kill -9 of the daemon: the mount point stays, dead.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// kill -9, clears the dead mount point and mounts again.
    pub fn restart(&mut self) {
        self.kill();
        self.start();
    }

    /// Asks the daemon to flush and leave; its exit code.
    pub fn leave(&mut self) -> Option<i32> {
        self.daemon.terminate(LEAVE)
    }

    /// Requests that the kernel has sent and that are not answered.
    pub fn waiting(&self) -> Option<u64> {
        let connection = connection(&self.point)?;
        fs::read_to_string(control(connection, "waiting"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let connection = connection(&self.point);
        if self.daemon.runs() {
            self.daemon.thaw();
            let _ = kernel::signal(self.daemon.pid(), libc::SIGTERM);
            wait::poll(Duration::from_secs(5), || {
                (!self.daemon.runs()).then_some(())
            });
        }
        if let Some(connection) = connection {
            let _ = fs::write(control(connection, "abort"), "1");
        }
        self.daemon.kill();
        while connection_now(&self.point).is_some() {
            if kernel::detach(&self.point).is_err() {
                break;
            }
        }
    }
}

fn connection_now(point: &Path) -> Option<u32> {
    connection(point)
}

/// The number of the kernel's connection behind a FUSE mount point, read without touching it.
pub fn connection(point: &Path) -> Option<u32> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let of = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let kind = fields.iter().position(|field| *field == "-")? + 1;
        let is_it =
            fields.get(4) == Some(&point.to_str()?) && fields.get(kind)?.starts_with("fuse");
        is_it
            .then(|| fields[2].split_once(':')?.1.parse().ok())
            .flatten()
    };
    mounts.lines().rev().find_map(of)
}

fn control(connection: u32, file: &str) -> PathBuf {
    let control = Path::new("/sys/fs/fuse/connections");
    if fs::read_dir(control).is_ok_and(|mut entries| entries.next().is_none()) {
        crate::shell::run("mount -t fusectl none /sys/fs/fuse/connections");
    }
    control.join(connection.to_string()).join(file)
}
