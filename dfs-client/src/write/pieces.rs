//! Cuts bytes of a file into the pieces of an append.

use bytes::{Bytes, BytesMut};
use dfs_proto::{
    block::Piece,
    checksum::Crc32c,
    extent::{Extent, PIECE_BYTES_MAX},
    id::{BlockId, InodeId},
};

/// Payload bytes of one append, at the most.
pub(crate) const APPEND_BYTES_MAX: usize = 1 << 20;

/// Pieces of one append, at the most.
const APPEND_PIECES_MAX: usize = 512;

/// Bytes of one file that go into one append: segments in write order.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// (offset in the file, bytes).
    pub(crate) segments: Vec<(u64, Bytes)>,
    /// Bytes of all segments.
    pub(crate) bytes: u32,
    /// The checksum of each piece; computed once, however often the load is sent.
    crcs: Vec<Crc32c>,
}

/// Parts segments into loads of at most [`APPEND_BYTES_MAX`] and [`APPEND_PIECES_MAX`].
pub(crate) fn loads(segments: Vec<(u64, Bytes)>) -> Vec<Load> {
    let mut loads: Vec<Load> = Vec::new();
    let mut segments = segments.into_iter();
    let mut next = segments.next();
    while let Some((at, mut bytes)) = next.take() {
        let last = loads.last_mut();
        let full = last.as_ref().is_none_or(|l| {
            l.bytes as usize >= APPEND_BYTES_MAX || l.crcs.len() >= APPEND_PIECES_MAX
        });
        if full {
            loads.push(Load {
                segments: Vec::new(),
                bytes: 0,
                crcs: Vec::new(),
            });
        }
        let load = loads.last_mut().expect("there is one");
        let room = APPEND_BYTES_MAX - load.bytes as usize;
        let here = bytes.split_to(bytes.len().min(room));
        let crcs = here.chunks(PIECE_BYTES_MAX as usize).map(Crc32c::of);
        load.crcs.extend(crcs);
        load.bytes += u32::try_from(here.len()).expect("at most 1 MiB");
        let after = at + here.len() as u64;
        load.segments.push((at, here));
        next = match bytes.is_empty() {
            true => segments.next(),
            false => Some((after, bytes)),
        };
    }
    loads
}

impl Load {
    /// The pieces of this load when it stands at `block_offset`, their bytes one after the other,
    /// and the extents that name them.
    pub(crate) fn cut(
        &self,
        inode: InodeId,
        block: BlockId,
        block_offset: u32,
        sequence: u64,
    ) -> (Vec<Piece>, Vec<Extent>) {
        let mut at = block_offset;
        let mut pieces = Vec::new();
        let mut extents = Vec::new();
        for (file_offset, bytes) in &self.segments {
            let len = u32::try_from(bytes.len()).expect("at most 1 MiB");
            extents.push(Extent {
                file_offset: *file_offset,
                len,
                block,
                block_offset: at,
            });
            let mut file_offset = *file_offset;
            for part in bytes.chunks(PIECE_BYTES_MAX as usize) {
                let len = u32::try_from(part.len()).expect("at most 64 KiB");
                pieces.push(Piece {
                    block_offset: at,
                    len,
                    crc: self.crcs[pieces.len()],
                    inode,
                    file_offset,
                    sequence: sequence + pieces.len() as u64,
                });
                at += len;
                file_offset += u64::from(len);
            }
        }
        (pieces, extents)
    }

    /// The bytes, one after the other; not copied where there is only one segment.
    pub(crate) fn payload(&self) -> Bytes {
        if let [(_, bytes)] = &self.segments[..] {
            return bytes.clone();
        }
        let mut all = BytesMut::with_capacity(self.bytes as usize);
        for (_, bytes) in &self.segments {
            all.extend_from_slice(bytes);
        }
        all.freeze()
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_is_in_one_piece(lens in prop::collection::vec(1usize..300_000, 1..12), base in 0u32..1000) {
            let mut at = 0u64;
            let segments: Vec<(u64, Bytes)> = lens.iter().map(|len| {
                let start = at + 5;
                at = start + *len as u64;
                (start, (0..*len).map(|i| (i % 253) as u8).collect::<Bytes>())
            }).collect();
            let total: usize = lens.iter().sum();
            let mut seen = 0usize;
            let mut file: Vec<(u64, Bytes)> = Vec::new();
            for load in loads(segments.clone()) {
                prop_assert!(load.bytes as usize <= APPEND_BYTES_MAX);
                let (pieces, extents) = load.cut(InodeId(3), BlockId(4), base, 10);
                let payload = load.payload();
                let mut offset = base;
                for piece in &pieces {
                    prop_assert!(piece.len > 0 && piece.len <= PIECE_BYTES_MAX);
                    prop_assert_eq!(piece.block_offset, offset);
                    let from = (offset - base) as usize;
                    prop_assert_eq!(Crc32c::of(&payload[from..from + piece.len as usize]), piece.crc);
                    offset += piece.len;
                }
                prop_assert_eq!((offset - base) as usize, payload.len());
                for e in &extents {
                    let from = (e.block_offset - base) as usize;
                    file.push((e.file_offset, payload.slice(from..from + e.len as usize)));
                }
                seen += payload.len();
            }
            prop_assert_eq!(seen, total);
            let flat = |parts: &[(u64, Bytes)]| parts.iter().flat_map(|(at, b)| (*at..).zip(b.to_vec())).collect::<Vec<_>>();
            prop_assert_eq!(flat(&file), flat(&segments));
        }
    }
}
