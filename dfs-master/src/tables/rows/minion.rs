//! `M minion`: a minion, as it introduced itself last.

use crate::tables::{key::Key, row::Row};
use dfs_proto::{id::MinionId, minion::Registration};
use serde::{Deserialize, Serialize};

/// A minion.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MinionRow {
    /// What it said of itself last.
    pub registration: Registration,
    /// Counts its registrations.
    pub incarnation: u64,
}

impl Row for MinionRow {
    type Id<'a> = MinionId;
    const WHAT: &'static str = "minion";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Minion(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;
    use dfs_proto::{
        id::{DiskId, FilesystemId},
        minion::DiskState,
    };

    #[test]
    fn golden_bytes() {
        let row = MinionRow {
            registration: Registration {
                filesystem: Some(FilesystemId(2)),
                minion: Some(MinionId(1)),
                addresses: vec!["a:1".to_owned()],
                host: "h".to_owned(),
                rack: String::new(),
                build: "0".to_owned(),
                disks: vec![DiskState {
                    disk: DiskId(2),
                    path: "p".to_owned(),
                    bytes_total: 3,
                    bytes_free: 2,
                    bytes_used: 1,
                    blocks: 4,
                    failed: None,
                }],
            },
            incarnation: 3,
        };
        golden::check(
            MinionId(1),
            &row,
            "4d00000001",
            "01010201010103613a31016800013001020170030201040003",
        );
    }
}
