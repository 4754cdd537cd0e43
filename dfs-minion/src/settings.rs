//! What can be set at a minion: flags, `DFS_MINION_*` in the environment, keys of a TOML file.

use clap::Parser;
use std::{path::PathBuf, time::Duration};

/// Keeps blocks of a dfs file system on the disks of this machine.
#[derive(Clone, Debug, Parser)]
#[command(name = "dfs-minion", version)]
pub struct Settings {
    /// Data directories, one for each disk, separated by commas
    #[arg(
        long,
        env = "DFS_MINION_DATA",
        value_delimiter = ',',
        default_value = "/var/lib/dfs/minion"
    )]
    pub data: Vec<PathBuf>,

    /// Addresses of the masters, separated by commas
    #[arg(
        long,
        env = "DFS_MINION_MASTER",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400"
    )]
    pub master: Vec<String>,

    /// Where to listen; port 0 picks a free one
    #[arg(long, env = "DFS_MINION_LISTEN", default_value = "127.0.0.1:7500")]
    pub listen: String,

    /// What to tell others to dial [default: where it listens]
    #[arg(long, env = "DFS_MINION_ADVERTISE")]
    pub advertise: Option<String>,

    /// Unix socket for clients on this machine, or "none" [default: `socket` in the first data
    /// directory]
    #[arg(long, env = "DFS_MINION_SOCKET")]
    pub socket: Option<String>,

    /// Name of this machine: copies of a block go to different ones [default: the host name]
    #[arg(long, env = "DFS_MINION_HOST")]
    pub host: Option<String>,

    /// Rack of this machine, where there are racks
    #[arg(long, env = "DFS_MINION_RACK", default_value = "")]
    pub rack: String,

    /// MiB on each disk that no block may take [default: 2 % of the disk, 16 to 1024]
    #[arg(long, env = "DFS_MINION_RESERVE_MIB")]
    pub reserve_mib: Option<u64>,

    /// Threads for the blocking calls to each disk
    #[arg(long, env = "DFS_MINION_DISK_THREADS", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(2..=64))]
    pub disk_threads: u16,

    /// MiB of bytes in flight that appends and reads may hold in memory together
    #[arg(long, env = "DFS_MINION_FLIGHT_MIB", default_value_t = 48,
          value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub flight_mib: u32,
}

impl Settings {
    /// The defaults, for these data directories and these masters, on a free loopback port: what a
    /// test or a one-machine cluster wants.
    pub fn local(data: Vec<PathBuf>, master: Vec<String>) -> Settings {
        let mut settings = Settings::parse_from(["dfs-minion"]);
        settings.data = data;
        settings.master = master;
        "127.0.0.1:0".clone_into(&mut settings.listen);
        settings
    }

    /// How long appends wait for the one before them.
    pub const PREDECESSOR_WAIT: Duration = Duration::from_secs(1);
}
