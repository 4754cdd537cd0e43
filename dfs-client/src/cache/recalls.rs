//! Which inodes were recalled when, so that an answer that was asked for before is not kept.

use dfs_proto::id::InodeId;
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;

/// Inodes that are told apart; what is older counts as recalled.
const INODES_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

#[derive(Debug)]
struct World {
    inodes: LruCache<InodeId, u64>,
    /// The highest recall of those that are not told apart any more.
    floor: u64,
}

/// The last recall of each inode.
#[derive(Debug)]
pub(crate) struct Recalls(Mutex<World>);

impl Default for Recalls {
    fn default() -> Recalls {
        Recalls(Mutex::new(World {
            inodes: LruCache::new(INODES_MAX),
            floor: 0,
        }))
    }
}

impl Recalls {
    /// The `number`-th recall is of this inode.
    pub(crate) fn note(&self, inode: InodeId, number: u64) {
        let mut world = self.0.lock();
        if let Some((gone, number)) = world.inodes.push(inode, number)
            && gone != inode
        {
            world.floor = world.floor.max(number);
        }
    }

    /// Whether the inode was not recalled since the recall with this number.
    pub(crate) fn keeps(&self, inode: InodeId, stamp: u64) -> bool {
        let world = self.0.lock();
        let last = world.inodes.peek(&inode).copied();
        stamp >= last.unwrap_or(0).max(world.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_before_a_recall_is_not_kept_however_many_there_are() {
        let recalls = Recalls::default();
        recalls.note(InodeId(1), 5);
        assert!(!recalls.keeps(InodeId(1), 4) && recalls.keeps(InodeId(1), 5));
        assert!(recalls.keeps(InodeId(2), 0));
        for number in 0..20_000 {
            recalls.note(InodeId(100 + number), 6 + number);
        }
        assert!(!recalls.keeps(InodeId(1), 4));
        assert!(recalls.keeps(InodeId(1), 20_006));
    }
}
