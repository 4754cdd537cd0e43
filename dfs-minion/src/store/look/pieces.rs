//! Reads the pieces of a block one after the other, and sums them up.

use crate::store::{index::Index, recover::Walk};
use dfs_host::disk::DiskFile;
use dfs_proto::{checksum::Crc32c, id::BlockId};
use std::io;

/// What the pieces of a block are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pieces {
    /// All are what was written; the checksum of the payload of those that were not given up.
    Whole(Crc32c),
    /// The first that is not begins here.
    Rotten(u32),
}

/// Reads the pieces of a block from the disk, but for those that were given up.
pub(super) fn read(
    file: &dyn DiskFile,
    block: BlockId,
    index: &Index,
    is_given_up: impl Fn(u32, u32) -> bool,
) -> io::Result<Pieces> {
    let mut walk = Walk::new(file, block, index.position_end());
    let mut sum = Crc32c::of(&[]);
    let ends = index.starts().iter().skip(1).copied();
    for (start, end) in index.starts().iter().zip(ends.chain([index.length()])) {
        let len = end - start;
        if is_given_up(*start, end) {
            walk.pass(len);
            continue;
        }
        match walk.next(len)? {
            Some(piece) => sum = sum.then(piece.crc, u64::from(len)),
            None => return Ok(Pieces::Rotten(*start)),
        }
    }
    Ok(Pieces::Whole(sum))
}
