//! Bytes of blocks kept for reading, bounded by bytes.
//!
//! Blocks never change (D1), so nothing here is ever invalid; it only grows old. A run is what one
//! answer of a minion brought: it is kept and dropped whole, because its pieces share one buffer
//! and dropping one of them would free nothing.

use bytes::Bytes;
use dfs_proto::id::BlockId;
use lru::LruCache;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

const SHARDS: u64 = 16;

/// Verified bytes of a block, contiguous.
#[derive(Debug)]
pub(crate) struct Run {
    start: u32,
    end: u32,
    all: Bytes,
}

impl Run {
    /// The run of these bytes; `None` of none.
    pub(crate) fn of(start: u32, all: Bytes) -> Option<Run> {
        let end = start.checked_add(u32::try_from(all.len()).ok()?)?;
        (end > start).then_some(Run { start, end, all })
    }

    fn bytes(&self) -> u64 {
        u64::from(self.end - self.start)
    }

    /// Whether it has all of `[start, end)`.
    pub(crate) fn covers(&self, start: u32, end: u32) -> bool {
        self.start <= start && end <= self.end
    }

    /// The bytes of `[start, end)`, which it covers; not copied.
    pub(crate) fn slice(&self, start: u32, end: u32) -> Bytes {
        let from = (start - self.start) as usize;
        self.all.slice(from..(end - self.start) as usize)
    }
}

#[derive(Debug)]
struct Shard {
    runs: LruCache<(BlockId, u32), Arc<Run>>,
    starts: HashMap<BlockId, BTreeMap<u32, u32>>,
    bytes: u64,
}

impl Shard {
    fn forget(&mut self, block: BlockId, start: u32) {
        if let Some(run) = self.runs.pop(&(block, start)) {
            self.bytes -= run.bytes();
        }
        if let Some(starts) = self.starts.get_mut(&block) {
            starts.remove(&start);
            if starts.is_empty() {
                self.starts.remove(&block);
            }
        }
    }
}

/// The runs that are kept.
#[derive(Debug)]
pub(crate) struct Runs {
    shards: Vec<Mutex<Shard>>,
    shard_bytes_max: u64,
}

impl Runs {
    /// At most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: u64) -> Runs {
        let shard = || {
            Mutex::new(Shard {
                runs: LruCache::unbounded(),
                starts: HashMap::new(),
                bytes: 0,
            })
        };
        Runs {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            shard_bytes_max: bytes_max / SHARDS,
        }
    }

    /// One block's neighbouring megabytes lie in different shards, so that one large file can fill
    /// the whole cache.
    fn shard(&self, block: BlockId, at: u32) -> &Mutex<Shard> {
        let mixed = (block.0 ^ u64::from(at >> 20).wrapping_mul(0x9E37_79B9)) % SHARDS;
        let index = usize::try_from(mixed).expect("below 16");
        &self.shards[index]
    }

    /// A run with all of `[start, end)`, which counts as used.
    pub(crate) fn get(&self, block: BlockId, start: u32, end: u32) -> Option<Arc<Run>> {
        let found = self.get_in(self.shard(block, start), block, start, end);
        // A run belongs to the megabyte it begins in, which may be the one before.
        found.or_else(|| {
            let before = start.checked_sub(1 << 20)?;
            self.get_in(self.shard(block, before), block, start, end)
        })
    }

    fn get_in(
        &self,
        shard: &Mutex<Shard>,
        block: BlockId,
        start: u32,
        end: u32,
    ) -> Option<Arc<Run>> {
        let mut shard = shard.lock();
        let (&at, &until) = shard.starts.get(&block)?.range(..=start).next_back()?;
        if until < end {
            return None;
        }
        shard.runs.get(&(block, at)).cloned()
    }

    /// Keeps a run, in place of shorter ones that begin where it does.
    pub(crate) fn put(&self, block: BlockId, run: Arc<Run>) {
        let mut shard = self.shard(block, run.start).lock();
        let known = shard.starts.get(&block).and_then(|s| s.get(&run.start));
        if known.is_some_and(|end| *end >= run.end) {
            return;
        }
        shard.forget(block, run.start);
        shard.bytes += run.bytes();
        let starts = shard.starts.entry(block).or_default();
        starts.insert(run.start, run.end);
        shard.runs.put((block, run.start), run);
        while shard.bytes > self.shard_bytes_max {
            let Some((&(block, start), _)) = shard.runs.peek_lru() else {
                break;
            };
            shard.forget(block, start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u32, len: u32) -> Run {
        let byte = |at: u32| u8::try_from(at % 251).unwrap();
        Run::of(start, (start..start + len).map(byte).collect()).unwrap()
    }

    #[test]
    fn the_bytes_kept_are_bounded_and_the_oldest_go_first() {
        let runs = Runs::new(SHARDS * 1000);
        for i in 0..100u32 {
            runs.put(BlockId(16), Arc::new(run(i * 100, 100)));
        }
        assert!(runs.get(BlockId(16), 0, 100).is_none());
        let last = runs.get(BlockId(16), 9950, 10_000).unwrap();
        assert_eq!(
            last.slice(9999, 10_000)[0],
            u8::try_from(9999 % 251).unwrap()
        );
        assert!(runs.get(BlockId(16), 9950, 10_001).is_none());
        assert!(runs.get(BlockId(17), 9950, 10_000).is_none());
        let kept: u64 = runs.shards.iter().map(|s| s.lock().bytes).sum();
        assert_eq!(kept, 1000);
    }
}
