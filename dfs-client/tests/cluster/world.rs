//! What a master in memory knows, and how changes change it: slow and obvious, strict about what
//! clients must not do.

use bytes::Bytes;
use dfs_proto::{
    attr::{Attr, FileKind, SetTime},
    block::{BlockPlace, Capability, Copies},
    change::{Change, Changed, CommitBytes, FileCommit, Logged, Make},
    error::FsError,
    extent::{Extent, FileRange, INLINE_BYTES_MAX},
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    minion::MinionEntry,
    name::Name,
    session::{BadReplica, LockHeld, LockKind, LockOwner, LockWish},
    time::Timestamp,
    view::{Content, Layout, View},
};
use std::collections::{BTreeMap, HashMap, HashSet};

pub(crate) const FILESYSTEM: FilesystemId = FilesystemId(77);

pub(super) struct File {
    pub(super) attr: Attr,
    pub(super) inline: Bytes,
    pub(super) extents: Vec<Extent>,
    pub(super) entries: BTreeMap<Name, InodeId>,
    pub(super) holders: HashSet<SessionId>,
}

pub(super) struct Block {
    place: BlockPlace,
    session: SessionId,
    synced: u32,
}

/// Everything that survives a restart of the master.
#[derive(Default)]
pub(crate) struct World {
    pub(super) files: HashMap<InodeId, File>,
    pub(super) blocks: HashMap<BlockId, Block>,
    pub(super) sessions: HashSet<SessionId>,
    pub(super) replies: HashMap<(SessionId, u64), Result<Logged<Changed>, FsError>>,
    pub(super) next: u64,
    pub(super) index: u64,
    pub(crate) bad: Vec<BadReplica>,
    pub(crate) changes: u64,
    pub(crate) commits: u64,
    pub(crate) repeats: u64,
    /// Locks, by inode; whoever unlocks names the ranges that it locked.
    pub(crate) locks: Vec<(InodeId, LockHeld)>,
    /// Answers to drop: the change is made, and the link breaks before the answer.
    pub(crate) mute: bool,
    /// Minions that live and take no new blocks.
    pub(crate) full: Vec<MinionId>,
}

pub(super) type Answer<T> = Result<Logged<T>, FsError>;

impl World {
    pub(crate) fn new() -> World {
        let mut world = World {
            next: 10,
            index: 1,
            ..World::default()
        };
        let root = world.file(InodeId::ROOT, FileKind::Directory, 0o755);
        world.files.insert(InodeId::ROOT, root);
        world
    }

    /// Blocks so far.
    pub(crate) fn blocks_made(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp {
            seconds: 4_000_000_000,
            nanos: u32::try_from(self.index % 1_000_000_000).unwrap(),
        }
    }

    pub(super) fn file(&self, inode: InodeId, kind: FileKind, mode: u16) -> File {
        let now = self.now();
        File {
            attr: Attr {
                inode,
                kind,
                mode,
                uid: 0,
                gid: 0,
                links: 1,
                size: 0,
                stored: 0,
                rdev: 0,
                atime: now,
                mtime: now,
                ctime: now,
                btime: now,
                data_version: 0,
                truncations: 0,
                policy: None,
                xattrs: 0,
                acls: dfs_proto::attr::Acls::default(),
            },
            inline: Bytes::new(),
            extents: Vec::new(),
            entries: BTreeMap::new(),
            holders: HashSet::new(),
        }
    }

    pub(super) fn of(&mut self, inode: InodeId) -> Result<&mut File, FsError> {
        self.files.get_mut(&inode).ok_or(FsError::Stale(inode))
    }

    pub(super) fn logged<T>(&self, answer: T) -> Answer<T> {
        Ok(Logged {
            index: self.index,
            leased: false,
            writes: None,
            answer,
        })
    }

    pub(super) fn known(&self, session: SessionId) -> Result<(), FsError> {
        match self.sessions.contains(&session) {
            true => Ok(()),
            false => Err(FsError::SessionEnded(session)),
        }
    }

    pub(crate) fn end_all_sessions(&mut self) {
        self.sessions.clear();
        self.locks.clear();
        for file in self.files.values_mut() {
            file.holders.clear();
        }
    }

    pub(super) fn view(&self, inode: InodeId) -> Result<View, FsError> {
        let file = self.files.get(&inode).ok_or(FsError::Stale(inode))?;
        let content = match file.inline.is_empty() {
            false => Content::Inline(file.inline.clone()),
            true => Content::Extents(self.locate(file, 0)),
        };
        Ok(View {
            attr: file.attr.clone(),
            content,
        })
    }

    /// Small answers, so that clients have to ask again.
    pub(super) fn locate(&self, file: &File, from: u64) -> Layout {
        let mut extents: Vec<Extent> = file.extents.clone();
        extents.retain(|e| e.range().end > from);
        let until = extents.get(5).map_or(u64::MAX, |e| e.file_offset);
        extents.truncate(5);
        let ids: HashSet<BlockId> = extents.iter().map(|e| e.block).collect();
        let blocks = ids.iter().map(|b| self.blocks[b].place.clone()).collect();
        Layout {
            extents,
            blocks,
            until,
        }
    }

    pub(super) fn make(
        &mut self,
        session: SessionId,
        (parent, name): (InodeId, Name),
        what: Make,
        mode: u16,
    ) -> Result<Changed, FsError> {
        if self.of(parent)?.entries.contains_key(&name) {
            return Err(FsError::Exists);
        }
        self.next += 1;
        let inode = InodeId(self.next);
        let (kind, open) = match &what {
            Make::Directory => (FileKind::Directory, false),
            Make::Symlink(_) => (FileKind::Symlink, false),
            Make::File { open } => (FileKind::File, *open),
            _ => return Err(FsError::NotPermitted),
        };
        let mut file = self.file(inode, kind, mode);
        if let Make::Symlink(target) = what {
            file.inline = target;
        }
        if open {
            file.holders.insert(session);
        }
        let attr = file.attr.clone();
        self.files.insert(inode, file);
        let dir = self.of(parent)?;
        dir.entries.insert(name, inode);
        dir.attr.size += 1;
        let parent = dir.attr.clone();
        Ok(Changed::Made { attr, parent })
    }

    pub(super) fn unlink(&mut self, parent: InodeId, name: &Name) -> Result<Changed, FsError> {
        let dir = self.of(parent)?;
        let inode = dir.entries.remove(name).ok_or(FsError::NotFound)?;
        dir.attr.size -= 1;
        let parent = dir.attr.clone();
        let file = self.of(inode)?;
        file.attr.links -= 1;
        let attr = file.attr.clone();
        if attr.links == 0 && file.holders.is_empty() {
            self.files.remove(&inode);
        }
        Ok(Changed::Removed { attr, parent })
    }

    pub(super) fn rename(
        &mut self,
        (parent, name): (InodeId, Name),
        (new_parent, new_name): (InodeId, Name),
    ) -> Result<Changed, FsError> {
        let dir = self.of(parent)?;
        let inode = *dir.entries.get(&name).ok_or(FsError::NotFound)?;
        let over = self.of(new_parent)?.entries.get(&new_name).copied();
        let extents = self.of(inode)?.extents.clone();
        let first = self.unsynced(&extents);
        if over.is_some() && !first.is_empty() {
            return Err(FsError::SyncFirst(first));
        }
        self.of(parent)?.entries.remove(&name);
        self.of(new_parent)?.entries.insert(new_name, inode);
        let other = match over {
            Some(over) => {
                let file = self.of(over)?;
                file.attr.links -= 1;
                Some(file.attr.clone())
            }
            None => None,
        };
        Ok(Changed::Renamed {
            attr: self.of(inode)?.attr.clone(),
            parent: self.of(parent)?.attr.clone(),
            new_parent: self.of(new_parent)?.attr.clone(),
            other,
        })
    }

    pub(super) fn unsynced(&self, extents: &[Extent]) -> Vec<(BlockId, u32)> {
        let late = extents
            .iter()
            .filter(|e| self.blocks[&e.block].synced < e.block_end());
        late.map(|e| (e.block, e.block_end())).collect()
    }

    pub(super) fn commit(
        &mut self,
        session: SessionId,
        commit: &FileCommit,
    ) -> Result<Attr, FsError> {
        let inode = commit.inode;
        let file = self.files.get(&inode).ok_or(FsError::Stale(inode))?;
        let (now, size) = (file.attr.data_version, file.attr.size);
        let moved = |expected| FsError::ContentMoved {
            inode,
            expected,
            now,
        };
        match &commit.bytes {
            CommitBytes::Inline {
                offset,
                bytes,
                data_version,
            } => {
                let end = u64::from(*offset) + bytes.len() as u64;
                if *data_version != now {
                    return Err(moved(*data_version));
                }
                let few = size.max(end) <= u64::from(INLINE_BYTES_MAX);
                if !few || !file.extents.is_empty() {
                    return Err(FsError::Invalid("not inline".to_owned()));
                }
                let mut all = file.inline.to_vec();
                let at = *offset as usize;
                all.resize(all.len().max(at + bytes.len()), 0);
                all[at..at + bytes.len()].copy_from_slice(bytes);
                let file = self.of(inode)?;
                file.inline = all.into();
                file.attr.size = size.max(end);
            }
            CommitBytes::Extents {
                extents,
                from_inline,
            } => {
                if from_inline.is_some_and(|v| v != now) {
                    return Err(moved(from_inline.unwrap()));
                }
                if from_inline.is_none() && !file.inline.is_empty() {
                    return Err(moved(0));
                }
                self.check_extents(session, inode, extents)?;
                let clip = match commit.truncations < self.files[&inode].attr.truncations {
                    true => size,
                    false => u64::MAX,
                };
                let file = self.of(inode)?;
                file.inline = Bytes::new();
                for extent in extents {
                    let whole = FileRange::of(0, clip);
                    let Some(extent) = extent.clip(whole) else {
                        continue;
                    };
                    file.cover(extent.range());
                    file.extents.push(extent);
                    file.attr.size = file.attr.size.max(extent.range().end);
                }
                file.extents.sort_by_key(|e| e.file_offset);
            }
        }
        let file = self.of(inode)?;
        file.attr.data_version += 1;
        file.attr.mtime = file.attr.mtime.max(commit.mtime);
        Ok(file.attr.clone())
    }

    pub(super) fn check_extents(
        &self,
        session: SessionId,
        inode: InodeId,
        extents: &[Extent],
    ) -> Result<(), FsError> {
        let file = &self.files[&inode];
        for extent in extents {
            let block = extent.block;
            let row = self.blocks.get(&block).filter(|b| b.session == session);
            let row = row.ok_or(FsError::NotYourBlock(block))?;
            if let Some(length) = row.place.sealed.filter(|l| extent.block_end() > *l) {
                return Err(FsError::BlockSealed { block, length });
            }
        }
        let late = self.unsynced(extents);
        let is_late = |e: &&Extent| self.blocks[&e.block].synced < e.block_end();
        let gives_up = extents.iter().filter(is_late).any(|e| {
            file.extents.iter().any(|old| {
                let old = old.clip(e.range());
                old.is_some_and(|o| o.block_end() <= self.blocks[&o.block].synced)
            })
        });
        match gives_up || (!file.inline.is_empty() && !late.is_empty()) {
            true => Err(FsError::SyncFirst(late)),
            false => Ok(()),
        }
    }

    pub(super) fn apply(
        &mut self,
        session: SessionId,
        change: Change,
        roster: &[MinionEntry],
    ) -> Result<Changed, FsError> {
        match change {
            Change::Make {
                parent,
                name,
                what,
                mode,
                ..
            } => self.make(session, (parent, name), what, mode),
            Change::Unlink { parent, name } => self.unlink(parent, &name),
            Change::Rename {
                parent,
                name,
                new_parent,
                new_name,
                ..
            } => self.rename((parent, name), (new_parent, new_name)),
            Change::SetAttr { inode, set } => {
                let now = self.now();
                let file = self.of(inode)?;
                if let Some(size) = set.size {
                    file.resize(size);
                }
                file.attr.mode = set.mode.unwrap_or(file.attr.mode);
                match set.mtime {
                    Some(SetTime::At(at)) => file.attr.mtime = at,
                    Some(SetTime::Now) => file.attr.mtime = now,
                    None => {}
                }
                Ok(Changed::Attr(file.attr.clone()))
            }
            Change::Open {
                inode, truncate, ..
            } => {
                let file = self.of(inode)?;
                file.holders.insert(session);
                if truncate {
                    file.resize(0);
                }
                Ok(Changed::Opened(self.view(inode)?))
            }
            Change::Lock { inode, wish, known } => {
                let owner = LockOwner {
                    session,
                    number: wish.owner,
                };
                assert!(
                    self.of(inode)?.holders.contains(&session),
                    "locked unopened"
                );
                if self.in_the_way(inode, owner, &wish).is_some() {
                    return Err(FsError::Locked);
                }
                let held = LockHeld {
                    owner,
                    range: wish.range,
                    kind: wish.kind,
                    pid: wish.pid,
                };
                self.locks.push((inode, held));
                let view = self.view(inode)?;
                match known == Some(view.attr.data_version) {
                    true => Ok(Changed::Attr(view.attr)),
                    false => Ok(Changed::Opened(view)),
                }
            }
            Change::Unlock {
                inode,
                owner,
                range,
            } => {
                let owner = LockOwner {
                    session,
                    number: owner,
                };
                self.locks.retain(|(of, held)| {
                    (*of, held.owner) != (inode, owner) || held.range.overlap(range).is_empty()
                });
                Ok(Changed::Done)
            }
            Change::Close { inodes } => {
                for inode in inodes {
                    let theirs =
                        |of: InodeId, held: &LockHeld| of == inode && held.owner.session == session;
                    self.locks.retain(|(of, held)| !theirs(*of, held));
                    let Ok(file) = self.of(inode) else { continue };
                    file.holders.remove(&session);
                    if file.attr.links == 0 && file.holders.is_empty() {
                        self.files.remove(&inode);
                    }
                }
                Ok(Changed::Done)
            }
            Change::Allocate { avoid, .. } => Ok(self.allocate(session, &avoid, roster)),
            Change::Commit { files, synced, .. } => {
                self.commits += 1;
                for (block, end) in synced {
                    if let Some(row) = self.blocks.get_mut(&block) {
                        row.synced = row.synced.max(end);
                    }
                }
                let attrs = files.iter().map(|f| self.commit(session, f));
                Ok(Changed::Committed(attrs.collect::<Result<_, _>>()?))
            }
            Change::Seal { block, length } => {
                let row = self.blocks.get_mut(&block);
                let row = row.ok_or(FsError::NotYourBlock(block))?;
                assert!(row.place.sealed.is_none_or(|l| l == length), "sealed twice");
                row.place.sealed = Some(length);
                Ok(Changed::Done)
            }
            Change::EndSession => {
                self.sessions.remove(&session);
                Ok(Changed::Done)
            }
            _ => Ok(Changed::Done),
        }
    }

    /// A lock of another owner that a wish must wait for.
    pub(crate) fn in_the_way(
        &self,
        inode: InodeId,
        owner: LockOwner,
        wish: &LockWish,
    ) -> Option<LockHeld> {
        let shared = |held: &LockHeld| [held.kind, wish.kind] == [LockKind::Shared; 2];
        let mut locks = self.locks.iter().filter(|(of, held)| {
            let touch = !held.range.overlap(wish.range).is_empty();
            *of == inode && held.owner != owner && touch && !shared(held)
        });
        locks.next().map(|(_, held)| *held)
    }

    pub(super) fn allocate(
        &mut self,
        session: SessionId,
        avoid: &[MinionId],
        roster: &[MinionEntry],
    ) -> Changed {
        self.next += 1;
        let mut replicas: Vec<MinionId> = roster.iter().map(|m| m.minion).collect();
        replicas.retain(|m| !avoid.contains(m) && !self.full.contains(m));
        let turn = usize::try_from(self.next).unwrap() % replicas.len().max(1);
        replicas.rotate_left(turn);
        let place = BlockPlace {
            block: BlockId(self.next),
            replicas,
            sealed: None,
            placement: 1,
            capability: Capability::default(),
        };
        let block = Block {
            place: place.clone(),
            session,
            synced: 0,
        };
        self.blocks.insert(place.block, block);
        let copies = Copies {
            wanted: u32::try_from(place.replicas.len()).unwrap(),
            least: 1,
        };
        Changed::Placed { place, copies }
    }
}

impl File {
    pub(super) fn cover(&mut self, range: FileRange) {
        let old = std::mem::take(&mut self.extents);
        let left = old.iter().flat_map(|e| e.without(range));
        self.extents = left.flatten().collect();
    }

    pub(super) fn resize(&mut self, size: u64) {
        self.cover(FileRange {
            start: size,
            end: u64::MAX,
        });
        let keep = usize::try_from(size).unwrap();
        self.inline.truncate(keep);
        self.attr.size = size;
        self.attr.truncations += 1;
        self.attr.data_version += 1;
    }
}
