//! What a master can be told: command line, environment and TOML file, all under the same keys.

use clap::Parser;
use dfs_host::logs::LogSettings;
use std::path::PathBuf;

/// When the log is synced to disk, in a group of one. With more voters it is always before the
/// acknowledgement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum SyncMode {
    /// Changes that are part of an fsync before they are acknowledged; all others within 50 ms.
    #[default]
    Group,
    /// Every change before it is acknowledged.
    Always,
}

/// The settings of a master.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dfs-master",
    version,
    about = "Keeps the names of a dfs file system",
    after_help = "To make a data folder from what a minion keeps, or from a backup: \
                  dfs-master recover --help, dfs-master restore --help"
)]
pub struct Settings {
    /// Folder for the log, the tables and everything else this master keeps.
    #[arg(long, default_value = "/var/lib/dfs/master")]
    pub data: PathBuf,

    /// Where to listen: HOST:PORT (port 0 picks a free one); may be given several times.
    #[arg(long, default_value = "127.0.0.1:7400", value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Unix socket to listen on besides; `none` for none. Default: DATA/socket.
    #[arg(long)]
    pub socket: Option<String>,

    /// Copies of every block. Default: 3, or as many as there are minions.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub copies: Option<u32>,

    /// Copies without which nothing is written. Default: 2, or as many as there are copies.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub copies_min: Option<u32>,

    /// Seconds of silence after which a minion gets no new blocks, and readers prefer others
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=86_400))]
    pub suspect_after: u32,

    /// Seconds of silence after which a minion is dead: what it has counts as lost
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(3..=86_400))]
    pub dead_after: u32,

    /// Seconds of silence after which blocks of a dead minion are copied; at once where one copy is left
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(3..=604_800))]
    pub repair_after: u32,

    /// Seconds for which blocks are left alone that a recovered master knows nothing of
    #[arg(long, default_value_t = 604_800)]
    pub spare_unknown_for: u32,

    /// When the log is synced.
    #[arg(long, value_enum, default_value = "group")]
    pub sync: SyncMode,

    /// MiB of a segment of the log
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub log_segment_mib: u32,

    /// MiB of disk kept back for deletes and checkpoints when the disk is full
    #[arg(long, default_value_t = 256)]
    pub reserve_mib: u64,

    /// What is logged.
    #[command(flatten)]
    pub logs: LogSettings,
}

/// Settings that do not go together.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a minion cannot be suspect after {suspect} s (--suspect-after), dead after {dead} s \
     (--dead-after) and repaired after {repair} s (--repair-after): each must be longer than the one \
     before, the last at least as long"
)]
pub struct Impatient {
    /// Seconds.
    pub suspect: u32,
    /// Seconds.
    pub dead: u32,
    /// Seconds.
    pub repair: u32,
}

impl Settings {
    /// Whether the settings go together.
    pub fn check(&self) -> Result<(), Impatient> {
        let (suspect, dead, repair) = (self.suspect_after, self.dead_after, self.repair_after);
        match suspect < dead && dead <= repair {
            true => Ok(()),
            false => Err(Impatient {
                suspect,
                dead,
                repair,
            }),
        }
    }

    /// The defaults, for this data folder, on these addresses and no Unix socket, with a small
    /// reserve: what a test wants.
    pub fn local(data: PathBuf, listen: Vec<String>) -> Settings {
        let mut settings = Settings::parse_from(["dfs-master"]);
        settings.data = data;
        settings.listen = listen;
        settings.socket = Some("none".to_owned());
        settings.reserve_mib = 1;
        settings.log_segment_mib = 1;
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_silence_that_contradict_each_other_are_refused_and_named() {
        let of = |line: &str| Settings::parse_from(line.split_whitespace()).check();
        assert_eq!(of("dfs-master"), Ok(()));
        let short = "dfs-master --suspect-after 2 --dead-after 4 --repair-after";
        assert_eq!(of(&format!("{short} 4")), Ok(()));
        let refused = of(&format!("{short} 3")).expect_err("before it is dead");
        assert!(refused.to_string().contains("--repair-after"), "{refused}");
        assert!(of("dfs-master --suspect-after 30").is_err());
    }
}
