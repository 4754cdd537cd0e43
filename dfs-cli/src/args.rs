//! The command line of `dfs`.

use clap::{Args, Parser, Subcommand};
use dfs_host::settings::parse_duration;
use std::{path::PathBuf, time::Duration};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for `status`: the master answered
  1  refused or not found; the message says why
  2  the command line is wrong
  3  no master answered in time
  4  `status --check`: the cluster needs attention";

/// Look at and mount a dfs file system.
#[derive(Debug, Parser)]
#[command(name = "dfs", version, after_help = EXIT_CODES)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say how the cluster is: health, minions, endangered blocks, sessions, alarms
    Status(Status),
    /// List a directory
    Ls(Ls),
    /// Show what is known of a file or directory
    Stat(Named),
    /// Show where the bytes of a file are: extents, blocks, replicas by minion
    Locate(Named),
    /// Mount the file system on a directory
    Mount(Mount),
    /// Detach a mount; also one whose daemon is dead or busy
    Umount(Umount),
}

/// Which master to ask.
#[derive(Debug, Args)]
pub(crate) struct Master {
    /// Addresses of the masters, separated by commas [default: that of the mount that the path is
    /// in, else DFS_MASTER in the environment, else that of the mount that the current directory is
    /// in, else 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub(crate) master: Vec<String>,

    /// How long an answer may take
    #[arg(long, default_value = "900ms", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) master: Master,

    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Exit with 4 unless everything is well
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) master: Master,

    /// Path below a mount or, with --master or DFS_MASTER, absolute in the file system
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,

    /// Print in the order of the directory as it arrives: no waiting, no memory
    #[arg(short = 'U', long)]
    pub(crate) unsorted: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    #[command(flatten)]
    pub(crate) master: Master,

    /// Path below a mount or, with --master or DFS_MASTER, absolute in the file system
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Mount {
    /// An empty directory
    pub(crate) dir: PathBuf,

    /// Addresses of the masters, separated by commas
    #[arg(
        long,
        env = "DFS_MASTER",
        value_name = "ADDR",
        default_value = "127.0.0.1:7400"
    )]
    pub(crate) master: String,

    /// Mount options, separated by commas, as for mount(8)
    #[arg(short, value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,

    /// How long the mount may take to answer
    #[arg(long, default_value = "20s", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// Further arguments for dfs-fuse, after --
    #[arg(last = true)]
    pub(crate) rest: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Umount {
    /// The directory of the mount
    pub(crate) dir: PathBuf,

    /// Detach also when files on it are in use
    #[arg(short, long)]
    pub(crate) lazy: bool,

    /// How long to wait until the mount has sent what it still holds
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_documents_its_exit_codes() {
        Line::command().debug_assert();
        let help = Line::command().render_help().to_string();
        assert!(help.contains("Exit codes:"), "{help}");
    }
}
