//! Bytes of blocks kept for reading, bounded by bytes.
//!
//! Blocks never change (D1), so nothing here is ever invalid; it only grows old. A run is what one
//! answer of a minion brought: it is kept and dropped whole, because its pieces share one buffer
//! and dropping one of them would free nothing.

use bytes::{Bytes, BytesMut};
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
    parts: Vec<(u32, Bytes)>,
}

impl Run {
    /// The run of these contiguous parts; `None` of none.
    pub(crate) fn of(parts: Vec<(u32, Bytes)>) -> Option<Run> {
        let start = parts.first()?.0;
        let (last, bytes) = parts.last()?;
        let end = last + u32::try_from(bytes.len()).ok()?;
        Some(Run { start, end, parts })
    }

    fn bytes(&self) -> u64 {
        u64::from(self.end - self.start)
    }

    /// Whether it has all of `[start, end)`.
    pub(crate) fn covers(&self, start: u32, end: u32) -> bool {
        self.start <= start && end <= self.end
    }

    /// The bytes of `[start, end)`, which it covers; without a copy where one part has them all.
    pub(crate) fn slice(&self, start: u32, end: u32) -> Bytes {
        let first = self.parts.partition_point(|(at, _)| *at <= start);
        let first = first.saturating_sub(1);
        let (at, bytes) = &self.parts[first];
        let (from, to) = ((start - at) as usize, (end - at) as usize);
        if to <= bytes.len() {
            return bytes.slice(from..to);
        }
        let mut gathered = BytesMut::with_capacity((end - start) as usize);
        for (at, bytes) in &self.parts[first..] {
            if *at >= end {
                break;
            }
            let from = start.saturating_sub(*at) as usize;
            let to = ((end - at) as usize).min(bytes.len());
            gathered.extend_from_slice(&bytes[from..to]);
        }
        gathered.freeze()
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
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn byte(at: u32) -> u8 {
        u8::try_from(at % 251).unwrap()
    }

    fn run(start: u32, lens: &[u32]) -> Run {
        let mut at = start;
        let mut parts = Vec::new();
        for len in lens {
            parts.push((at, (at..at + len).map(byte).collect::<Bytes>()));
            at += len;
        }
        Run::of(parts).unwrap()
    }

    proptest! {
        #[test]
        fn a_slice_is_the_bytes_of_the_block(start in 0u32..1000, lens in prop::collection::vec(1u32..100, 1..8), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
            let run = run(start, &lens);
            let n = (run.end - run.start) as usize;
            let (a, b) = (a.index(n) as u32, b.index(n) as u32);
            let (from, to) = (start + a.min(b), start + a.max(b) + 1);
            prop_assert!(run.covers(from, to));
            prop_assert_eq!(run.slice(from, to), (from..to).map(byte).collect::<Bytes>());
        }
    }

    #[test]
    fn the_bytes_kept_are_bounded_and_the_oldest_go_first() {
        let runs = Runs::new(SHARDS * 1000);
        for i in 0..100u32 {
            runs.put(BlockId(16), Arc::new(run(i * 100, &[100])));
        }
        assert!(runs.get(BlockId(16), 0, 100).is_none());
        assert!(runs.get(BlockId(16), 9950, 10_000).is_some());
        assert!(runs.get(BlockId(16), 9950, 10_001).is_none());
        assert!(runs.get(BlockId(17), 9950, 10_000).is_none());
        let kept: u64 = runs.shards.iter().map(|s| s.lock().bytes).sum();
        assert_eq!(kept, 1000);
    }
}
