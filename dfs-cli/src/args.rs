//! The command line of `dfs`.

use clap::{Args, Parser, Subcommand};
use dfs_host::settings::{UnitError, parse_bytes, parse_duration};
use dfs_proto::id::FilesystemId;
use std::{num::ParseIntError, path::PathBuf, time::Duration};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for `status`: the master answered
  1  refused or not found; the message says why
  2  the command line is wrong
  3  no master answered in time
  4  `status --check`: the cluster needs attention
`check` has its own, added up as those of fsck(8) are:
  0  all is well
  1  something was not, and all or some of it was repaired
  4  something is not, and is left as it is
  8  something could not be looked at, or no master answered";

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
    /// Say what a file waits for, and what can be done about it
    Why(Named),
    /// Look whether everything is there, is right and fits together; repair what is not
    Check(Check),
    /// Limit what may be stored in and below a directory
    #[command(subcommand)]
    Quota(Quota),
    /// Say how many copies there are to be of what is in and below a directory
    #[command(subcommand)]
    Policy(Policy),
    /// List minions, and take one out: drain it, stop it, remove it
    #[command(subcommand)]
    Minion(Minion),
    /// Write all that the master knows to a file, as of now: names, not the bytes of blocks
    Backup(Backup),
    /// Make a data folder for a master from a backup
    Restore(Restore),
    /// Mount the file system on a directory
    Mount(Mount),
    /// Detach a mount; also one whose daemon is dead or busy
    Umount(Umount),
    /// List the mounts of this machine, and what each waits for
    Mounts(Mounts),
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
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) master: Master,

    /// Repair what can be, and wait until it is; without it, damaged replicas are made anew as well, but
    /// not waited for
    #[arg(long)]
    pub(crate) repair: bool,

    /// Read no bytes: only look whether every replica is there and as long as it should be
    #[arg(long)]
    pub(crate) quick: bool,

    /// Make no way for others
    #[arg(long)]
    pub(crate) hurry: bool,

    /// Print what was found as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with quotas.
#[derive(Debug, Subcommand)]
pub(crate) enum Quota {
    /// Give a directory a quota, or other limits; a limit that is not named stays
    Set(QuotaSet),
    /// Show the quotas that a path is counted in, the nearest first
    Show(Named),
    /// List all quotas
    List(QuotaList),
    /// Take the quota of a directory away
    Remove(Named),
}

#[derive(Debug, Args)]
pub(crate) struct QuotaSet {
    #[command(flatten)]
    pub(crate) named: Named,

    /// Bytes that may be stored in and below it, in one copy, like 10GiB; `none` for no limit
    #[arg(long, value_name = "SIZE", value_parser = parse_limit, required_unless_present = "inodes")]
    pub(crate) bytes: Option<Limit>,

    /// Files, directories and links that may be in and below it, itself included; `none` for no limit
    #[arg(long, value_name = "NUMBER", value_parser = parse_count)]
    pub(crate) inodes: Option<Limit>,
}

#[derive(Debug, Args)]
pub(crate) struct QuotaList {
    #[command(flatten)]
    pub(crate) master: Master,
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Give a directory a policy: what is in and below it gets so many copies, new and old
    Set(PolicySet),
    /// Show under which policy a path is
    Show(Named),
    /// List all policies
    List(PolicyList),
    /// Take the policy of a directory away: that of the one above counts again
    Remove(Named),
}

#[derive(Debug, Args)]
pub(crate) struct PolicySet {
    #[command(flatten)]
    pub(crate) named: Named,

    /// Copies of each block, or as many as there are minions
    #[arg(long, value_name = "NUMBER")]
    pub(crate) copies: u32,

    /// Copies without which nothing is written [default: 2, or as many as there are copies]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) copies_min: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct PolicyList {
    #[command(flatten)]
    pub(crate) master: Master,
}

/// What to do with minions.
#[derive(Debug, Subcommand)]
pub(crate) enum Minion {
    /// List them, as `dfs status` does
    List(MinionList),
    /// Give one no more blocks, and copy what it has to others
    Drain(MinionDrain),
    /// Let one be as others again
    Undrain(MinionNamed),
    /// Forget one that was drained and stopped, or is dead for good
    Remove(MinionRemove),
}

#[derive(Debug, Args)]
pub(crate) struct MinionList {
    #[command(flatten)]
    pub(crate) master: Master,
}

#[derive(Debug, Args)]
pub(crate) struct MinionNamed {
    #[command(flatten)]
    pub(crate) master: Master,

    /// Its number, as `dfs minion list` shows it
    pub(crate) minion: u32,
}

#[derive(Debug, Args)]
pub(crate) struct MinionDrain {
    #[command(flatten)]
    pub(crate) one: MinionNamed,

    /// Wait until it is drained, and say how far it is
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MinionRemove {
    #[command(flatten)]
    pub(crate) one: MinionNamed,

    /// Also if blocks have no copy on others: they are lost then, unless the minion comes back
    #[arg(long)]
    pub(crate) lose_blocks: bool,
}

/// A limit, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limit(pub(crate) Option<u64>);

fn parse_limit(text: &str) -> Result<Limit, UnitError> {
    match text {
        "none" => Ok(Limit(None)),
        size => parse_bytes(size).map(|bytes| Limit(Some(bytes))),
    }
}

fn parse_count(text: &str) -> Result<Limit, ParseIntError> {
    match text {
        "none" => Ok(Limit(None)),
        number => number.parse().map(|number| Limit(Some(number))),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) master: Master,

    /// The file; there must be none yet
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    pub(crate) file: PathBuf,

    /// Folder to make: an empty one, or none yet
    #[arg(long)]
    pub(crate) data: PathBuf,

    /// The file system that is meant, as `dfs status` shows it; any other is refused
    #[arg(long, value_name = "ID")]
    pub(crate) filesystem: Option<FilesystemId>,
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

    /// Cut everybody off who uses it, detach it and end its process, whatever that does; what was
    /// written and not yet sent is lost (as root)
    #[arg(short, long, conflicts_with = "lazy")]
    pub(crate) force: bool,

    /// How long to wait until the mount has sent what it still holds
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Mounts {
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
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

    #[test]
    fn a_quota_has_a_limit() {
        let line = |text: &str| Line::try_parse_from(text.split(' '));
        assert!(line("dfs quota set /a").is_err());
        assert!(line("dfs quota set /a --bytes 10x").is_err());
        let set = line("dfs quota set /a --bytes 10G --inodes none").expect("is right");
        let Command::Quota(Quota::Set(set)) = set.command else {
            panic!("{set:?}");
        };
        let limits = (set.bytes, set.inodes);
        assert_eq!(limits, (Some(Limit(Some(10 << 30))), Some(Limit(None))));
    }
}
