//! What a range of a file is made of: spans in order, later layers painted over earlier ones. Pure.

use bytes::{Bytes, BytesMut};
use dfs_proto::{block::BlockPlace, extent::FileRange, id::BlockId};
use std::sync::Arc;

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// Where the bytes of a span come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// They are zeros.
    Zeros,
    /// Here they are, all of the span's.
    Bytes(Bytes),
    /// From a block.
    Stored {
        /// Where the block is.
        place: Arc<BlockPlace>,
        /// Offset in the block of the span's first byte.
        offset: u32,
        /// The bytes of the block around the span that belong to the file too: what may be read
        /// along with it.
        around: (u32, u32),
        /// Of those, what others of the plan need and is best fetched in one go with it.
        along: (u32, u32),
    },
}

/// A part of the range.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) range: FileRange,
    pub(crate) source: Source,
}

/// The block of a span, and what may be and is best fetched with it.
type Together<'a> = (BlockId, &'a mut (u32, u32), &'a mut (u32, u32));

/// The spans of a range, in order, without gap or overlap.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) spans: Vec<Span>,
}

impl Plan {
    /// Adds a span at the end.
    pub(crate) fn push(&mut self, range: FileRange, source: Source) {
        if !range.is_empty() {
            self.spans.push(Span { range, source });
        }
    }

    /// Lets spans that lie side by side in their block, in whatever order they are in the file, be
    /// fetched together, as far as they are in one unit of `unit` bytes.
    pub(crate) fn join(&mut self, unit: u32) {
        let mut stored: Vec<Together<'_>> = Vec::new();
        for span in &mut self.spans {
            if let Source::Stored {
                place,
                around,
                along,
                ..
            } = &mut span.source
            {
                stored.push((place.block, around, along));
            }
        }
        stored.sort_by_key(|(block, around, along)| (*block, **around, **along));
        for side_by_side in
            stored.chunk_by_mut(|(one, a, _), (other, b, _)| one == other && b.0 <= a.1)
        {
            let start = side_by_side.iter().map(|(_, around, _)| around.0).min();
            let end = side_by_side.iter().map(|(_, around, _)| around.1).max();
            let whole = start.zip(end).unwrap_or_default();
            for (_, around, _) in side_by_side.iter_mut() {
                **around = whole;
            }
            let same = |along: &(u32, u32)| along.0 / unit;
            for in_one in side_by_side.chunk_by_mut(|(.., a), (.., b)| same(a) == same(b)) {
                let start = in_one.iter().map(|(.., along)| along.0).min();
                let end = in_one.iter().map(|(.., along)| along.1).max();
                let together = start.zip(end).unwrap_or_default();
                for (.., along) in in_one {
                    **along = together;
                }
            }
        }
    }

    /// Puts bytes over what is planned at `at`; what lies outside the plan is left out.
    pub(crate) fn paint(&mut self, at: u64, bytes: &Bytes) {
        let painted = FileRange::of(at, bytes.len() as u64);
        let mut spans = Vec::with_capacity(self.spans.len() + 2);
        for span in self.spans.drain(..) {
            let over = span.range.overlap(painted);
            if over.is_empty() {
                spans.push(span);
                continue;
            }
            spans.extend(span.part(FileRange {
                start: span.range.start,
                end: over.start,
            }));
            let from = usize::try_from(over.start - at).expect("inside the bytes");
            let to = usize::try_from(over.end - at).expect("inside the bytes");
            spans.push(Span {
                range: over,
                source: Source::Bytes(bytes.slice(from..to)),
            });
            spans.extend(span.part(FileRange {
                start: over.end,
                end: span.range.end,
            }));
        }
        self.spans = spans;
    }
}

impl Span {
    fn part(&self, range: FileRange) -> Option<Span> {
        if range.is_empty() {
            return None;
        }
        let skipped = range.start - self.range.start;
        let source = match &self.source {
            Source::Zeros => Source::Zeros,
            Source::Bytes(bytes) => {
                let from = usize::try_from(skipped).expect("inside the bytes");
                let len = usize::try_from(range.len()).expect("inside the bytes");
                Source::Bytes(bytes.slice(from..from + len))
            }
            Source::Stored {
                place,
                offset,
                around,
                along,
            } => Source::Stored {
                place: place.clone(),
                offset: offset + u32::try_from(skipped).expect("inside a block"),
                around: *around,
                along: *along,
            },
        };
        Some(Span { range, source })
    }
}

/// One buffer with all parts; without a copy where there is one part.
pub(crate) fn gather(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in &parts {
        all.extend_from_slice(part);
    }
    all.freeze()
}

/// That many zeros.
pub(crate) fn zeros(len: u64) -> Bytes {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    match ZEROS.get(..len) {
        Some(zeros) => Bytes::from_static(zeros),
        None => vec![0; len].into(),
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use dfs_proto::block::Capability;
    use proptest::prelude::*;

    /// Extents of one block in any order of the file, as a plan.
    fn stored(extents: &[(u32, u32)], unit: u32) -> Plan {
        let place = Arc::new(BlockPlace {
            block: BlockId(1),
            replicas: Vec::new(),
            sealed: None,
            placement: 0,
            capability: Capability::default(),
        });
        let (mut plan, mut at) = (Plan::default(), 0);
        for &(start, end) in extents {
            let mut offset = start;
            while offset < end {
                let next = end.min((offset / unit + 1) * unit);
                let source = Source::Stored {
                    place: place.clone(),
                    offset,
                    around: (start, end),
                    along: (offset, next),
                };
                plan.push(FileRange::of(at, u64::from(next - offset)), source);
                at += u64::from(next - offset);
                offset = next;
            }
        }
        plan
    }

    proptest! {
        /// What is fetched along is in one unit and belongs to the file, every byte of it; what lies
        /// side by side in a unit is fetched once.
        #[test]
        fn side_by_side_is_fetched_together(
            cuts in prop::collection::btree_set(0u32..200, 2..30),
            gaps in prop::collection::vec(any::<bool>(), 30),
            order in any::<prop::sample::Index>(),
        ) {
            let cuts: Vec<u32> = cuts.into_iter().collect();
            let pairs = cuts.windows(2).zip(&gaps).filter(|(_, gap)| !**gap);
            let mut extents: Vec<(u32, u32)> = pairs.map(|(cut, _)| (cut[0], cut[1])).collect();
            let mut alive = [false; 200];
            for &(start, end) in &extents {
                alive[start as usize..end as usize].fill(true);
            }
            if !extents.is_empty() {
                let by = order.index(extents.len());
                extents.rotate_left(by);
                extents.reverse();
            }
            let mut plan = stored(&extents, 64);
            plan.join(64);
            let mut fetched = std::collections::BTreeSet::new();
            for span in &plan.spans {
                let Source::Stored { offset, around, along, .. } = &span.source else {
                    unreachable!("all are stored");
                };
                let end = offset + span.range.len() as u32;
                prop_assert!(along.0 <= *offset && end <= along.1);
                prop_assert!(around.0 <= along.0 && along.1 <= around.1);
                prop_assert!(alive[around.0 as usize..around.1 as usize].iter().all(|alive| *alive));
                prop_assert_eq!(along.0 / 64, (along.1 - 1) / 64);
                fetched.insert(*along);
            }
            let of = |unit: usize| &alive[unit * 64..200.min((unit + 1) * 64)];
            let runs = |bytes: &[bool]| bytes.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
            prop_assert_eq!(fetched.len(), (0..4).map(|unit| runs(of(unit))).sum::<usize>());
        }

        #[test]
        fn later_paint_covers_earlier(layers in prop::collection::vec((0u64..150, 1usize..60, 1u8..255), 0..12), start in 0u64..50, len in 1u64..100) {
            let range = FileRange::of(start, len);
            let mut plan = Plan::default();
            plan.push(range, Source::Zeros);
            let mut oracle = vec![0u8; 400];
            for (at, n, value) in layers {
                plan.paint(at, &Bytes::from(vec![value; n]));
                let at = at as usize;
                oracle[at..at + n].fill(value);
            }
            let parts = plan.spans.iter().map(|s| match &s.source {
                Source::Zeros => zeros(s.range.len()),
                Source::Bytes(b) => b.clone(),
                Source::Stored { .. } => Bytes::new(),
            }).collect();
            prop_assert_eq!(&gather(parts)[..], &oracle[start as usize..(start + len) as usize]);
        }
    }
}
