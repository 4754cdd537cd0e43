//! The ids that a leader gives out: its boot, and a count since.

use dfs_proto::id::{BlockId, InodeId, SessionId};
use std::sync::atomic::{AtomicU64, Ordering};

/// New ids of one leader.
#[derive(Debug)]
pub struct Ids {
    boot: u64,
    inodes: AtomicU64,
    blocks: AtomicU64,
    sessions: AtomicU64,
}

impl Ids {
    /// The ids of the leader of this boot. It must be logged, synced, before the first is given out
    /// (N6).
    pub fn of(boot: u64) -> Ids {
        let first = || AtomicU64::new(1);
        Ids {
            boot,
            inodes: first(),
            blocks: first(),
            sessions: first(),
        }
    }

    /// The count of this leader's start.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// A new inode's.
    pub fn inode(&self) -> InodeId {
        InodeId::of(self.boot, self.inodes.fetch_add(1, Ordering::Relaxed))
    }

    /// A new block's.
    pub fn block(&self) -> BlockId {
        BlockId::of(self.boot, self.blocks.fetch_add(1, Ordering::Relaxed))
    }

    /// A new session's.
    pub fn session(&self) -> SessionId {
        SessionId::of(self.boot, self.sessions.fetch_add(1, Ordering::Relaxed))
    }
}
