//! What can be set about a client.

use std::time::Duration;

/// What can be set about a client. `Settings::default()` suits a mount on an ordinary machine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses of the master, in the form of `dfs_proto::wire::Address`; the first that answers
    /// is used.
    pub master: Vec<String>,
    /// The machine this runs on: replicas on it are preferred.
    pub host: String,
    /// What this is, for `dfs status`: `mount of /home/ann/dfs`.
    pub purpose: String,
    /// How long an operation may take in all before it fails (never hang).
    pub operation_timeout: Duration,
    /// Bytes of blocks kept for reading, read-ahead included.
    pub cache_bytes: u64,
    /// Bytes written and not yet committed, over all files; writers wait above it.
    pub dirty_bytes: u64,
    /// The furthest that one reader is read ahead of.
    pub read_ahead_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            master: vec!["127.0.0.1:7400".to_owned()],
            host: String::new(),
            purpose: "library".to_owned(),
            operation_timeout: Duration::from_secs(75),
            cache_bytes: 256 << 20,
            dirty_bytes: 64 << 20,
            read_ahead_bytes: 16 << 20,
        }
    }
}
