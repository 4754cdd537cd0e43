//! Asks the process of a mount what it is doing, past the mount point.
//!
//! Anybody may listen at any name in the abstract namespace of sockets: who answers is believed if it
//! is root or whoever has mounted this. Which process that is the kernel says, and not the process:
//! root may be about to end it.

use super::{
    Mount,
    daemon::{daemon_of, frozen},
};
use dfs_proto::mount::{MountReport, socket_names};
use std::{fs, io, os::unix::fs::MetadataExt, time::Duration};
use tokio::{io::AsyncReadExt, net::UnixStream, time::timeout};

/// How long a mount may take to say what it is doing; it has that at hand.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// No answer is longer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// How a mount is.
#[derive(Debug)]
pub(crate) enum State {
    /// It answers.
    Serves(MountReport),
    /// Its process is stopped.
    Frozen {
        /// The process.
        pid: u32,
        /// Requests that wait in the kernel, if it says.
        waiting: Option<u64>,
    },
    /// Its process is there and does not say what it does.
    Silent {
        /// The process.
        pid: u32,
        /// Requests that wait in the kernel, if it says.
        waiting: Option<u64>,
        /// What was tried, and what came of it.
        why: String,
    },
    /// No process serves it.
    Dead,
}

impl State {
    /// The process that serves it.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            State::Serves(report) => Some(report.pid),
            State::Frozen { pid, .. } | State::Silent { pid, .. } => Some(*pid),
            State::Dead => None,
        }
    }
}

/// How a mount is now.
pub(crate) async fn ask(mount: &Mount) -> State {
    let mut silent = None;
    for name in names(mount) {
        let mut peer = None;
        let asked = timeout(ANSWER_MAX, told(&name, mount, &mut peer)).await;
        let why = match asked {
            Ok(Ok(report)) => return State::Serves(report),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", ANSWER_MAX.as_millis()),
        };
        silent = peer.map(|pid| (pid, why)).or(silent);
    }
    let by_name = || {
        let pid = daemon_of(&mount.point)?;
        Some((pid, "it does not listen".to_owned()))
    };
    let Some((pid, why)) = silent.or_else(by_name) else {
        return State::Dead;
    };
    let waiting = fs::read_to_string(mount.connection().join("waiting")).ok();
    let waiting = waiting.and_then(|text| text.trim().parse().ok());
    match frozen(pid) {
        true => State::Frozen { pid, waiting },
        false => State::Silent { pid, waiting, why },
    }
}

/// The names that processes listen at for this mount, the last first.
fn names(mount: &Mount) -> Vec<String> {
    let sockets = fs::read("/proc/net/unix").unwrap_or_default();
    let sockets = String::from_utf8_lossy(&sockets);
    let begin = format!("@{}", socket_names(&mount.device));
    let names = sockets.lines().filter_map(|line| {
        let name = line.split_whitespace().last()?;
        name.starts_with(&begin).then(|| name[1..].to_owned())
    });
    let mut names: Vec<String> = names.collect();
    // Accepted connections have the name, too.
    names.sort_unstable();
    names.dedup();
    names.reverse();
    names
}

/// What whoever listens there says; who that is, as soon as it is known and to be believed.
async fn told(name: &str, mount: &Mount, peer: &mut Option<u32>) -> io::Result<MountReport> {
    let stream = UnixStream::connect(format!("\0{name}")).await?;
    let who = stream.peer_cred()?;
    if who.uid() != 0 && Some(who.uid()) != mount.user {
        return Err(io::Error::other("somebody else listens in its place"));
    }
    let pid = who.pid().and_then(|pid| u32::try_from(pid).ok());
    let pid = pid.ok_or_else(|| io::Error::other("nobody is known to listen"))?;
    // It may have ended and left its socket to others, and its number too.
    if fs::metadata(format!("/proc/{pid}"))?.uid() != who.uid() {
        return Err(io::Error::other("its process is somebody else's"));
    }
    *peer = Some(pid);
    if frozen(pid) {
        return Err(io::Error::other("it is stopped"));
    }
    let mut said = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut said).await?;
    match said.is_empty() {
        true => Err(io::Error::other(
            "it tells only root, and whoever mounted it",
        )),
        false => {
            let report: MountReport = serde_json::from_slice(&said)?;
            Ok(MountReport { pid, ..report })
        }
    }
}
