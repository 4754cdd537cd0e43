//! The model: a whole file system as plain maps, byte by byte.
//!
//! Written from what the operations promise and not from how they work, as simply as possible: every
//! byte of a file is a cell that says which byte of which block it is.

use crate::acls;
use dfs_master::engine::command::{Act, Grant};
use dfs_proto::{
    attr::{FileKind, SetAttr, SetTime},
    change::{Caller, Change, Make},
    id::{BlockId, InodeId, MinionId, SessionId},
    name::Name,
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// The bytes of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Bytes {
    /// Zeros.
    None,
    /// Beside the inode.
    Inline(Vec<u8>),
    /// Each at an offset: which byte of which block.
    Cells(BTreeMap<u64, (BlockId, u32)>),
}

/// An inode.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) kind: FileKind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) atime: Timestamp,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
    pub(crate) version: u64,
    pub(crate) truncations: u32,
    pub(crate) bytes: Bytes,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Entries of a directory.
    pub(crate) entries: BTreeMap<Name, InodeId>,
    /// What its blocks had to be synced to when it was written.
    pub(crate) unsynced: BTreeMap<BlockId, u32>,
}

/// What is known of a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    Writing,
    Whole,
    Lost,
}

/// A block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) session: SessionId,
    pub(crate) sealed: Option<u32>,
    pub(crate) synced: u32,
    pub(crate) replicas: BTreeMap<MinionId, Health>,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plain {
    pub(crate) inodes: BTreeMap<InodeId, Inode>,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    pub(crate) sessions: BTreeSet<SessionId>,
    pub(crate) opens: BTreeSet<(SessionId, InodeId)>,
    pub(crate) locks: crate::locks::Bytes,
    pub(crate) reclaiming: BTreeSet<BlockId>,
    pub(crate) quotas: crate::quotas::Quotas,
    pub(crate) policies: crate::policies::Policies,
}

pub(crate) type Answer = Result<(), &'static str>;

impl Inode {
    fn new(kind: FileKind, mode: u16, caller: Caller, now: Timestamp) -> Inode {
        Inode {
            kind,
            mode,
            uid: caller.uid,
            gid: caller.gid,
            size: 0,
            atime: now,
            mtime: now,
            ctime: now,
            version: 0,
            truncations: 0,
            bytes: Bytes::None,
            xattrs: BTreeMap::new(),
            entries: BTreeMap::new(),
            unsynced: BTreeMap::new(),
        }
    }

    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.ctime = self.ctime.max(now);
    }

    pub(crate) fn modify(&mut self, now: Timestamp) {
        self.touch(now);
        self.mtime = self.ctime;
        self.version += 1;
    }

    pub(crate) fn cut(&mut self, size: u64) {
        match &mut self.bytes {
            Bytes::None => {}
            Bytes::Inline(bytes) => {
                bytes.truncate(usize::try_from(size).expect("the model has it, and small"))
            }
            Bytes::Cells(cells) => drop(cells.split_off(&size)),
        }
        self.drop_empty();
    }

    /// Without a byte there is no row of bytes, and nothing to be synced.
    pub(crate) fn drop_empty(&mut self) {
        let empty = match &self.bytes {
            Bytes::None => true,
            Bytes::Inline(bytes) => bytes.is_empty(),
            Bytes::Cells(cells) => cells.is_empty(),
        };
        if empty {
            self.bytes = Bytes::None;
            self.unsynced.clear();
        }
    }

    pub(crate) fn kill(&mut self, set_ids: bool) {
        if set_ids {
            self.mode &= !0o4000;
        }
        if set_ids && self.mode & 0o10 != 0 {
            self.mode &= !0o2000;
        }
        self.xattrs.remove(&b"security.capability"[..]);
    }

    pub(crate) fn stored(&self) -> u64 {
        let len = match &self.bytes {
            Bytes::None => 0,
            Bytes::Inline(bytes) => bytes.len(),
            Bytes::Cells(cells) => cells.len(),
        };
        u64::try_from(len).expect("the model has it, and small")
    }
}

impl Plain {
    pub(crate) fn format(now: Timestamp) -> Plain {
        let mut plain = Plain::default();
        let caller = Caller {
            uid: 0,
            gid: 0,
            umask: 0,
        };
        let root = Inode::new(FileKind::Directory, 0o755, caller, now);
        plain.inodes.insert(InodeId::ROOT, root);
        plain
    }

    fn names_of(&self, id: InodeId) -> usize {
        let dirs = self.inodes.values();
        dirs.flat_map(|dir| dir.entries.values())
            .filter(|named| **named == id)
            .count()
    }

    pub(crate) fn links(&self, id: InodeId) -> u32 {
        let inode = &self.inodes[&id];
        let count = match inode.kind {
            FileKind::Directory if id != InodeId::ROOT && self.names_of(id) == 0 => 0,
            FileKind::Directory => {
                let subs = inode.entries.values();
                2 + subs
                    .filter(|sub| self.inodes[sub].kind == FileKind::Directory)
                    .count()
            }
            _ => self.names_of(id),
        };
        u32::try_from(count).expect("the model has it, and small")
    }

    fn is_held(&self, id: InodeId) -> bool {
        self.opens.iter().any(|(_, open)| *open == id)
    }

    pub(crate) fn drop_if_gone(&mut self, id: InodeId) {
        if self.inodes.contains_key(&id) && self.links(id) == 0 && !self.is_held(id) {
            self.inodes.remove(&id);
            self.quotas.limits.remove(&id);
            self.policies.copies.remove(&id);
        }
    }

    pub(crate) fn directory(&mut self, id: InodeId) -> Result<&mut Inode, &'static str> {
        match self.inodes.get_mut(&id) {
            None => Err("Stale"),
            Some(inode) if inode.kind != FileKind::Directory => Err("NotDirectory"),
            Some(inode) => Ok(inode),
        }
    }

    pub(crate) fn growing(&mut self, id: InodeId) -> Result<(), &'static str> {
        self.directory(id)?;
        if self.links(id) == 0 {
            return Err("NotFound");
        }
        Ok(())
    }

    pub(crate) fn inode(&mut self, id: InodeId) -> Result<&mut Inode, &'static str> {
        self.inodes.get_mut(&id).ok_or("Stale")
    }

    /// What is no session's change.
    pub(crate) fn act(&mut self, now: Timestamp, act: &Act) {
        match act {
            Act::OpenSession { session, .. } => drop(self.sessions.insert(*session)),
            Act::EndSession { session } => self.end(*session),
            Act::Replicas(all) => {
                for (block, minion, news) in all {
                    self.note(*block, *minion, *news);
                }
            }
            Act::SealMeasured {
                block, measured, ..
            } => self.measured(now, *block, measured),
            Act::Reclaim { .. } => {
                for block in self.unused() {
                    self.reclaiming.insert(block);
                }
            }
            _ => {}
        }
    }

    /// Sealed blocks that no file has a byte of, and that are not being reclaimed.
    pub(crate) fn unused(&self) -> BTreeSet<BlockId> {
        let sealed = self
            .blocks
            .iter()
            .filter(|(_, block)| block.sealed.is_some());
        let mut unused: BTreeSet<BlockId> = sealed.map(|(id, _)| *id).collect();
        unused.retain(|id| !self.reclaiming.contains(id));
        for inode in self.inodes.values() {
            if let Bytes::Cells(cells) = &inode.bytes {
                for (block, _) in cells.values() {
                    unused.remove(block);
                }
            }
        }
        unused
    }

    pub(crate) fn named_end(&self, block: BlockId) -> u32 {
        let cells = self.inodes.values().filter_map(|inode| match &inode.bytes {
            Bytes::Cells(cells) => Some(cells.values()),
            Bytes::None | Bytes::Inline(_) => None,
        });
        cells
            .flatten()
            .filter(|(of, _)| *of == block)
            .map(|(_, at)| at + 1)
            .max()
            .unwrap_or(0)
    }

    fn end(&mut self, session: SessionId) {
        if !self.sessions.remove(&session) {
            return;
        }
        self.forget_locks(session, None);
        let written: Vec<BlockId> = self.blocks.keys().copied().collect();
        for id in written {
            let unnamed = self.named_end(id) == 0;
            let block = self
                .blocks
                .get_mut(&id)
                .expect("the model has it, and small");
            if block.session == session && block.sealed.is_none() && unnamed {
                block.sealed = Some(0);
                block.synced = 0;
            }
        }
        let held: Vec<InodeId> = self
            .opens
            .iter()
            .filter(|(by, _)| *by == session)
            .map(|(_, id)| *id)
            .collect();
        self.close(session, &held);
    }

    fn close(&mut self, session: SessionId, inodes: &[InodeId]) {
        self.forget_locks(session, Some(inodes));
        for id in inodes {
            self.opens.remove(&(session, *id));
            self.drop_if_gone(*id);
        }
    }

    /// A session's change; says what went wrong by the name of the error.
    pub(crate) fn change(
        &mut self,
        now: Timestamp,
        session: SessionId,
        change: &Change,
        grant: &Grant,
    ) -> Answer {
        // Only a commit may fail after it has changed something, but for what quotas do not allow.
        let commit = matches!(change, Change::Commit { .. });
        let before = (commit || self.quotas.strict).then(|| self.clone());
        let answer = self.try_change(now, session, change, grant);
        let answer =
            answer.and_then(|()| before.as_ref().map_or(Ok(()), |b| self.within_limits(b)));
        if let (Err(_), Some(before)) = (answer, before) {
            *self = before;
        }
        answer
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each change, to be read beside their list"
    )]
    fn try_change(
        &mut self,
        now: Timestamp,
        session: SessionId,
        change: &Change,
        grant: &Grant,
    ) -> Answer {
        if !self.sessions.contains(&session) {
            return Err("SessionEnded");
        }
        match change {
            Change::Make {
                parent,
                name,
                what,
                mode,
                caller,
            } => {
                let Grant::Inode(id) = grant else {
                    unreachable!("the driver grants one")
                };
                self.growing(*parent)?;
                if self.inodes[parent].entries.contains_key(name) {
                    return Err("Exists");
                }
                self.make(now, *id, *parent, what, *mode, *caller);
                self.add(now, *parent, name, *id);
                if *what == (Make::File { open: true }) {
                    self.opens.insert((session, *id));
                }
                Ok(())
            }
            Change::Link {
                inode,
                parent,
                name,
            } => self.link(now, *inode, *parent, name),
            Change::Unlink { parent, name } => {
                let id = self.named(*parent, name)?;
                if self.inodes[&id].kind == FileKind::Directory {
                    return Err("IsDirectory");
                }
                self.remove(now, *parent, name, id);
                Ok(())
            }
            Change::Rmdir { parent, name } => {
                let id = self.named(*parent, name)?;
                let inode = &self.inodes[&id];
                if inode.kind != FileKind::Directory {
                    return Err("NotDirectory");
                }
                if !inode.entries.is_empty() {
                    return Err("NotEmpty");
                }
                self.remove(now, *parent, name, id);
                Ok(())
            }
            Change::Rename {
                parent,
                name,
                new_parent,
                new_name,
                mode,
            } => self.rename(now, (*parent, name), (*new_parent, new_name), *mode),
            Change::SetAttr { inode, set } => self.setattr(now, *inode, set),
            Change::SetXattr {
                inode,
                name,
                value,
                mode,
                kill_set_group,
            } => {
                let inode = self.inode(*inode)?;
                acls::set_xattr(now, inode, (name, value), *mode, *kill_set_group)
            }
            Change::RemoveXattr { inode, name } => acls::remove(now, self.inode(*inode)?, name),
            Change::Open {
                inode,
                truncate,
                kill_privileges,
            } => {
                let id = *inode;
                let inode = self.inode(id)?;
                if *truncate {
                    resize(now, inode, 0)?;
                }
                if *truncate || *kill_privileges {
                    inode.kill(*kill_privileges);
                    inode.touch(now);
                }
                self.opens.insert((session, id));
                Ok(())
            }
            Change::Close { inodes } => {
                self.close(session, inodes);
                Ok(())
            }
            Change::Allocate { .. } => {
                self.allocate(session, grant);
                Ok(())
            }
            Change::Commit { files, synced, .. } => self.commit(now, session, files, synced),
            Change::Seal { block, length } => self.seal(session, *block, *length),
            Change::Sync => Ok(()),
            Change::Lock { inode, wish, .. } => self.lock(session, *inode, wish),
            Change::Unlock {
                inode,
                owner,
                range,
            } => self.unlock(session, *inode, *owner, *range),
            Change::EndSession => {
                self.end(session);
                Ok(())
            }
            Change::Fallocate {
                inode,
                range,
                mode,
                kill_privileges,
            } => self.fallocate(now, *inode, *range, *mode, *kill_privileges),
            Change::CloneRange {
                source,
                from,
                inode,
                at,
                len,
                kill_privileges,
            } => {
                let what = (*len, *kill_privileges);
                self.clone_range(now, session, (*source, *from), (*inode, *at), what)
            }
            Change::Access { accesses } => self.access(now, accesses),
            Change::Locks { inode, held } => self.keep_locks(session, *inode, held),
        }
    }

    fn make(
        &mut self,
        now: Timestamp,
        id: InodeId,
        parent: InodeId,
        what: &Make,
        mode: u16,
        caller: Caller,
    ) {
        let above = &self.inodes[&parent];
        let inherits = above.mode & 0o2000 != 0;
        let gid = if inherits { above.gid } else { caller.gid };
        let kind = match what {
            Make::File { .. } => FileKind::File,
            Make::Directory => FileKind::Directory,
            Make::Symlink(_) => FileKind::Symlink,
            Make::Fifo => FileKind::Fifo,
            Make::Socket => FileKind::Socket,
            Make::CharDevice(_) => FileKind::CharDevice,
            Make::BlockDevice(_) => FileKind::BlockDevice,
        };
        let mut inode = Inode::new(kind, mode, Caller { gid, ..caller }, now);
        match what {
            Make::Directory if inherits => inode.mode |= 0o2000,
            Make::Symlink(target) => {
                inode.mode = 0o777;
                inode.size = u64::try_from(target.len()).expect("the model has it, and small");
                inode.bytes = Bytes::Inline(target.to_vec());
            }
            _ => {}
        }
        acls::begin(&mut inode, &self.inodes[&parent], caller.umask);
        self.inodes.insert(id, inode);
    }

    fn add(&mut self, now: Timestamp, parent: InodeId, name: &Name, id: InodeId) {
        let above = self
            .inodes
            .get_mut(&parent)
            .expect("the model has it, and small");
        above.entries.insert(name.clone(), id);
        above.modify(now);
    }

    fn link(&mut self, now: Timestamp, id: InodeId, parent: InodeId, name: &Name) -> Answer {
        self.policies.linked.insert(id);
        let kind = self.inode(id)?.kind;
        self.growing(parent)?;
        if kind == FileKind::Directory {
            return Err("NotPermitted");
        }
        if self.links(id) == 0 {
            return Err("NotFound");
        }
        if self.inodes[&parent].entries.contains_key(name) {
            return Err("Exists");
        }
        self.may_link(id, parent)?;
        self.inode(id)?.touch(now);
        self.add(now, parent, name, id);
        Ok(())
    }

    pub(crate) fn named(&mut self, parent: InodeId, name: &Name) -> Result<InodeId, &'static str> {
        let above = self.directory(parent)?;
        above.entries.get(name).copied().ok_or("NotFound")
    }

    fn remove(&mut self, now: Timestamp, parent: InodeId, name: &Name, id: InodeId) {
        let above = self
            .inodes
            .get_mut(&parent)
            .expect("the model has it, and small");
        above.entries.remove(name);
        above.modify(now);
        self.inodes
            .get_mut(&id)
            .expect("the model has it, and small")
            .touch(now);
        self.drop_if_gone(id);
    }

    fn setattr(&mut self, now: Timestamp, id: InodeId, set: &SetAttr) -> Answer {
        let inode = self.inode(id)?;
        if let Some(size) = set.size {
            resize(now, inode, size)?;
        }
        let chown = set.uid.is_some() || set.gid.is_some();
        let kill = set.kill_privileges || chown && inode.kind != FileKind::Directory;
        if kill || set.size.is_some() {
            inode.kill(kill);
        }
        inode.uid = set.uid.unwrap_or(inode.uid);
        inode.gid = set.gid.unwrap_or(inode.gid);
        inode.mode = set.mode.unwrap_or(inode.mode);
        acls::after_chmod(inode);
        inode.touch(now);
        for (time, into) in [(set.atime, &mut inode.atime), (set.mtime, &mut inode.mtime)] {
            match time {
                None => {}
                Some(SetTime::Now) => *into = inode.ctime,
                Some(SetTime::At(moment)) => *into = moment,
            }
        }
        Ok(())
    }
}

fn resize(now: Timestamp, inode: &mut Inode, size: u64) -> Answer {
    match inode.kind {
        FileKind::File => {}
        FileKind::Directory => return Err("IsDirectory"),
        _ => return Err("Invalid"),
    }
    if size < inode.size {
        inode.cut(size);
    }
    inode.size = size;
    inode.truncations += 1;
    inode.modify(now);
    Ok(())
}
