//! Where the pieces of a block are in its file: all offset arithmetic between the two.
//!
//! One `u32` for each piece is enough: all headers have one size, so the place of the n-th piece
//! follows from where its payload begins.

use crate::format::{HEADER_BYTES, PIECE_HEADER_BYTES, PIECES_MAX};
use dfs_proto::extent::PIECE_BYTES_MAX;
use std::ops::Range;

/// Offsets of the pieces of a block, in order and without gaps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Index {
    starts: Vec<u32>,
    length: u32,
}

/// Whole pieces that follow each other, and where they are in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    /// Offset in the file of the first piece's header.
    pub(crate) position: u64,
    /// Bytes in the file, headers included.
    pub(crate) file_bytes: usize,
    /// Payload offset of the first.
    pub(crate) start: u32,
    /// Payload offset after the last.
    pub(crate) end: u32,
}

impl Index {
    /// An index of pieces that begin at `starts` and end at `length`; `None` if that cannot be.
    pub(crate) fn of(starts: Vec<u32>, length: u32) -> Option<Index> {
        let piece = |from: u32, to: u32| from < to && to - from <= PIECE_BYTES_MAX;
        let ascending = starts.windows(2).all(|two| piece(two[0], two[1]));
        let bounded = match (starts.first(), starts.last()) {
            (Some(first), Some(last)) => *first == 0 && piece(*last, length),
            _ => length == 0,
        };
        (ascending && bounded && starts.len() <= PIECES_MAX).then_some(Index { starts, length })
    }

    /// Payload bytes.
    pub(crate) fn length(&self) -> u32 {
        self.length
    }

    /// Pieces.
    pub(crate) fn pieces(&self) -> usize {
        self.starts.len()
    }

    /// Payload offsets of the pieces.
    pub(crate) fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Adds a piece at the end.
    pub(crate) fn push(&mut self, len: u32) {
        self.starts.push(self.length);
        self.length += len;
    }

    /// Where in the file the next piece goes, or the footer.
    pub(crate) fn position_end(&self) -> u64 {
        position(self.length, self.starts.len())
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.starts.capacity() * 4 + 64
    }

    /// The whole pieces that cover payload `[start, end)`, which must not be empty nor go beyond
    /// the end.
    pub(crate) fn cover(&self, start: u32, end: u32) -> Option<Span> {
        if start >= end || end > self.length {
            return None;
        }
        let first = self.starts.partition_point(|at| *at <= start) - 1;
        let after = self.starts.partition_point(|at| *at < end);
        Some(self.span(first..after))
    }

    /// The bytes of the whole pieces that lie in payload `[start, end)`, if any does.
    pub(crate) fn within(&self, start: u32, end: u32) -> Option<(u32, u32)> {
        let first = self.starts.partition_point(|at| *at < start);
        let from = *self.starts.get(first)?;
        let upto = match end >= self.length {
            true => self.length,
            // The last piece that begins at or before the end goes beyond it, or begins there.
            false => self.starts[self.starts.partition_point(|at| *at <= end) - 1],
        };
        (from < upto).then_some((from, upto))
    }

    /// The index of the first pieces, up to payload offset `length`; `None` if no piece ends there.
    pub(crate) fn cut(&self, length: u32) -> Option<Index> {
        let keep = self.starts.partition_point(|at| *at < length);
        let next = self.starts.get(keep).copied().unwrap_or(self.length);
        (next == length).then(|| Index {
            starts: self.starts[..keep].to_vec(),
            length,
        })
    }

    fn span(&self, pieces: Range<usize>) -> Span {
        let start = self.starts[pieces.start];
        let end = self.starts.get(pieces.end).copied().unwrap_or(self.length);
        let payload = (end - start) as usize;
        Span {
            position: position(start, pieces.start),
            file_bytes: payload + pieces.len() * PIECE_HEADER_BYTES,
            start,
            end,
        }
    }
}

/// Where in the file the header of the piece is that begins at payload offset `start` and has
/// `before` pieces before it.
pub(crate) fn position(start: u32, before: usize) -> u64 {
    HEADER_BYTES as u64 + u64::from(start) + (before * PIECE_HEADER_BYTES) as u64
}

/// How many pieces are before one that begins at payload offset `start` and whose header is at
/// `position`; `None` where no piece of that offset can be.
pub(crate) fn pieces_before(position: u64, start: u32) -> Option<usize> {
    let headers = position.checked_sub(HEADER_BYTES as u64 + u64::from(start))?;
    let whole = headers.is_multiple_of(PIECE_HEADER_BYTES as u64);
    whole
        .then(|| usize::try_from(headers / PIECE_HEADER_BYTES as u64).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cover_is_whole_pieces() {
        let index = Index::of(vec![0, 10, 30], 35).expect("fits");
        let span = index.cover(12, 13).expect("inside");
        assert_eq!((span.start, span.end), (10, 30));
        assert_eq!(span.position, 64 + 10 + 64);
        assert_eq!(span.file_bytes, 20 + 64);
        assert_eq!(index.cover(0, 35).expect("inside").file_bytes, 35 + 3 * 64);
        assert_eq!(index.cover(9, 10).expect("inside").end, 10);
        assert_eq!(index.cover(0, 36), None);
        assert_eq!(index.cover(5, 5), None);
        assert_eq!(index.position_end(), 64 + 35 + 3 * 64);
    }

    #[test]
    fn within_are_whole_pieces_only() {
        let index = Index::of(vec![0, 10, 30], 35).expect("fits");
        assert_eq!(index.within(0, 35), Some((0, 35)));
        assert_eq!(index.within(1, 34), Some((10, 30)));
        assert_eq!(index.within(10, 30), Some((10, 30)));
        assert_eq!(index.within(11, 35), Some((30, 35)));
        assert_eq!(index.within(11, 34), None);
        assert_eq!(index.within(31, 99), None);
        assert_eq!(Index::default().within(0, 9), None);
    }

    #[test]
    fn a_cut_needs_a_piece_that_ends_there() {
        let index = Index::of(vec![0, 10, 30], 35).expect("fits");
        assert_eq!(index.cut(30), Index::of(vec![0, 10], 30));
        assert_eq!(index.cut(35), Some(index.clone()));
        assert_eq!(index.cut(0), Index::of(vec![], 0));
        assert_eq!(index.cut(31), None);
        assert_eq!(index.cut(36), None);
    }

    proptest! {
        #[test]
        fn cover_agrees_with_a_walk(lens in prop::collection::vec(1_u32..50, 1..40),
                                    a in 0_u32..2000, b in 0_u32..2000) {
            let mut index = Index::default();
            let mut walk = Vec::new();
            for len in lens {
                walk.push((index.length(), len, index.position_end()));
                index.push(len);
            }
            let (start, end) = (a.min(b), a.max(b));
            let hit: Vec<_> = walk.iter().filter(|(at, len, _)| at + len > start && *at < end).collect();
            match index.cover(start, end) {
                None => prop_assert!(start == end || end > index.length()),
                Some(span) => {
                    prop_assert_eq!(span.start, hit[0].0);
                    prop_assert_eq!(span.position, hit[0].2);
                    let last = hit[hit.len() - 1];
                    prop_assert_eq!(span.end, last.0 + last.1);
                    let bytes: u32 = hit.iter().map(|(_, len, _)| len + 64).sum();
                    prop_assert_eq!(span.file_bytes, bytes as usize);
                }
            }
            for (n, (at, _, place)) in walk.iter().enumerate() {
                prop_assert_eq!(pieces_before(*place, *at), Some(n));
            }
        }
    }
}
