//! What can be set at a minion: flags, `DFS_MINION_*` in the environment, keys of a TOML file.

use clap::Parser;
use dfs_host::{
    logs::LogSettings,
    settings::{parse_bytes, parse_duration},
};
use std::{path::PathBuf, time::Duration};

/// Keeps blocks of a dfs file system on the disks of this machine.
#[derive(Clone, Debug, Parser)]
#[command(name = "dfs-minion", version)]
pub struct Settings {
    /// Data directories, one for each disk, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "/var/lib/dfs/minion")]
    pub data: Vec<PathBuf>,

    /// Addresses of the masters, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:7400")]
    pub master: Vec<String>,

    /// Where to listen; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7500")]
    pub listen: String,

    /// What to tell others to dial [default: where it listens]
    #[arg(long)]
    pub advertise: Option<String>,

    /// Unix socket for those on this machine, or "none" [default: `socket` in the first data
    /// directory]
    #[arg(long)]
    pub socket: Option<String>,

    /// Name of this machine: copies of a block go to different ones [default: the host name]
    #[arg(long)]
    pub host: Option<String>,

    /// Rack of this machine, where there are racks
    #[arg(long, default_value = "")]
    pub rack: String,

    /// Space on each disk that no block may take [default: 2 % of it, 16 MiB to 1 GiB]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub reserve: Option<u64>,

    /// Threads for the blocking calls to each disk
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=64))]
    pub disk_threads: u16,

    /// Threads for everything else [default: half of the processors, 1 to 8]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: Option<u16>,

    /// Bytes of appends that may be in flight together
    #[arg(long, value_name = "BYTES", default_value = "48MiB", value_parser = parse_bytes)]
    pub flight: u64,

    /// Bytes in a second that copies, rewrites and other work nobody waits for may take; while
    /// requests come in an eighth of it, or half where a block has one copy left
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = parse_bytes)]
    pub background_rate: u64,

    /// All blocks are read and verified once in so long
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = parse_duration)]
    pub scrub_period: Duration,

    /// Take empty data directories as new disks although others of this minion are missing
    #[arg(long)]
    pub accept_new_disks: bool,

    /// How it logs.
    #[command(flatten)]
    pub logs: LogSettings,
}

/// The least bytes in a second for copies and other work that nobody waits for.
const BACKGROUND_RATE_MIN: u64 = 8 << 20;

impl Settings {
    /// Whether a minion can work with them; otherwise why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.background_rate {
            rate if rate < BACKGROUND_RATE_MIN => Err(format!(
                "--background-rate {rate} is too little: blocks that lose copies would wait too long for \
                 new ones; give at least 8MiB"
            )),
            _ => Ok(()),
        }
    }

    /// The defaults, for these data directories and these masters, on a free loopback port: what a
    /// test or a one-machine cluster wants.
    pub fn local(data: Vec<PathBuf>, master: Vec<String>) -> Settings {
        let mut settings = Settings::parse_from(["dfs-minion"]);
        settings.data = data;
        settings.master = master;
        "127.0.0.1:0".clone_into(&mut settings.listen);
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_slow_a_background_is_refused() {
        let of = |rate: &str| Settings::parse_from(["dfs-minion", "--background-rate", rate]);
        assert_eq!(of("8MiB").check(), Ok(()));
        let refused = of("7MiB").check().expect_err("too little");
        assert!(refused.contains("at least 8MiB"), "{refused}");
    }

    #[test]
    fn the_command_line_of_the_contract_is_understood() {
        let line = "dfs-minion --data /a,/b --master m:7400 --listen 127.0.0.1:0 --socket none \
                    --host h --rack r --reserve 1GiB --log-format json";
        let settings = Settings::parse_from(line.split_whitespace());
        assert_eq!(settings.data.len(), 2);
        assert_eq!(settings.reserve, Some(1 << 30));
        assert_eq!(settings.flight, 48 << 20);
        assert_eq!(settings.background_rate, 64 << 20);
        assert_eq!(settings.scrub_period, Duration::from_hours(14 * 24));
    }
}
