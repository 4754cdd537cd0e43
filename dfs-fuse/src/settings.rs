//! What can be set about a mount: flags, `DFS_FUSE_*` in the environment, keys of a TOML file.

use clap::Parser;
use dfs_host::{
    logs::LogSettings,
    settings::{parse_bytes, parse_duration},
};
use std::{path::PathBuf, time::Duration};

/// Mounts a dfs file system on a directory, and serves it until it is unmounted or told to stop.
///
/// Waits at most 10 s for the master, so that a wrong address is an error and not a hang; with
/// --retry it waits until the master is there. At SIGTERM it sends what was written (for at most
/// --stop-timeout), then detaches the directory, also when it is in use. A directory whose mount
/// has died is detached and mounted again.
#[derive(Clone, Debug, Parser)]
#[command(name = "dfs-fuse", version)]
pub struct Settings {
    /// The directory to mount on; it must be there and empty
    pub dir: PathBuf,

    /// Addresses of the masters, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7400")]
    pub master: Vec<String>,

    /// Mount options as mount(8) passes them: ro, noatime, nodiratime, nosuid, nodev, noexec, sync,
    /// dirsync and their opposites, nonempty (cover what is in the directory), private (for this
    /// user only). nosuid, nodev and relatime are the default; there is no strictatime
    #[arg(short = 'o', long = "options", value_delimiter = ',')]
    pub options: Vec<String>,

    /// Time after which an operation that the cluster does not answer fails
    #[arg(long, default_value = "75s", value_parser = parse_duration)]
    pub op_timeout: Duration,

    /// Time that sending what was written may take when the mount is told to stop
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub stop_timeout: Duration,

    /// Memory for blocks that were read or read ahead
    #[arg(long, default_value = "128MiB", value_parser = parse_bytes)]
    pub cache_bytes: u64,

    /// Memory for bytes that were written and not yet sent; writers wait beyond it
    #[arg(long, default_value = "64MiB", value_parser = parse_bytes)]
    pub dirty_bytes: u64,

    /// How far the kernel reads ahead, where this user may set it
    #[arg(long, default_value = "1MiB", value_parser = parse_bytes)]
    pub read_ahead: u64,

    /// Threads that take requests from the kernel
    #[arg(long, default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,

    /// Threads that talk to the cluster [default: half of the processors, at most 8]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub task_threads: Option<u16>,

    /// Give each of these threads a queue of its own (for machines with many cores)
    #[arg(long)]
    pub clone_fd: bool,

    /// Name of this machine: replicas on it are read first [default: the host name]
    #[arg(long)]
    pub host: Option<String>,

    /// Wait for the master as long as it takes
    #[arg(long)]
    pub retry: bool,

    /// What is logged, and how
    #[command(flatten)]
    pub logs: LogSettings,
}

impl Settings {
    /// The defaults, for this directory and these masters: what a test wants.
    pub fn local(dir: PathBuf, master: Vec<String>) -> Settings {
        let mut settings = Settings::parse_from(["dfs-fuse", "/"]);
        settings.dir = dir;
        settings.master = master;
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_at_commas() {
        let line = ["dfs-fuse", "/mnt", "-o", "rw,noatime", "-o", "nodev"];
        let settings = Settings::try_parse_from(line).expect("parses");
        assert_eq!(settings.options, ["rw", "noatime", "nodev"]);
    }
}
