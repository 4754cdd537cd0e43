//! Bytes of one file that were written and not yet taken to be sent.
//!
//! Segments without overlap; a later write wins. Neighbours grow together up to the size of a
//! buffer, so that many small appends become one large one. Pure but for the buffers it borrows.

use super::buffers::{BUFFER_BYTES, Buffers};
use bytes::Bytes;
use dfs_proto::extent::FileRange;
use std::{collections::BTreeMap, sync::Arc};

/// Above this many bytes a segment moves to a large buffer.
const SMALL_BYTES: usize = 32 << 10;

/// The dirty bytes of one file.
#[derive(Debug)]
pub(crate) struct Dirty {
    segments: BTreeMap<u64, Vec<u8>>,
    bytes: u64,
    buffers: Arc<Buffers>,
}

impl Dirty {
    pub(crate) fn new(buffers: Arc<Buffers>) -> Dirty {
        Dirty {
            segments: BTreeMap::new(),
            bytes: 0,
            buffers,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Stretches in all.
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Bytes in all.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The end of the last dirty byte; 0 where there is none.
    pub(crate) fn end(&self) -> u64 {
        let last = self.segments.last_key_value();
        last.map_or(0, |(start, bytes)| start + bytes.len() as u64)
    }

    /// Whether any dirty byte is in `range`.
    pub(crate) fn touches(&self, range: FileRange) -> bool {
        self.overlapping(range).next().is_some()
    }

    /// Takes in `data` at `offset`. Answers the length of the segment that has its last byte now.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> usize {
        let (mut at, mut rest) = (offset, data);
        let mut grown = 0;
        while !rest.is_empty() {
            let n = self.write_some(at, rest, &mut grown);
            rest = &rest[n..];
            at += n as u64;
        }
        grown
    }

    /// Takes in the first bytes of `data`, and answers how many.
    fn write_some(&mut self, at: u64, data: &[u8], grown: &mut usize) -> usize {
        let next = self.segments.range(at + 1..).next().map(|(s, _)| *s);
        let gap = next.map_or(data.len(), |next| {
            usize::try_from(next - at).unwrap_or(usize::MAX)
        });
        let before = self.segments.range_mut(..=at).next_back();
        if let Some((start, segment)) = before {
            let inside = usize::try_from(at - *start).unwrap_or(usize::MAX);
            if inside < segment.len() {
                let n = data.len().min(segment.len() - inside);
                segment[inside..inside + n].copy_from_slice(&data[..n]);
                *grown = segment.len();
                return n;
            }
            if inside == segment.len() && inside < BUFFER_BYTES {
                let n = data.len().min(gap).min(BUFFER_BYTES - inside);
                grow(segment, n, &self.buffers);
                segment.extend_from_slice(&data[..n]);
                self.bytes += n as u64;
                *grown = segment.len();
                return n;
            }
        }
        let n = data.len().min(gap).min(BUFFER_BYTES);
        let mut segment = if n > SMALL_BYTES {
            self.buffers.take()
        } else {
            Vec::with_capacity(n)
        };
        segment.extend_from_slice(&data[..n]);
        self.segments.insert(at, segment);
        self.bytes += n as u64;
        *grown = n;
        n
    }

    /// Forgets what is at and beyond `size`; answers how many bytes that were.
    pub(crate) fn cut(&mut self, size: u64) -> u64 {
        let before = self.bytes;
        for (_, gone) in self.segments.split_off(&size) {
            self.bytes -= gone.len() as u64;
        }
        if let Some((start, last)) = self.segments.iter_mut().next_back() {
            let keep = usize::try_from(size - start).unwrap_or(usize::MAX);
            if keep < last.len() {
                self.bytes -= (last.len() - keep) as u64;
                last.truncate(keep);
            }
        }
        before - self.bytes
    }

    /// Everything, in file order, small neighbours joined; nothing is left.
    pub(crate) fn take(&mut self) -> Vec<(u64, Bytes)> {
        self.bytes = 0;
        let mut joined: Vec<(u64, Vec<u8>)> = Vec::new();
        for (at, bytes) in std::mem::take(&mut self.segments) {
            match joined.last_mut() {
                Some((start, last))
                    if *start + last.len() as u64 == at
                        && bytes.len() <= SMALL_BYTES
                        && last.len() + bytes.len() <= BUFFER_BYTES =>
                {
                    grow(last, bytes.len(), &self.buffers);
                    last.extend_from_slice(&bytes);
                }
                _ => joined.push((at, bytes)),
            }
        }
        let freeze = |(at, bytes)| (at, self.buffers.freeze(bytes));
        joined.into_iter().map(freeze).collect()
    }

    /// The dirty bytes inside `range`, in file order.
    pub(crate) fn overlapping(&self, range: FileRange) -> impl Iterator<Item = (u64, &[u8])> {
        let before = self.segments.range(..range.start).next_back();
        let first = before.map_or(range.start, |(start, _)| *start);
        let to = range.end.max(first);
        self.segments.range(first..to).filter_map(move |(at, b)| {
            let part = FileRange::of(*at, b.len() as u64).overlap(range);
            if part.is_empty() {
                return None;
            }
            let from = usize::try_from(part.start - at).expect("inside a segment");
            let to = usize::try_from(part.end - at).expect("inside a segment");
            Some((part.start, &b[from..to]))
        })
    }
}

/// Makes room for `n` more bytes: doubling while small, then a large buffer.
fn grow(segment: &mut Vec<u8>, n: usize, buffers: &Buffers) {
    let len = segment.len() + n;
    if len <= segment.capacity() {
        return;
    }
    if len > SMALL_BYTES {
        let mut large = buffers.take();
        large.extend_from_slice(segment);
        *segment = large;
    } else {
        segment.reserve(n.max(segment.len()));
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, usize, u8),
        Cut(u64),
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0u64..3000, 1usize..800, any::<u8>()).prop_map(|(a, n, b)| Step::Write(a, n, b)),
            1 => (0u64..4000).prop_map(Step::Cut),
            1 => Just(Step::Take),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_map_of_bytes(steps in prop::collection::vec(step(), 1..60), a in 0u64..3000, n in 0u64..3000) {
            let mut dirty = Dirty::new(Arc::default());
            let mut oracle: BTreeMap<u64, u8> = BTreeMap::new();
            let mut count = 0u8;
            for step in steps {
                match step {
                    Step::Write(at, len, seed) => {
                        let data: Vec<u8> = (0..len).map(|i| seed.wrapping_add(i as u8).wrapping_mul(31).wrapping_add(count)).collect();
                        count = count.wrapping_add(1);
                        dirty.write(at, &data);
                        oracle.extend((at..).zip(data));
                    }
                    Step::Cut(size) => {
                        let before = oracle.len() as u64;
                        oracle.retain(|at, _| *at < size);
                        prop_assert_eq!(dirty.cut(size), before - oracle.len() as u64);
                    }
                    Step::Take => {
                        let mut taken = BTreeMap::new();
                        for (at, bytes) in dirty.take() {
                            taken.extend((at..).zip(bytes));
                        }
                        prop_assert_eq!(&taken, &oracle);
                        oracle.clear();
                    }
                }
                prop_assert_eq!(dirty.bytes(), oracle.len() as u64);
                prop_assert_eq!(dirty.end(), oracle.last_key_value().map_or(0, |(at, _)| at + 1));
                let range = FileRange::of(a, n);
                let seen: Vec<(u64, u8)> = dirty.overlapping(range).flat_map(|(at, b)| (at..).zip(b.to_vec())).collect();
                let expected: Vec<(u64, u8)> = oracle.range(a..a + n).map(|(at, b)| (*at, *b)).collect();
                prop_assert_eq!(seen, expected);
                prop_assert_eq!(dirty.touches(range), oracle.range(a..a + n).next().is_some());
            }
        }
    }

    #[test]
    fn what_was_written_backwards_leaves_in_one_segment() {
        let mut dirty = Dirty::new(Arc::default());
        for i in (0..100u64).rev() {
            dirty.write(i * 10, &[7; 10]);
        }
        let taken = dirty.take();
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].0, taken[0].1.len()), (0, 1000));
    }

    #[test]
    fn small_appends_become_one_segment() {
        let mut dirty = Dirty::new(Arc::default());
        for i in 0..512u64 {
            dirty.write(i * 4096, &[7; 4096]);
        }
        assert_eq!(dirty.segments.len(), 2);
        assert!(dirty.segments.values().all(|s| s.len() == BUFFER_BYTES));
    }
}
