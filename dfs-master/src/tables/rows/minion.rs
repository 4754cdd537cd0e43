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
    /// It is being drained.
    pub drains: bool,
}

/// As builds wrote it that could not drain.
#[derive(Deserialize)]
struct Version1 {
    registration: Registration,
    incarnation: u64,
}

impl Row for MinionRow {
    type Id<'a> = MinionId;
    const VERSION: u8 = 2;
    const WHAT: &'static str = "minion";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Minion(id)
    }

    fn upgrade(version: u8, bytes: &[u8]) -> Option<Self> {
        let (old, rest): (Version1, _) = match version {
            1 => postcard::take_from_bytes(bytes).ok()?,
            _ => return None,
        };
        rest.is_empty().then_some(MinionRow {
            registration: old.registration,
            incarnation: old.incarnation,
            drains: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{row, rows::golden};
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
            drains: true,
        };
        golden::check(
            MinionId(1),
            &row,
            "4d00000001",
            "02010201010103613a3101680001300102017003020104000301",
        );
        // What an older build wrote.
        let mut old = row::encode(&row, Vec::new());
        old.pop();
        old[0] = 1;
        let upgraded: MinionRow = row::decode(b"M", &old).expect("is read");
        let row = MinionRow {
            drains: false,
            ..row
        };
        assert_eq!(upgraded, row);
    }
}
