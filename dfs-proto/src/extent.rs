//! Extents: where the bytes of a file are, and all offset arithmetic of the project.

use crate::id::BlockId;
use serde::{Deserialize, Serialize};

/// The longest block, in payload bytes.
pub const BLOCK_BYTES_MAX: u32 = 64 << 20;

/// The longest piece, in payload bytes.
pub const PIECE_BYTES_MAX: u32 = 64 << 10;

/// A file of at most this many bytes lives beside its inode instead of in blocks.
pub const INLINE_BYTES_MAX: u32 = 4096;

/// A byte range of a file, `[start, end)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct FileRange {
    /// First byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
}

impl FileRange {
    /// `[start, start + len)`, ending at the largest offset where that would overflow.
    pub fn of(start: u64, len: u64) -> FileRange {
        FileRange {
            start,
            end: start.saturating_add(len),
        }
    }

    /// Bytes in it.
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is no byte in it.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The bytes that both have; empty where there are none.
    pub fn overlap(self, other: FileRange) -> FileRange {
        let start = self.start.max(other.start);
        FileRange {
            start,
            end: self.end.min(other.end).max(start),
        }
    }
}

/// Bytes of a file that stand, one after the other, in one block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Extent {
    /// Offset in the file of the first byte.
    pub file_offset: u64,
    /// How many bytes; at least 1.
    pub len: u32,
    /// The block that has them.
    pub block: BlockId,
    /// Offset in the block's payload of the first byte.
    pub block_offset: u32,
}

impl Extent {
    /// The bytes of the file that it describes.
    pub fn range(&self) -> FileRange {
        FileRange::of(self.file_offset, u64::from(self.len))
    }

    /// The offset after its last byte in the block; the last offset that there is, which no block
    /// reaches, where a stranger claims more.
    pub fn block_end(&self) -> u32 {
        self.block_offset.saturating_add(self.len)
    }

    /// What is left of it inside `range`, if anything.
    pub fn clip(&self, range: FileRange) -> Option<Extent> {
        let kept = self.range().overlap(range);
        if kept.is_empty() {
            return None;
        }
        let skipped = u32::try_from(kept.start - self.file_offset).expect("inside an extent");
        let len = u32::try_from(kept.len()).expect("inside an extent");
        Some(Extent {
            file_offset: kept.start,
            len,
            block: self.block,
            block_offset: self.block_offset + skipped,
        })
    }

    /// What is left of it outside `range`: a part before and a part after.
    pub fn without(&self, range: FileRange) -> [Option<Extent>; 2] {
        if self.range().overlap(range).is_empty() {
            return [Some(*self), None];
        }
        let before = FileRange {
            start: 0,
            end: range.start,
        };
        let after = FileRange {
            start: range.end,
            end: u64::MAX,
        };
        [self.clip(before), self.clip(after)]
    }

    /// The same bytes at another place of a file: what is at `from` of one comes to `to`, and the
    /// rest as far from it as before. `from` is not above it.
    pub fn at_other_place(&self, from: u64, to: u64) -> Extent {
        Extent {
            file_offset: to + (self.file_offset - from),
            ..*self
        }
    }

    /// What is left of it from offset `end` of its block on, if anything.
    pub fn above(&self, end: u32) -> Option<Extent> {
        let below = end.saturating_sub(self.block_offset);
        self.clip(FileRange {
            start: self.file_offset + u64::from(below),
            end: u64::MAX,
        })
    }

    /// Whether `next` goes on where this one ends, in the file and in the same block.
    pub fn continues_with(&self, next: &Extent) -> bool {
        self.block == next.block
            && self.range().end == next.file_offset
            && self.block_end() == next.block_offset
            && self
                .len
                .checked_add(next.len)
                .is_some_and(|sum| sum <= BLOCK_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(file_offset: u64, len: u32) -> Extent {
        Extent {
            file_offset,
            len,
            block: BlockId(7),
            block_offset: 100,
        }
    }

    #[test]
    fn above_is_what_the_block_has_from_there_on() {
        let whole = extent(1000, 50);
        assert_eq!(whole.above(0), Some(whole));
        assert_eq!(whole.above(100), Some(whole));
        let rest = whole.above(130).expect("20 bytes");
        assert_eq!(
            (rest.file_offset, rest.block_offset, rest.len),
            (1030, 130, 20)
        );
        assert_eq!(whole.above(150), None);
        let moved = rest.at_other_place(1010, 5);
        assert_eq!(
            (moved.file_offset, moved.block_offset, moved.len),
            (25, 130, 20)
        );
    }

    proptest! {
        #[test]
        fn clip_and_without_part_an_extent(at in 0u64..50, len in 1u32..50, from in 0u64..120, n in 0u64..60) {
            let whole = extent(at, len);
            let range = FileRange::of(from, n);
            let mut parts: Vec<Extent> = whole.without(range).into_iter().flatten().collect();
            parts.extend(whole.clip(range));
            parts.sort_by_key(|e| e.file_offset);
            // Byte for byte: each file offset still points at the byte of the block it pointed at.
            let bytes = |e: &Extent| (0..e.len).map(|i| (e.file_offset + u64::from(i), e.block_offset + i)).collect::<Vec<_>>();
            prop_assert_eq!(parts.iter().flat_map(bytes).collect::<Vec<_>>(), bytes(&whole));
        }
    }

    #[test]
    fn neighbours_of_one_block_continue() {
        let first = extent(0, 10);
        let next = Extent {
            file_offset: 10,
            len: 5,
            block: BlockId(7),
            block_offset: 110,
        };
        assert!(first.continues_with(&next));
        assert!(!first.continues_with(&Extent {
            block_offset: 111,
            ..next
        }));
        assert!(!first.continues_with(&Extent {
            block: BlockId(8),
            ..next
        }));
    }
}
