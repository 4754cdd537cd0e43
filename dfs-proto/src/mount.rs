//! What a mount says of itself to people on its machine: JSON, to whoever connects to a socket that
//! it listens at, and nothing else.

use serde::{Deserialize, Serialize};

/// What a mount is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MountReport {
    /// The process.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    /// Requests of programs that have no answer yet, the oldest first; not all, if they are many.
    pub requests: Vec<Pending>,
    /// How many there are.
    pub requests_total: u64,
    /// What the mount itself waits for, the longest first; not all, if it is much.
    pub waits: Vec<Pending>,
}

/// Something that is not done yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// What, in words.
    pub what: String,
    /// The inode that it is about, if it is about one.
    pub inode: Option<u64>,
    /// For how long, in seconds.
    pub seconds: f64,
}

/// How the names begin (in the abstract namespace of Unix sockets) that processes listen at which
/// serve the mount with this device number, `major:minor`. The number of a mount that is gone is soon
/// that of another, and its process may still be there.
pub fn socket_names(device: &str) -> String {
    format!("dfs/mount/{device}/")
}

/// The name that a process listens at. It goes away with the process, however that ends.
pub fn socket_name(device: &str, pid: u32) -> String {
    format!("{}{pid}", socket_names(device))
}
