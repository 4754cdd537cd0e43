//! Stretches of files that are cut into very many extents.

use super::rewrite::uses;
use crate::{
    blocks::extents::Map,
    tables::{damage::Damage, rows::InodeRow, txn::Rows},
};
use dfs_proto::{
    extent::{BLOCK_BYTES_MAX, Extent, FileRange},
    id::{BlockId, InodeId},
    minion::BlockRange,
};
use std::{collections::BTreeMap, ops::ControlFlow};

/// Extents of one stretch, at the least, for it to be compacted.
const EXTENTS_MIN: usize = 1024;
/// They are shorter than this on the average.
const EXTENT_BYTES: usize = 32 << 10;

/// A stretch of a file, as long as a block may be, and the extents that it is cut into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The file.
    pub inode: InodeId,
    /// The parts of its extents that lie in the stretch, in order.
    pub extents: Vec<Extent>,
}

/// The stretch that most extents of this block belong to, if it is cut into very many short ones.
pub fn cut(read: &impl Rows, block: BlockId) -> Result<Option<Cut>, Damage> {
    let stretch = u64::from(BLOCK_BYTES_MAX);
    let mut counts: BTreeMap<(InodeId, u32, u64), usize> = BTreeMap::new();
    for (inode, generation, extent) in uses(read, block)? {
        let of = (inode, generation, extent.file_offset / stretch);
        *counts.entry(of).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    let Some(((inode, generation, number), _)) = most else {
        return Ok(None);
    };
    let row = read.row::<InodeRow>(inode)?;
    let current = row.filter(|row| row.generation == generation);
    let Some(row) = current.filter(|row| row.extents as usize >= EXTENTS_MIN) else {
        return Ok(None);
    };
    let range = FileRange::of(number * stretch, stretch);
    let mut extents = Vec::new();
    Map::of(inode, &row).overlapping(read, range, |extent| {
        extents.extend(extent.clip(range));
        ControlFlow::Continue(())
    })?;
    let bytes: usize = extents.iter().map(|extent| extent.len as usize).sum();
    let is_cut = extents.len() >= EXTENTS_MIN && bytes < extents.len() * EXTENT_BYTES;
    Ok(is_cut.then_some(Cut { inode, extents }))
}

impl Cut {
    /// What is to be copied, in the order of the file, when only blocks may be touched that `may`
    /// says: each byte once. `None` where the stretch would stay cut into more than half as many
    /// extents as it is.
    pub fn sources(&self, may: impl Fn(BlockId) -> bool) -> Option<Vec<BlockRange>> {
        let mut taken: BTreeMap<(BlockId, u32), u32> = BTreeMap::new();
        let mut sources = Vec::new();
        let mut after = 0;
        let mut copied_to = None;
        for extent in &self.extents {
            let (block, start, end) = (extent.block, extent.block_offset, extent.block_end());
            let before = taken.range(..(block, end)).next_back();
            let again = before.is_some_and(|((of, _), upto)| *of == block && *upto > start);
            if again || !may(block) {
                after += 1;
                copied_to = None;
                continue;
            }
            taken.insert((block, start), end);
            sources.push(BlockRange { block, start, end });
            after += usize::from(copied_to != Some(extent.file_offset));
            copied_to = Some(extent.range().end);
        }
        (after * 2 < self.extents.len()).then_some(sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(page: u32, block: u32, at: u32) -> Extent {
        Extent {
            file_offset: u64::from(page) * 4096,
            len: 4096,
            block: BlockId(u64::from(block)),
            block_offset: at * 4096,
        }
    }

    fn cut(extents: Vec<Extent>) -> Cut {
        Cut {
            inode: InodeId(5),
            extents,
        }
    }

    #[test]
    fn what_can_be_joined_is_copied_each_byte_once() {
        let scattered = cut((0..10).map(|n| extent(n, 1 + n % 2, 20 - n)).collect());
        let all = scattered.sources(|_| true).expect("worth it");
        assert_eq!(all.len(), 10);
        assert_eq!(
            all[1],
            BlockRange {
                block: BlockId(2),
                start: 19 * 4096,
                end: 20 * 4096
            }
        );
        assert_eq!(scattered.sources(|block| block == BlockId(1)), None);
        // Holes stay, and nothing is gained.
        let sparse = cut((0..10).map(|n| extent(n * 2, 1, n)).collect());
        assert_eq!(sparse.sources(|_| true), None);
        // What stands in the file twice is copied once.
        let mut twice = scattered.extents;
        twice.push(extent(10, 1, 20));
        assert_eq!(cut(twice).sources(|_| true).expect("worth it").len(), 10);
    }
}
