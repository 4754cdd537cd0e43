//! The model's blocks: commits, seals, what replicas have and what is lost with them.

use crate::plain::{Answer, Block, Bytes, Health, Plain};
use dfs_master::engine::command::{Grant, Measured, ReplicaNews};
use dfs_proto::{
    attr::FileKind,
    change::{CommitBytes, FileCommit},
    extent::{Extent, INLINE_BYTES_MAX},
    id::{BlockId, InodeId, MinionId, SessionId},
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

impl Plain {
    /// The block that the driver granted.
    pub(crate) fn allocate(&mut self, session: SessionId, grant: &Grant) {
        let Grant::Block {
            block, replicas, ..
        } = grant
        else {
            unreachable!("the driver grants one")
        };
        let row = Block {
            session,
            sealed: None,
            synced: 0,
            replicas: replicas
                .iter()
                .map(|minion| (*minion, Health::Writing))
                .collect(),
        };
        self.blocks.insert(*block, row);
    }

    pub(crate) fn note(&mut self, id: BlockId, minion: MinionId, news: ReplicaNews) {
        let Some(block) = self.blocks.get_mut(&id) else {
            return;
        };
        let reclaiming = self.reclaiming.contains(&id);
        let Some(health) = block.replicas.get_mut(&minion) else {
            return;
        };
        match news {
            ReplicaNews::Sealed { length } if !reclaiming => match block.sealed {
                Some(sealed) if sealed == length => *health = Health::Whole,
                Some(sealed) if sealed > length => *health = Health::Lost,
                _ => {}
            },
            ReplicaNews::Lost => *health = Health::Lost,
            ReplicaNews::Dropped { .. } if reclaiming => {
                block.replicas.remove(&minion);
                if block.replicas.is_empty() {
                    self.blocks.remove(&id);
                    self.reclaiming.remove(&id);
                    return;
                }
            }
            _ => {}
        }
        let counting = || {
            block
                .replicas
                .values()
                .filter(|health| **health != Health::Lost)
        };
        if let Some(sealed) = block.sealed
            && !reclaiming
            && counting().count() > 0
            && counting().all(|health| *health == Health::Whole)
        {
            block.synced = sealed;
        }
    }

    /// All replicas answered, and none had confirmed the seal.
    pub(crate) fn measured(&mut self, now: Timestamp, id: BlockId, measured: &[Measured]) {
        let named = self.named_end(id);
        let Some(block) = self.blocks.get_mut(&id) else {
            return;
        };
        if self.reclaiming.contains(&id)
            || block
                .replicas
                .values()
                .any(|health| *health == Health::Whole)
        {
            return;
        }
        let synced = block.synced;
        let valid = measured.iter().map(|m| m.length).filter(|l| *l >= synced);
        let valid: BTreeSet<u32> = valid.collect();
        let whole = valid.iter().copied().find(|length| *length >= named);
        let Some(length) = whole.or(valid.last().copied()) else {
            return;
        };
        let length = length.min(block.sealed.unwrap_or(u32::MAX));
        block.sealed = Some(length);
        block.synced = block.synced.min(length);
        for measure in measured {
            let health = match measure.length < length {
                true => Health::Lost,
                false => Health::Writing,
            };
            block.replicas.insert(measure.minion, health);
        }
        let blocks = self.blocks.clone();
        for inode in self.inodes.values_mut() {
            let Bytes::Cells(cells) = &mut inode.bytes else {
                continue;
            };
            let lost: Vec<u64> = cells
                .iter()
                .filter(|(_, (of, at))| *of == id && *at >= length)
                .map(|(offset, _)| *offset)
                .collect();
            let Some(first) = lost.first().copied() else {
                continue;
            };
            cells.retain(|_, (of, at)| *of != id || *at < length);
            let promised = cells
                .iter()
                .rev()
                .find(|(_, (of, at))| *at < blocks[of].synced);
            let end = promised.map_or(0, |(offset, _)| offset + 1);
            inode.size = inode.size.min(first.max(end));
            let size = inode.size;
            inode.cut(size);
            inode.truncations += 1;
            inode.modify(now);
        }
    }

    pub(crate) fn seal(&mut self, session: SessionId, id: BlockId, length: u32) -> Answer {
        let named = self.named_end(id);
        let reclaiming = self.reclaiming.contains(&id);
        let block = self.blocks.get_mut(&id);
        let block = block.filter(|block| block.session == session && !reclaiming);
        let block = block.ok_or("NotYourBlock")?;
        match block.sealed {
            Some(at) if at == length => Ok(()),
            Some(_) => Err("BlockSealed"),
            None if length < named.max(block.synced) => Err("Invalid"),
            None => {
                block.sealed = Some(length);
                Ok(())
            }
        }
    }

    pub(crate) fn commit(
        &mut self,
        now: Timestamp,
        session: SessionId,
        files: &[FileCommit],
        synced: &[(BlockId, u32)],
    ) -> Answer {
        for (id, length) in synced {
            if let Some(block) = self.blocks.get_mut(id)
                && block.session == session
            {
                let length = (*length).min(block.sealed.unwrap_or(u32::MAX));
                block.synced = block.synced.max(length);
            }
        }
        for file in files {
            let before = self.quotas.strict.then(|| self.clone());
            self.commit_file(now, session, file)?;
            before.map_or(Ok(()), |before| self.within_limits(&before))?;
        }
        Ok(())
    }

    fn commit_file(&mut self, now: Timestamp, session: SessionId, file: &FileCommit) -> Answer {
        let id = file.inode;
        let inode = self.inode(id)?;
        if inode.kind != FileKind::File || file.truncations > inode.truncations {
            return Err("Invalid");
        }
        match &file.bytes {
            CommitBytes::Inline {
                offset,
                bytes,
                data_version,
            } => {
                if *data_version != inode.version {
                    return Err("ContentMoved");
                }
                let start = usize::try_from(*offset).expect("small");
                let end = start + bytes.len();
                let size = inode.size.max(u64::try_from(end).expect("small"));
                let mut content = match &inode.bytes {
                    Bytes::None => Vec::new(),
                    Bytes::Inline(bytes) => bytes.clone(),
                    Bytes::Cells(_) => return Err("Invalid"),
                };
                if size > u64::from(INLINE_BYTES_MAX) {
                    return Err("Invalid");
                }
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(bytes);
                inode.bytes = Bytes::Inline(content);
                inode.size = size;
            }
            CommitBytes::Extents {
                extents,
                from_inline,
            } => {
                let expected = from_inline.unwrap_or(inode.version);
                let blind = matches!(inode.bytes, Bytes::Inline(_)) && from_inline.is_none();
                if expected != inode.version || blind {
                    return Err("ContentMoved");
                }
                let mut extents = extents.clone();
                if file.truncations < inode.truncations {
                    let size = inode.size;
                    extents.retain_mut(|extent| {
                        let left = size.saturating_sub(extent.file_offset);
                        extent.len = extent.len.min(u32::try_from(left).unwrap_or(u32::MAX));
                        extent.len > 0
                    });
                }
                self.point(session, id, &extents)?;
            }
        }
        let inode = self.inode(id)?;
        inode.kill(file.kill_privileges);
        inode.modify(file.mtime.min(now));
        Ok(())
    }

    fn point(&mut self, session: SessionId, id: InodeId, extents: &[Extent]) -> Answer {
        for extent in extents {
            let block = self.blocks.get(&extent.block);
            let block = block.filter(|block| {
                block.session == session && !self.reclaiming.contains(&extent.block)
            });
            let sealed = block.ok_or("NotYourBlock")?.sealed;
            if sealed.is_some_and(|length| extent.block_end() > length) {
                return Err("BlockSealed");
            }
        }
        let inode = &self.inodes[&id];
        for extent in extents {
            let block = &self.blocks[&extent.block];
            if block.synced >= extent.block_end() {
                continue;
            }
            let gives_up = match &inode.bytes {
                Bytes::None => false,
                Bytes::Inline(_) => true,
                Bytes::Cells(cells) => cells
                    .range(extent.file_offset..extent.range().end)
                    .any(|(_, (of, at))| *at < self.blocks[of].synced),
            };
            if gives_up {
                return Err("SyncFirst");
            }
        }
        if extents.is_empty() {
            return Ok(());
        }
        let mut cells = match &inode.bytes {
            Bytes::None => BTreeMap::new(),
            Bytes::Inline(bytes) => {
                let covered = |at: u64| {
                    let mut ranges = extents.iter().map(Extent::range);
                    ranges.any(|range| range.start <= at && at < range.end)
                };
                if !(0..u64::try_from(bytes.len()).expect("small")).all(covered) {
                    return Err("Invalid");
                }
                BTreeMap::new()
            }
            Bytes::Cells(cells) => cells.clone(),
        };
        let mut unsynced = inode.unsynced.clone();
        let mut size = inode.size;
        for extent in extents {
            for i in 0..extent.len {
                let at = extent.file_offset + u64::from(i);
                cells.insert(at, (extent.block, extent.block_offset + i));
            }
            size = size.max(extent.range().end);
            let end = unsynced.entry(extent.block).or_default();
            *end = extent.block_end().max(*end);
        }
        let inode = self.inode(id)?;
        inode.bytes = Bytes::Cells(cells);
        inode.unsynced = unsynced;
        inode.size = size;
        Ok(())
    }
}
