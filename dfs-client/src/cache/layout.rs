//! Where the bytes of one file are, as far as it is known here.
//!
//! Right for the data version that it came with; whoever holds it drops it when that moves in ways
//! they did not cause. Pure: no locks, no waiting.

use dfs_proto::{
    block::BlockPlace,
    extent::{Extent, FileRange},
    id::BlockId,
    view::Layout,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Extents kept for one file; above it everything is forgotten and asked for again.
const EXTENTS_MAX: usize = 100_000;

/// A part of a file as the layout has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// These bytes of a block.
    Stored(Extent),
    /// Zeros.
    Hole(FileRange),
    /// Not known: ask the master.
    Unknown(FileRange),
}

impl Part {
    /// The bytes of the file that it is about.
    pub(crate) fn range(&self) -> FileRange {
        match self {
            Part::Stored(extent) => extent.range(),
            Part::Hole(range) | Part::Unknown(range) => *range,
        }
    }
}

/// The known extents of a file.
#[derive(Debug, Default, Clone)]
pub(crate) struct Extents {
    by_offset: BTreeMap<u64, Extent>,
    /// Ranges (start -> end) that are known, without overlap or touching.
    known: BTreeMap<u64, u64>,
    places: HashMap<BlockId, Arc<BlockPlace>>,
}

impl Extents {
    /// Of a file that has no bytes in blocks.
    pub(crate) fn none() -> Extents {
        let mut extents = Extents::default();
        extents.mark_known(FileRange {
            start: 0,
            end: u64::MAX,
        });
        extents
    }

    /// Takes in an answer of the master that begins at `from`.
    pub(crate) fn learn(&mut self, from: u64, layout: Layout) {
        if self.by_offset.len() + layout.extents.len() > EXTENTS_MAX {
            *self = Extents::default();
        }
        let range = FileRange {
            start: from,
            end: layout.until,
        };
        self.clear(range);
        for extent in layout.extents {
            if let Some(extent) = extent.clip(range) {
                self.by_offset.insert(extent.file_offset, extent);
            }
        }
        for place in layout.blocks {
            self.places.insert(place.block, Arc::new(place));
        }
        self.mark_known(range);
    }

    /// Points a range at bytes that this client has written.
    pub(crate) fn put(&mut self, extent: Extent, place: &Arc<BlockPlace>) {
        self.clear(extent.range());
        self.mark_known(extent.range());
        let known = self.places.entry(extent.block);
        known.or_insert_with(|| place.clone());
        let before = self.by_offset.range_mut(..extent.file_offset).next_back();
        match before {
            Some((_, last)) if last.continues_with(&extent) => last.len += extent.len,
            _ => {
                self.by_offset.insert(extent.file_offset, extent);
            }
        }
        if self.by_offset.len() > EXTENTS_MAX {
            *self = Extents::default();
        }
    }

    /// Cuts at `size`; what is beyond reads as zeros from now on.
    pub(crate) fn cut(&mut self, size: u64) {
        self.punch(FileRange {
            start: size,
            end: u64::MAX,
        });
    }

    /// Has a range read as zeros from now on.
    pub(crate) fn punch(&mut self, range: FileRange) {
        self.clear(range);
        self.mark_known(range);
    }

    /// The place of a block that was learned with the extents.
    pub(crate) fn place(&self, block: BlockId) -> Option<&Arc<BlockPlace>> {
        self.places.get(&block)
    }

    /// The extent that has the byte at `at`, if one is known to.
    pub(crate) fn at(&self, at: u64) -> Option<Extent> {
        let (_, extent) = self.by_offset.range(..=at).next_back()?;
        (extent.range().end > at).then_some(*extent)
    }

    /// What `range` is made of, in order, without gaps.
    pub(crate) fn parts(&self, range: FileRange) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let part = self.part(at, range.end);
            at = part.range().end;
            parts.push(part);
        }
        parts
    }

    /// What begins at `at`, as far as it goes, and up to `end` at the most.
    pub(crate) fn part(&self, at: u64, end: u64) -> Part {
        let Some(known_until) = self.known_until(at) else {
            let next = self.known.range(at..).next().map_or(u64::MAX, |(s, _)| *s);
            let end = next.min(end);
            return Part::Unknown(FileRange { start: at, end });
        };
        let rest = FileRange { start: at, end };
        let here = self.by_offset.range(..=at).next_back();
        if let Some(extent) = here.and_then(|(_, e)| e.clip(rest)) {
            return Part::Stored(extent);
        }
        let next = self.by_offset.range(at..).next();
        let next = next.map_or(u64::MAX, |(start, _)| *start);
        let end = next.min(end).min(known_until);
        Part::Hole(FileRange { start: at, end })
    }

    fn known_until(&self, at: u64) -> Option<u64> {
        let (_, end) = self.known.range(..=at).next_back()?;
        (*end > at).then_some(*end)
    }

    fn clear(&mut self, range: FileRange) {
        if range.is_empty() {
            return;
        }
        let before = self.by_offset.range(..range.start).next_back();
        let first = before.map_or(range.start, |(start, _)| *start);
        let hit: Vec<Extent> = self
            .by_offset
            .range(first..range.end)
            .map(|(_, e)| *e)
            .filter(|e| !e.range().overlap(range).is_empty())
            .collect();
        for extent in hit {
            self.by_offset.remove(&extent.file_offset);
            for left in extent.without(range).into_iter().flatten() {
                self.by_offset.insert(left.file_offset, left);
            }
        }
    }

    fn mark_known(&mut self, range: FileRange) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((&s, &e)) = self.known.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.known.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        self.known.insert(start, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::block::Capability;
    use proptest::prelude::*;

    fn place(block: u64) -> BlockPlace {
        BlockPlace {
            block: BlockId(block),
            replicas: Vec::new(),
            sealed: None,
            placement: 0,
            capability: Capability::default(),
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u64, u32, u64, u32),
        Cut(u64),
        Punch(u64, u64),
        Learn(u64, u64, Vec<(u64, u32)>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..200, 1u32..60, 1u64..4, 0u32..50).prop_map(|(a, b, c, d)| Step::Put(a, b, c, d)),
            (0u64..260).prop_map(Step::Cut),
            (0u64..260, 0u64..140).prop_map(|(at, len)| Step::Punch(at, len)),
            (
                0u64..200,
                1u64..100,
                prop::collection::vec((0u64..40, 1u32..30), 0..4)
            )
                .prop_map(|(a, b, c)| Step::Learn(a, b, c)),
        ]
    }

    /// The oracle: for each byte of the file what it is.
    type Bytes = Vec<Option<Option<(BlockId, u32)>>>;

    fn stored(e: &Extent, oracle: &mut Bytes, end: u64) {
        for i in 0..e.len {
            let at = e.file_offset + u64::from(i);
            if at < end {
                oracle[usize::try_from(at).unwrap()] = Some(Some((e.block, e.block_offset + i)));
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_map_of_bytes(steps in prop::collection::vec(step(), 1..40)) {
            let mut extents = Extents::default();
            let mut oracle: Bytes = vec![None; 400];
            for step in steps {
                match step {
                    Step::Put(file_offset, len, block, block_offset) => {
                        let e = Extent { file_offset, len, block: BlockId(block), block_offset };
                        extents.put(e, &Arc::new(place(block)));
                        stored(&e, &mut oracle, 400);
                    }
                    Step::Cut(size) => {
                        extents.cut(size);
                        oracle[usize::try_from(size).unwrap()..].fill(Some(None));
                    }
                    Step::Punch(at, len) => {
                        extents.punch(FileRange::of(at, len));
                        let (at, len) = (usize::try_from(at).unwrap(), usize::try_from(len).unwrap());
                        oracle[at..at + len].fill(Some(None));
                    }
                    Step::Learn(from, n, list) => {
                        let until = from + n;
                        oracle[usize::try_from(from).unwrap()..usize::try_from(until).unwrap()].fill(Some(None));
                        let mut at = from;
                        let mut found = Vec::new();
                        for (gap, len) in list {
                            let e = Extent { file_offset: at + gap, len, block: BlockId(9), block_offset: 7 };
                            at += gap + u64::from(len);
                            if e.file_offset >= until { break; }
                            stored(&e, &mut oracle, until);
                            found.push(e);
                        }
                        extents.learn(from, Layout { extents: found, blocks: vec![place(9)], until });
                    }
                }
                let mut seen: Bytes = Vec::new();
                for part in extents.parts(FileRange { start: 0, end: 400 }) {
                    match part {
                        Part::Stored(e) => (0..e.len).for_each(|i| seen.push(Some(Some((e.block, e.block_offset + i))))),
                        Part::Hole(r) => (r.start..r.end).for_each(|_| seen.push(Some(None))),
                        Part::Unknown(r) => (r.start..r.end).for_each(|_| seen.push(None)),
                    }
                }
                prop_assert_eq!(&seen, &oracle);
            }
        }
    }
}
