//! The model's ranges: given up, allocated, cloned.

use crate::plain::{Answer, Bytes, Inode, Plain};
use dfs_proto::{
    attr::{FILE_BYTES_MAX, FileKind},
    change::RangeMode,
    extent::{FileRange, INLINE_BYTES_MAX},
    id::{BlockId, InodeId, SessionId},
    time::Timestamp,
};
use std::collections::BTreeMap;

fn small(offset: u64) -> usize {
    usize::try_from(offset).expect("the model has it, and small")
}

impl Inode {
    /// What is in `range` reads as zeros, and is not stored where it need not be.
    pub(crate) fn punch(&mut self, range: FileRange) {
        match &mut self.bytes {
            Bytes::None => {}
            Bytes::Inline(bytes) => {
                let end = bytes.len() as u64;
                for (at, byte) in (0..).zip(bytes.iter_mut()) {
                    if range.start <= at && at < range.end {
                        *byte = 0;
                    }
                }
                if range.start < end && range.end >= end {
                    bytes.truncate(usize::try_from(range.start).expect("small"));
                }
            }
            Bytes::Cells(cells) => cells.retain(|at, _| *at < range.start || *at >= range.end),
        }
        self.drop_empty();
    }

    /// The cells in `range`, as far from `at` as they were from its start.
    fn cells(&self, range: FileRange, at: u64) -> BTreeMap<u64, (BlockId, u32)> {
        match &self.bytes {
            Bytes::Cells(cells) => cells
                .range(range.start..range.end)
                .map(|(offset, cell)| (at + offset - range.start, *cell))
                .collect(),
            Bytes::None | Bytes::Inline(_) => BTreeMap::new(),
        }
    }
}

impl Plain {
    pub(crate) fn fallocate(
        &mut self,
        now: Timestamp,
        id: InodeId,
        range: FileRange,
        mode: RangeMode,
        kill: bool,
    ) -> Answer {
        let inode = self.file(id)?;
        if range.is_empty() {
            return Err("Invalid");
        }
        if range.end > FILE_BYTES_MAX {
            return Err("FileTooLarge");
        }
        if mode != RangeMode::Extend {
            inode.punch(range);
        }
        let grows = mode != RangeMode::Punch && inode.size < range.end;
        if grows {
            inode.size = range.end;
        }
        inode.kill(kill);
        match mode == RangeMode::Extend && !grows {
            true => inode.touch(now),
            false => inode.modify(now),
        }
        Ok(())
    }

    fn file(&mut self, id: InodeId) -> Result<&mut Inode, &'static str> {
        let inode = self.inode(id)?;
        match inode.kind {
            FileKind::File => Ok(inode),
            _ => Err("Invalid"),
        }
    }

    pub(crate) fn clone_range(
        &mut self,
        now: Timestamp,
        session: SessionId,
        (source, from): (InodeId, u64),
        (id, at): (InodeId, u64),
        (len, kill): (u64, bool),
    ) -> Answer {
        self.file(id)?;
        let there = self.file(source)?.clone();
        let len = len.min(there.size.saturating_sub(from));
        let (from, to) = (FileRange::of(from, len), FileRange::of(at, len));
        if source == id && from.start < to.end && to.start < from.end && len > 0 {
            return Err("Invalid");
        }
        if to.end > FILE_BYTES_MAX {
            return Err("FileTooLarge");
        }
        if len == 0 {
            return Ok(());
        }
        let here = self.inodes[&id].bytes.clone();
        match (&there.bytes, &here) {
            (Bytes::Inline(bytes), _) if from.start < bytes.len() as u64 => {
                self.copy_inline(id, bytes, from, to)?;
            }
            (_, Bytes::Inline(bytes)) if to.start > 0 || to.end < bytes.len() as u64 => {
                return Err("Inline");
            }
            _ => self.share(session, id, to, there.cells(from, at))?,
        }
        let inode = self.file(id)?;
        inode.size = inode.size.max(to.end);
        inode.kill(kill);
        inode.modify(now);
        Ok(())
    }

    fn copy_inline(&mut self, id: InodeId, bytes: &[u8], from: FileRange, to: FileRange) -> Answer {
        let inode = self.file(id)?;
        let mut content = match &inode.bytes {
            Bytes::None => Vec::new(),
            Bytes::Inline(bytes) => bytes.clone(),
            Bytes::Cells(_) => return Err("Inline"),
        };
        if inode.size.max(to.end) > u64::from(INLINE_BYTES_MAX) {
            return Err("Inline");
        }
        content.resize(content.len().max(small(to.end)), 0);
        for i in 0..from.len() {
            let byte = bytes.get(small(from.start + i)).copied();
            content[small(to.start + i)] = byte.unwrap_or(0);
        }
        inode.bytes = Bytes::Inline(content);
        Ok(())
    }

    fn share(
        &mut self,
        session: SessionId,
        id: InodeId,
        to: FileRange,
        cloned: BTreeMap<u64, (BlockId, u32)>,
    ) -> Answer {
        let here = &self.inodes[&id].bytes;
        let is_synced = |(block, at): &(BlockId, u32)| *at < self.blocks[block].synced;
        for (offset, cell) in &cloned {
            let over = match here {
                Bytes::None => false,
                Bytes::Inline(_) => true,
                Bytes::Cells(old) => old.get(offset).is_some_and(is_synced),
            };
            if !is_synced(cell) && (self.blocks[&cell.0].session != session || over) {
                return Err("SyncFirst");
            }
        }
        let mut cells = match here {
            Bytes::Cells(old) => old.clone(),
            Bytes::None | Bytes::Inline(_) => BTreeMap::new(),
        };
        cells.retain(|offset, _| *offset < to.start || *offset >= to.end);
        let inode = self.file(id)?;
        for (offset, (block, at)) in cloned {
            cells.insert(offset, (block, at));
            let known = inode.unsynced.entry(block).or_default();
            *known = (at + 1).max(*known);
        }
        inode.bytes = Bytes::Cells(cells);
        inode.drop_empty();
        Ok(())
    }
}
