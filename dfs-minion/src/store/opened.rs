//! Open files and indexes of sealed blocks: a bounded cache, for there are thousands of blocks.

use super::index::Index;
use dfs_host::disk::DiskFile;
use dfs_proto::id::BlockId;
use lru::LruCache;
use parking_lot::Mutex;
use std::sync::Arc;

/// Files that are kept open, at the most.
const FILES_MAX: usize = 512;

/// Memory for indexes, in bytes; one index above it may be kept.
const INDEX_BYTES_MAX: usize = 8 << 20;

/// A sealed block's file with its index.
pub(crate) struct Opened {
    /// The file.
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where its pieces are.
    pub(crate) index: Index,
}

struct Kept {
    by_block: LruCache<BlockId, Arc<Opened>>,
    weight: usize,
}

/// The sealed blocks that were read last.
pub(crate) struct OpenFiles {
    kept: Mutex<Kept>,
}

impl OpenFiles {
    /// An empty cache.
    pub(crate) fn new() -> OpenFiles {
        OpenFiles {
            kept: Mutex::new(Kept {
                by_block: LruCache::unbounded(),
                weight: 0,
            }),
        }
    }

    /// The open file of a block, if it is kept.
    pub(crate) fn get(&self, block: BlockId) -> Option<Arc<Opened>> {
        self.kept.lock().by_block.get(&block).cloned()
    }

    /// Keeps one, at the cost of those not used for the longest time.
    pub(crate) fn keep(&self, block: BlockId, opened: Arc<Opened>) {
        let mut kept = self.kept.lock();
        kept.weight += opened.index.weight();
        let mut out = Vec::new();
        out.extend(kept.by_block.push(block, opened));
        kept.weight -= out.first().map_or(0, |(_, old)| old.index.weight());
        while kept.by_block.len() > 1
            && (kept.by_block.len() > FILES_MAX || kept.weight > INDEX_BYTES_MAX)
        {
            let Some((block, old)) = kept.by_block.pop_lru() else {
                break;
            };
            kept.weight -= old.index.weight();
            out.push((block, old));
        }
        drop(kept);
        // Closing files may take a moment: not under the lock.
        drop(out);
    }

    /// Lets go of one.
    pub(crate) fn forget(&self, block: BlockId) {
        let mut kept = self.kept.lock();
        let old = kept.by_block.pop(&block);
        kept.weight -= old.as_ref().map_or(0, |old| old.index.weight());
        drop(kept);
        drop(old);
    }
}
