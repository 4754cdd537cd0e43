//! The model's rename.

use crate::plain::{Answer, Inode, Plain};
use dfs_proto::{attr::FileKind, change::RenameMode, id::InodeId, name::Name, time::Timestamp};

impl Plain {
    fn is_below(&self, id: InodeId, above: InodeId) -> bool {
        id == above
            || self.inodes[&above]
                .entries
                .values()
                .any(|sub| self.is_below(id, *sub))
    }

    pub(crate) fn rename(
        &mut self,
        now: Timestamp,
        from: (InodeId, &Name),
        to: (InodeId, &Name),
        mode: RenameMode,
    ) -> Answer {
        self.directory(from.0)?;
        if from.0 != to.0 {
            self.growing(to.0)?;
        }
        let moved = self.named(from.0, from.1)?;
        let target = self.inodes[&to.0].entries.get(to.1).copied();
        let is_directory = |id| self.inodes[&id].kind == FileKind::Directory;
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err("Exists"),
            (RenameMode::Exchange, None) => return Err("NotFound"),
            (_, Some(target)) if target == moved => return Ok(()),
            (RenameMode::Replace, Some(target)) => {
                match (is_directory(moved), is_directory(target)) {
                    (true, false) => return Err("NotDirectory"),
                    (false, true) => return Err("IsDirectory"),
                    (true, true) if !self.inodes[&target].entries.is_empty() => {
                        return Err("NotEmpty");
                    }
                    _ => {}
                }
                let files = [moved, target].map(|id| self.inodes[&id].kind == FileKind::File);
                let over_bytes = files == [true, true] && self.inodes[&target].stored() > 0;
                if over_bytes && self.waits(&self.inodes[&moved]) {
                    return Err("SyncFirst");
                }
            }
            _ => {}
        }
        if from.0 != to.0 {
            let swapped = target.filter(|_| mode == RenameMode::Exchange);
            let up = swapped.is_some_and(|target| self.is_below(from.0, target));
            if self.is_below(to.0, moved) || up {
                return Err("Invalid");
            }
        }
        if from.0 != to.0 {
            self.may_move(moved, from.0, to.0)?;
            if let Some(other) = target.filter(|_| mode == RenameMode::Exchange) {
                self.may_move(other, to.0, from.0)?;
            }
        }
        self.inode(from.0)?.entries.remove(from.1);
        self.inode(to.0)?.entries.insert(to.1.clone(), moved);
        if let Some(target) = target {
            if mode == RenameMode::Exchange {
                self.inode(from.0)?.entries.insert(from.1.clone(), target);
            }
            self.inode(target)?.touch(now);
            self.drop_if_gone(target);
        }
        self.inode(moved)?.touch(now);
        self.inode(from.0)?.modify(now);
        if from.0 != to.0 {
            self.inode(to.0)?.modify(now);
        }
        Ok(())
    }

    fn waits(&self, inode: &Inode) -> bool {
        inode.unsynced.iter().any(|(id, end)| {
            let block = self.blocks.get(id);
            block.is_some_and(|b| b.synced < (*end).min(b.sealed.unwrap_or(u32::MAX)))
        })
    }
}
