//! Why a command was not done, in sentences with a remedy, and its exit code.

use dfs_proto::{error::FsError, id::MinionId};
use std::{io, path::PathBuf, time::Duration};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No master answered.
    #[error(
        "no master answers: {why}\n\
         asked because {asked}; check that dfs-master runs there, or name another with --master"
    )]
    Unreachable {
        /// What each attempt said.
        why: String,
        /// Why this address was asked.
        asked: String,
    },
    /// An address that is none.
    #[error("{0}")]
    Address(#[from] dfs_proto::wire::NotAnAddress),
    /// The master refused.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Why not.
        source: FsError,
    },
    /// It was drained, and somebody changed that.
    #[error("minion {0} is drained no more: somebody has undrained or removed it")]
    NotDrained(MinionId),
    /// A relative path that is in no mount, with a master named.
    #[error(
        "{} is not absolute: with --master (or DFS_MASTER), paths begin at the root of the file \
         system, like /home", .0.display()
    )]
    NotAbsolute(PathBuf),
    /// A path that is in no mount, and no master named.
    #[error(
        "{} is in no dfs mount: give a path below one (`dfs mounts` lists them), or \
         --master ADDR and a path that begins at the root of the file system", .0.display()
    )]
    NotMounted(PathBuf),
    /// A symbolic link that cannot be followed there.
    #[error("{link} is a link to {target}, which is outside of the file system")]
    LeadsOut {
        /// The link.
        link: String,
        /// Where it leads.
        target: String,
    },
    /// Too many links in one path.
    #[error("{0}: too many symbolic links")]
    Loop(String),
    /// This machine said no.
    #[error("cannot {doing}: {source}")]
    Machine {
        /// What was tried.
        doing: String,
        /// What it said.
        source: io::Error,
    },
    /// A directory that cannot be mounted on.
    #[error("cannot mount on {}: {why}", .dir.display())]
    CannotMount {
        /// Which.
        dir: PathBuf,
        /// Why, with the remedy.
        why: String,
    },
    /// No mount of ours.
    #[error("{} is no dfs mount; `dfs mounts` lists them", .0.display())]
    NoMount(PathBuf),
    /// It is in use.
    #[error(
        "{} is in use{who}; leave it, or detach it from the tree anyway with \
         `dfs umount --lazy`, or cut them off with \
         `dfs umount --force`: what was not sent is lost then", .dir.display()
    )]
    Busy {
        /// The mount.
        dir: PathBuf,
        /// Programs that use it, if they are known.
        who: String,
    },
    /// It could not be detached.
    #[error("cannot detach {}: {why}", .dir.display())]
    CannotUmount {
        /// The mount.
        dir: PathBuf,
        /// What was said.
        why: String,
    },
    /// Detached, but the daemon still sends.
    #[error(
        "{} is detached, but after {} s its daemon (pid {pid}) still sends what was written: let \
         it finish", .dir.display(), .waited.as_secs()
    )]
    StillFlushing {
        /// The mount.
        dir: PathBuf,
        /// Its daemon.
        pid: u32,
        /// How long it was waited for.
        waited: Duration,
    },
    /// A file that is there.
    #[error("{} is there already: name another file", .0.display())]
    Exists(PathBuf),
    /// dfs-master has not made a folder, and said why.
    #[error("nothing was restored")]
    NotRestored,
    /// Nobody reads what is printed: no failure of ours.
    #[error("nobody reads the output")]
    OutputClosed,
    /// `check` found something.
    #[error("{said}")]
    Found {
        /// What it comes to.
        said: String,
        /// The exit code.
        code: u8,
    },
    /// `check` could not begin, or not go on.
    #[error("the check could not be carried out: {0}")]
    Unchecked(Box<Failure>),
    /// `status --check` found something.
    #[error("the cluster needs attention")]
    NeedsAttention,
}

impl Failure {
    /// The exit code, as `dfs --help` lists them.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::OutputClosed => 0,
            Failure::Address(_) | Failure::NotAbsolute(_) => 2,
            Failure::Unreachable { .. } => 3,
            Failure::NeedsAttention => 4,
            Failure::Found { code, .. } => *code,
            Failure::Unchecked(why) => match why.code() {
                0 => 0,
                2 => 2,
                _ => 8,
            },
            Failure::Refused { .. }
            | Failure::NotDrained(_)
            | Failure::NotMounted(_)
            | Failure::LeadsOut { .. }
            | Failure::Loop(_)
            | Failure::Machine { .. }
            | Failure::CannotMount { .. }
            | Failure::NoMount(_)
            | Failure::Busy { .. }
            | Failure::CannotUmount { .. }
            | Failure::StillFlushing { .. }
            | Failure::Exists(_)
            | Failure::NotRestored => 1,
        }
    }
}

/// Adds what was tried to an error of this machine.
pub(crate) fn machine(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    let doing = doing.into();
    move |source| match source.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Machine { doing, source },
    }
}
