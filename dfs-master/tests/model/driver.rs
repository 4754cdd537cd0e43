//! Random commands that are often allowed, and often enough not.

use crate::{
    acls,
    plain::{Bytes as Content, Plain},
};
use bytes::Bytes;
use dfs_master::engine::{
    command::{Act, Grant, Measured, ReplicaNews},
    reader::Wants,
};
use dfs_proto::{
    attr::{SetAttr, SetTime},
    block::Copies,
    change::{
        Access, Caller, Change, CommitBytes, FileCommit, Make, RangeMode, RenameMode, Ticket,
        XattrMode,
    },
    extent::{Extent, FileRange},
    id::{BlockId, InodeId, MinionId, SessionId},
    name::Name,
    session::{LockKind, LockWish},
    time::Timestamp,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::collections::BTreeMap;

/// Where commands come from.
pub(crate) struct Driver {
    pub(crate) random: StdRng,
    next_id: u64,
    sequences: BTreeMap<SessionId, u64>,
    /// Bytes appended to each block.
    lengths: BTreeMap<BlockId, u32>,
}

impl Driver {
    pub(crate) fn new(seed: u64) -> Driver {
        Driver {
            random: StdRng::seed_from_u64(seed),
            next_id: 10,
            sequences: BTreeMap::new(),
            lengths: BTreeMap::new(),
        }
    }

    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        self.random.random_range(0..n) == 0
    }

    pub(crate) fn up_to(&mut self, n: u32) -> u32 {
        self.random.random_range(0..=n)
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// An inode: mostly one that is there.
    fn inode(&mut self, plain: &Plain) -> InodeId {
        if self.one_in(40) {
            return InodeId(u64::from(self.up_to(60)));
        }
        let all: Vec<InodeId> = plain.inodes.keys().copied().collect();
        *all.choose(&mut self.random).expect("the root is there")
    }

    pub(crate) fn of_kind(&mut self, plain: &Plain, directory: bool) -> InodeId {
        use dfs_proto::attr::FileKind::{Directory, File};
        let wanted = if directory { Directory } else { File };
        let all: Vec<InodeId> = plain
            .inodes
            .iter()
            .filter(|(_, inode)| inode.kind == wanted)
            .map(|(id, _)| *id)
            .collect();
        let any = self.inode(plain);
        if self.one_in(20) {
            return any;
        }
        all.choose(&mut self.random).copied().unwrap_or(any)
    }

    fn name(&mut self) -> Name {
        let letters: &[&[u8]] = &[b"a", b"b", b"c", b"d", b"\xff", b"f f", &[b'n'; 255]];
        let name = letters.choose(&mut self.random).expect("there are some");
        Name::new(name).expect("they are names")
    }

    fn session(&mut self, plain: &Plain) -> SessionId {
        let all: Vec<SessionId> = plain.sessions.iter().copied().collect();
        match all.choose(&mut self.random) {
            Some(session) if !self.one_in(200) => *session,
            _ => SessionId(3),
        }
    }

    fn ticket(&mut self, session: SessionId) -> Ticket {
        let sequence = self.sequences.entry(session).or_default();
        *sequence += 1;
        Ticket {
            session,
            sequence: *sequence,
            all_below: sequence.saturating_sub(3),
        }
    }

    /// The next command.
    pub(crate) fn next(&mut self, now: Timestamp, plain: &Plain) -> Act {
        if plain.sessions.len() < 2 || self.one_in(300) && plain.sessions.len() < 4 {
            return Act::OpenSession {
                session: SessionId(self.id()),
                host: "h".to_owned(),
                purpose: "model".to_owned(),
            };
        }
        match self.up_to(400) {
            0 => {
                let session = self.session(plain);
                return Act::EndSession { session };
            }
            1..4 => {
                return Act::Reclaim {
                    // The clock may have been set back since.
                    before: Timestamp::from_nanos(1 << 60),
                    blocks_max: 1000,
                    rows_max: 1000,
                };
            }
            4..24 => return self.news(plain),
            24..30 => {
                if let Some(act) = self.measured(plain) {
                    return act;
                }
            }
            30..34 => return self.quota(plain),
            34..36 => return self.policy(plain),
            36..76 => {
                let entries_max = 1 + self.up_to(30);
                return Act::Count { entries_max };
            }
            _ => {}
        }
        let session = self.session(plain);
        let (change, grant) = self.change(now, session, plain);
        Act::Change {
            ticket: self.ticket(session),
            change,
            grant,
        }
    }

    fn news(&mut self, plain: &Plain) -> Act {
        let mut all = Vec::new();
        for (id, block) in &plain.blocks {
            for minion in block.replicas.keys() {
                let news = match (plain.reclaiming.contains(id), block.sealed) {
                    (true, _) => ReplicaNews::Dropped { placement: 0 },
                    (false, Some(length)) => ReplicaNews::Sealed { length },
                    (false, None) => continue,
                };
                match self.up_to(100) {
                    0 if !plain.reclaiming.contains(id) => {
                        all.push((*id, *minion, ReplicaNews::Lost));
                    }
                    1 => all.push((*id, *minion, ReplicaNews::Sealed { length: 1 })),
                    2..40 => all.push((*id, *minion, news)),
                    _ => {}
                }
            }
        }
        Act::Replicas(all)
    }

    /// What is left of a block whose writer is gone, or that no replica has confirmed.
    fn measured(&mut self, plain: &Plain) -> Option<Act> {
        let lonely: Vec<BlockId> = plain
            .blocks
            .iter()
            .filter(|(_, block)| block.sealed.is_some() || !plain.sessions.contains(&block.session))
            .map(|(id, _)| *id)
            .collect();
        let block = *lonely.choose(&mut self.random)?;
        let most = self.lengths.get(&block).copied().unwrap_or(0);
        let least = plain.blocks[&block].synced;
        let minions: Vec<MinionId> = plain.blocks[&block].replicas.keys().copied().collect();
        let measured = minions
            .into_iter()
            .map(|minion| Measured {
                minion,
                length: match self.one_in(2) {
                    true => most,
                    false => least.saturating_sub(3) + self.up_to(most.saturating_sub(least) + 3),
                },
            })
            .collect();
        Some(Act::SealMeasured {
            block,
            measured,
            waited: true,
        })
    }

    fn change(&mut self, now: Timestamp, session: SessionId, plain: &Plain) -> (Change, Grant) {
        let nothing = Grant::Nothing;
        match self.up_to(104) {
            0..18 => self.make(plain),
            18..23 => {
                let link = Change::Link {
                    inode: self.inode(plain),
                    parent: self.of_kind(plain, true),
                    name: self.name(),
                };
                (link, nothing)
            }
            23..36 => {
                let (parent, name) = (self.of_kind(plain, true), self.name());
                match self.one_in(3) {
                    true => (Change::Rmdir { parent, name }, nothing),
                    false => (Change::Unlink { parent, name }, nothing),
                }
            }
            36..52 => {
                let modes = [
                    RenameMode::Replace,
                    RenameMode::NoReplace,
                    RenameMode::Exchange,
                ];
                let rename = Change::Rename {
                    parent: self.of_kind(plain, true),
                    name: self.name(),
                    new_parent: self.of_kind(plain, true),
                    new_name: self.name(),
                    mode: modes[if self.one_in(2) {
                        0
                    } else {
                        self.random.random_range(0..3)
                    }],
                };
                (rename, nothing)
            }
            52..60 => (self.set_attr(now, plain), nothing),
            60..66 => (self.xattr(plain), nothing),
            66..72 => {
                let open = Change::Open {
                    inode: self.inode(plain),
                    truncate: self.one_in(5),
                    kill_privileges: self.one_in(5),
                };
                (open, nothing)
            }
            72..78 => {
                let inodes = (0..self.up_to(3)).map(|_| self.inode(plain)).collect();
                (Change::Close { inodes }, nothing)
            }
            78..80 => self.allocate(plain),
            80..82 => (self.seal(session, plain), nothing),
            82..85 => (self.fallocate(plain), nothing),
            85..89 => (self.clone_range(plain), nothing),
            89..94 => (self.lock(session, plain), nothing),
            94..99 => (self.access(now, plain), nothing),
            _ => (self.commit(now, session, plain), nothing),
        }
    }

    /// Reads of what is there mostly, seen as it is mostly, some of them twice.
    fn access(&mut self, now: Timestamp, plain: &Plain) -> Change {
        let mut accesses = Vec::new();
        for _ in 0..self.up_to(6) {
            let inode = self.inode(plain);
            let there = plain.inodes.get(&inode);
            let ctime = there.map_or(now, |inode| inode.ctime);
            let late = i128::from(self.up_to(10)) - 7;
            accesses.push(Access {
                inode,
                atime: Timestamp::from_nanos(now.as_nanos() + late),
                ctime: match self.one_in(5) {
                    true => Timestamp::from_nanos(ctime.as_nanos() - 1),
                    false => ctime,
                },
            });
        }
        Change::Access { accesses }
    }

    /// Locks and unlocks of few owners and few bytes, mostly of what the session holds open.
    fn lock(&mut self, session: SessionId, plain: &Plain) -> Change {
        let open = plain.opens.iter().filter(|(of, _)| *of == session);
        let open: Vec<InodeId> = open.map(|(_, inode)| *inode).take(3).collect();
        let inode = match open.choose(&mut self.random) {
            Some(inode) if !self.one_in(20) => *inode,
            _ => self.inode(plain),
        };
        let owner = u64::from(self.up_to(2));
        let start = u64::from(self.up_to(11));
        let len = u64::from(self.up_to(12));
        let range = FileRange::of(start, len);
        if self.one_in(3) {
            return Change::Unlock {
                inode,
                owner,
                range,
            };
        }
        let kind = match self.one_in(3) {
            true => LockKind::Exclusive,
            false => LockKind::Shared,
        };
        let wish = LockWish {
            owner,
            range,
            kind,
            pid: 1,
        };
        if self.one_in(4) {
            return crate::locks::of_two(inode, wish);
        }
        let known = self.one_in(2).then_some(1);
        Change::Lock { inode, wish, known }
    }

    fn make(&mut self, plain: &Plain) -> (Change, Grant) {
        let what = match self.up_to(20) {
            0..8 => Make::File {
                open: self.one_in(2),
            },
            8..17 => Make::Directory,
            17 => Make::Symlink(Bytes::from_static(b"../target")),
            18 => Make::Fifo,
            19 => Make::Socket,
            _ => Make::CharDevice(7),
        };
        let modes = [0o644, 0o755, 0o2775, 0o6755, 0o4644];
        let change = Change::Make {
            parent: self.of_kind(plain, true),
            name: self.name(),
            what,
            mode: *modes.choose(&mut self.random).expect("there are some"),
            caller: Caller {
                uid: self.up_to(3),
                gid: self.up_to(3),
                umask: if self.one_in(2) { 0o022 } else { 0o077 },
            },
        };
        let inode = InodeId(self.id());
        (change, Grant::Inode(inode))
    }

    fn set_attr(&mut self, now: Timestamp, plain: &Plain) -> Change {
        let sizes = [0, 1, 7, 50, 120, 5000, 1 << 40];
        let inode = match self.one_in(2) {
            true => self.of_kind(plain, false),
            false => self.inode(plain),
        };
        let past = Timestamp::from_nanos(now.as_nanos() / 2);
        let set = SetAttr {
            mode: self
                .one_in(3)
                .then(|| if self.one_in(2) { 0o6711 } else { 0o640 }),
            uid: self.one_in(5).then_some(2),
            gid: self.one_in(5).then_some(3),
            size: self
                .one_in(2)
                .then(|| *sizes.choose(&mut self.random).expect("there are some")),
            atime: self.one_in(4).then_some(SetTime::Now),
            mtime: self.one_in(4).then_some(SetTime::At(past)),
            kill_privileges: self.one_in(6),
        };
        Change::SetAttr { inode, set }
    }

    fn xattr(&mut self, plain: &Plain) -> Change {
        if self.one_in(2) {
            let inode = match self.one_in(2) {
                true => self.of_kind(plain, true),
                false => self.inode(plain),
            };
            return acls::change(&mut self.random, inode);
        }
        let names: &[&'static [u8]] = &[b"user.a", b"user.b", b"security.capability"];
        let name = names.choose(&mut self.random).expect("there are some");
        let modes = [XattrMode::Any, XattrMode::Create, XattrMode::Replace];
        let inode = self.inode(plain);
        let name = Bytes::from_static(name);
        match self.one_in(3) {
            true => Change::RemoveXattr { inode, name },
            false => Change::SetXattr {
                inode,
                name,
                value: Bytes::from(vec![1; usize::try_from(self.up_to(5)).expect("small")]),
                mode: *modes.choose(&mut self.random).expect("there are some"),
                kill_set_group: self.one_in(2),
            },
        }
    }

    fn allocate(&mut self, plain: &Plain) -> (Change, Grant) {
        let inode = self.inode(plain);
        let block = BlockId(self.id());
        self.lengths.insert(block, 0);
        let change = Change::Allocate {
            inode,
            policy: None,
            avoid: Vec::new(),
            near: None,
        };
        let replicas = (1..=1 + self.up_to(2)).map(MinionId).collect();
        let copies = Copies {
            wanted: 2,
            least: 1,
        };
        let grant = Grant::Block {
            block,
            replicas,
            copies,
            wants: Wants::of(None),
        };
        (change, grant)
    }

    /// A block: mostly an open one of the session.
    fn block(&mut self, session: SessionId, plain: &Plain) -> BlockId {
        let own: Vec<BlockId> = plain
            .blocks
            .iter()
            .filter(|(_, block)| block.session == session && block.sealed.is_none())
            .map(|(id, _)| *id)
            .collect();
        let all: Vec<BlockId> = plain.blocks.keys().copied().collect();
        let from = if self.one_in(15) || own.is_empty() {
            all
        } else {
            own
        };
        from.choose(&mut self.random).copied().unwrap_or(BlockId(1))
    }

    fn seal(&mut self, session: SessionId, plain: &Plain) -> Change {
        let block = self.block(session, plain);
        let length = self.lengths.get(&block).copied().unwrap_or(0);
        let length = if self.one_in(6) {
            self.up_to(length)
        } else {
            length
        };
        Change::Seal { block, length }
    }

    fn commit(&mut self, now: Timestamp, session: SessionId, plain: &Plain) -> Change {
        let mut files = Vec::new();
        for _ in 0..1 + self.up_to(1) {
            let inode = self.of_kind(plain, false);
            if files.iter().all(|file: &FileCommit| file.inode != inode) {
                files.push(self.file(now, session, inode, plain));
            }
        }
        let synced = (0..self.up_to(2))
            .map(|_| {
                let block = self.block(session, plain);
                (block, self.lengths.get(&block).copied().unwrap_or(0))
            })
            .collect();
        Change::Commit {
            files,
            synced,
            durable: self.one_in(2),
        }
    }

    fn file(
        &mut self,
        now: Timestamp,
        session: SessionId,
        inode: InodeId,
        plain: &Plain,
    ) -> FileCommit {
        let there = plain.inodes.get(&inode);
        let version = there.map_or(0, |inode| inode.version);
        let stale = u64::from(self.one_in(20));
        let is_inline = there.is_some_and(|inode| matches!(inode.bytes, Content::Inline(_)));
        let small = there.is_some_and(|inode| inode.size < 200);
        let inline = small && (is_inline && !self.one_in(3) || self.one_in(4));
        let bytes = if inline {
            CommitBytes::Inline {
                offset: self.up_to(30),
                bytes: Bytes::from(vec![7; usize::try_from(1 + self.up_to(20)).expect("small")]),
                data_version: version.saturating_sub(stale),
            }
        } else {
            let mut extents = Vec::new();
            for _ in 0..1 + self.up_to(2) {
                extents.push(self.extent(session, plain));
            }
            if is_inline && !self.one_in(10) {
                let whole = Extent {
                    file_offset: 0,
                    len: 60,
                    ..self.extent(session, plain)
                };
                self.appended(whole.block, whole.block_end());
                extents.insert(0, whole);
            }
            CommitBytes::Extents {
                extents,
                from_inline: (is_inline && !self.one_in(10)).then(|| version - stale.min(version)),
            }
        };
        let truncations = there.map_or(0, |inode| inode.truncations);
        let older = u32::from(self.one_in(15));
        FileCommit {
            inode,
            truncations: truncations.saturating_sub(older),
            mtime: Timestamp::from_nanos(now.as_nanos() + i128::from(self.up_to(10)) - 5),
            kill_privileges: self.one_in(10),
            bytes,
        }
    }

    fn fallocate(&mut self, plain: &Plain) -> Change {
        let modes = [RangeMode::Extend, RangeMode::Punch, RangeMode::Zero];
        let len = match self.up_to(30) {
            0 => 0,
            1 => 5000,
            2 => u64::MAX,
            _ => 1 + u64::from(self.up_to(60)),
        };
        Change::Fallocate {
            inode: self.of_kind(plain, false),
            range: FileRange::of(u64::from(self.up_to(140)), len),
            mode: *modes.choose(&mut self.random).expect("there are some"),
            kill_privileges: self.one_in(5),
        }
    }

    fn clone_range(&mut self, plain: &Plain) -> Change {
        let full: Vec<InodeId> = plain
            .inodes
            .iter()
            .filter(|(_, inode)| matches!(inode.bytes, Content::Cells(_)))
            .map(|(id, _)| *id)
            .collect();
        let mut file = || {
            let any = self.of_kind(plain, false);
            let full = full.choose(&mut self.random).copied();
            full.filter(|_| !self.one_in(4)).unwrap_or(any)
        };
        let (source, inode) = (file(), file());
        let whole = self.one_in(2);
        let mut offset = |most| match whole && self.random.random_range(0..3) > 0 {
            true => 0,
            false => self.random.random_range(0..=most),
        };
        let (from, at) = (offset(100), offset(150));
        let len = match self.up_to(20) {
            0 => 0,
            1 => 1 << 62,
            _ if whole => 5000,
            _ => 1 + u64::from(self.up_to(80)),
        };
        Change::CloneRange {
            source,
            from,
            inode,
            at,
            len,
            kill_privileges: self.one_in(5),
        }
    }

    fn appended(&mut self, block: BlockId, end: u32) {
        let length = self.lengths.entry(block).or_default();
        *length = end.max(*length);
    }

    /// Mostly bytes just appended; now and then some that were there.
    fn extent(&mut self, session: SessionId, plain: &Plain) -> Extent {
        let block = self.block(session, plain);
        let length = self.lengths.get(&block).copied().unwrap_or(0);
        let len = 1 + self.up_to(25);
        let block_offset = match self.one_in(12) {
            true => self.up_to(length),
            false => length,
        };
        self.appended(block, block_offset + len);
        Extent {
            file_offset: u64::from(self.up_to(12)) * 10,
            len,
            block,
            block_offset,
        }
    }
}
