//! `I inode`: an inode.

use crate::tables::{
    key::Key,
    row::{self, Row},
};
use dfs_proto::{
    attr::{Acls, Attr, FileKind},
    block::Copies,
    id::{BlockId, InodeId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// Where the bytes of an inode are. Never in two places.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// It has none: all that its size covers reads as zeros.
    Empty,
    /// In an inline row; shorter than the size where the rest is zeros.
    Inline,
    /// In extents; what none covers reads as zeros.
    Extents,
}

/// An inode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InodeRow {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names of it; a directory counts itself and its sub-directories too. 0 once it has no name.
    pub links: u32,
    /// Bytes of a file, of a link's target; entries of a directory.
    pub size: u64,
    /// Bytes of its inline row, or of the extents of its generation.
    pub stored: u64,
    /// Device number of a device.
    pub rdev: u32,
    /// Last read.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of anything; never goes backwards.
    pub ctime: Timestamp,
    /// When it was made.
    pub btime: Timestamp,
    /// Extended attributes.
    pub xattrs: u32,
    /// Which access-control lists are among them.
    pub acls: Acls,
    /// Counts the changes of content.
    pub data_version: u64,
    /// Counts the truncations.
    pub truncations: u32,
    /// The directory that a directory is in; of others, 0.
    pub parent: InodeId,
    /// The cookie that a directory gives to its next entry.
    pub next_cookie: u64,
    /// Sessions that hold it open.
    pub opens: u32,
    /// Where its bytes are.
    pub body: Body,
    /// The generation of its extents.
    pub generation: u32,
    /// Extents of its generation.
    pub extents: u32,
    /// Ends of block ranges that its extents named before they were known to be synced. An entry is
    /// settled when its block's `synced` has reached it; settled ones go at the next commit.
    pub unsynced: Vec<(BlockId, u32)>,
    /// The directory whose quota it is counted in, itself perhaps.
    pub quota: Option<InodeId>,
    /// The policy that it is under, its own perhaps.
    pub policy: Option<Copies>,
}

impl InodeRow {
    /// A new inode without a name, made at `now`.
    pub fn new(kind: FileKind, mode: u16, owner: (u32, u32), now: Timestamp) -> InodeRow {
        InodeRow {
            kind,
            mode,
            uid: owner.0,
            gid: owner.1,
            links: 0,
            size: 0,
            stored: 0,
            rdev: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattrs: 0,
            acls: Acls::default(),
            data_version: 0,
            truncations: 0,
            parent: InodeId(0),
            next_cookie: 1,
            opens: 0,
            body: Body::Empty,
            generation: 0,
            extents: 0,
            unsynced: Vec::new(),
            quota: None,
            policy: None,
        }
    }

    /// What stat(2) tells of it.
    pub fn attr(&self, inode: InodeId) -> Attr {
        Attr {
            inode,
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            links: self.links,
            size: self.size,
            stored: self.stored,
            rdev: self.rdev,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: self.btime,
            xattrs: self.xattrs,
            acls: self.acls,
            data_version: self.data_version,
            truncations: self.truncations,
            policy: self.policy,
        }
    }

    /// Whether nobody can reach it any more: it has no name, and is not open.
    pub fn is_gone(&self) -> bool {
        self.links == 0 && self.opens == 0
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// The moment to write down for a change that happens at `now`: later than what the master's
    /// clock has written here before, if that clock was set back (N7). `ctime` holds the latest,
    /// because no user can set it.
    pub fn moment(&self, now: Timestamp) -> Timestamp {
        now.max(self.ctime)
    }

    /// Notes a change of attributes.
    pub fn touch(&mut self, now: Timestamp) {
        self.ctime = self.moment(now);
    }

    /// Notes a change of content.
    pub fn modify(&mut self, now: Timestamp) {
        self.touch(now);
        self.mtime = self.ctime;
        self.data_version += 1;
    }
}

impl Row for InodeRow {
    type Id<'a> = InodeId;
    const VERSION: u8 = 2;
    const WHAT: &'static str = "inode";

    fn key<'a>(id: Self::Id<'a>) -> Key<'a> {
        Key::Inode(id)
    }

    fn upgrade(version: u8, bytes: &[u8]) -> Option<Self> {
        // Without a policy at its end.
        (version == 1).then(|| row::with_end(bytes, &[0])).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::golden;

    #[test]
    fn golden_bytes() {
        let now = Timestamp {
            seconds: 1_700_000_000,
            nanos: 5,
        };
        let row = InodeRow {
            links: 1,
            size: 300,
            stored: 300,
            unsynced: vec![(BlockId(9), 300)],
            body: Body::Extents,
            extents: 1,
            quota: Some(InodeId(300)),
            policy: Some(Copies {
                wanted: 4,
                least: 2,
            }),
            ..InodeRow::new(FileKind::File, 0o644, (1000, 100), now)
        };
        golden::check(
            InodeId(2),
            &row,
            "490000000000000002",
            "0200a403e8076401ac02ac020080c49fd50c0580c49fd50c0580c49fd50c0580c49fd50c0500000000000001000200010109ac0201ac02010402",
        );
        // What an older build wrote.
        let mut old = row::encode(&row, Vec::new());
        old.truncate(old.len() - 3);
        old[0] = 1;
        let upgraded: InodeRow = row::decode(b"I", &old).expect("is read");
        assert_eq!(
            upgraded,
            InodeRow {
                policy: None,
                ..row
            }
        );
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_take_times_back() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let mut row = InodeRow::new(FileKind::File, 0o644, (0, 0), at(100));
        row.mtime = at(7_000);
        row.modify(at(50));
        assert_eq!((row.mtime, row.ctime), (at(100), at(100)));
        row.modify(at(200));
        assert_eq!((row.mtime, row.ctime), (at(200), at(200)));
    }
}
