//! Reads what was applied, from any thread, without passing the log.
//!
//! Each call sees the tables as of one moment between two commands. It holds off the applier while
//! it runs, so all of them are short; what may be long comes in pages.

pub use crate::tables::rows::{
    BlockRow, BlockState, MinionRow, QuotaRow, RecoveredRow as Recovered, ReplicaHealth,
    SessionRow, TotalsRow as Totals, Wants,
};
pub use crate::{
    blocks::{
        reclaim::is_due,
        wear::{Cut, Holes, moves},
    },
    tables::txn::{Snapshot, Stored},
};
use crate::{
    blocks::{
        space,
        wear::{self, judge},
    },
    engine::command::Position,
    locks::held,
    namespace::{lookup, readdir, xattr},
    quota::tell,
    tables::{
        damage::Damage,
        key::{Key, KeyRange, all},
        rows::{
            BootsRow, DirentRow, FilesystemRow, HolesRow, InodeRow, OpenRow, PolicyRow, TotalsRow,
            UnusedRow, UseRow, WornRow, WritingRow,
        },
        txn::{Direction, Rows, Tables, View as TablesView},
    },
};
use bytes::Bytes;
use dfs_proto::{
    attr::Attr,
    block::Copies,
    change::Logged,
    error::FsError,
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    minion::BlockRange,
    name::Name,
    session::{LockHeld, LockOwner, LockWish},
    time::Timestamp,
    view::{Cookie, Layout, Listing, View},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

/// Entries that one look at a directory takes.
const ENTRIES_AT_ONCE: usize = 256;

/// Names between two questions whether to go on.
const NAMES_AT_ONCE: usize = 1024;

/// A handle to the tables; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    tables: Tables,
}

impl Reader {
    /// Reads these tables.
    pub fn of(tables: Tables) -> Reader {
        Reader { tables }
    }

    fn logged<T>(
        &self,
        read: impl FnOnce(&TablesView<'_>) -> Result<T, FsError>,
    ) -> Result<Logged<T>, FsError> {
        self.lent(read, |_| false)
    }

    /// Reads, and has `lend` say whether the answer may be kept. Nothing is applied between the
    /// two: a change that `lend` does not know of yet will find who keeps it.
    pub fn lent<T>(
        &self,
        read: impl FnOnce(&TablesView<'_>) -> Result<T, FsError>,
        lend: impl FnOnce(&T) -> bool,
    ) -> Result<Logged<T>, FsError> {
        let view = self.tables.view();
        let answer = read(&view)?;
        let leased = lend(&answer);
        let index = view.index();
        Ok(Logged {
            index,
            leased,
            writes: None,
            answer,
        })
    }

    /// The tables as of now. Nothing is applied while it is held: let go of it soon.
    pub fn view_tables(&self) -> TablesView<'_> {
        self.tables.view()
    }

    /// The index of the last entry applied.
    pub fn applied(&self) -> u64 {
        self.tables.index()
    }

    /// The last entry that is in the tables' file, synced: the log may be purged up to there.
    pub fn checkpointed(&self) -> Position {
        self.tables.checkpointed()
    }

    /// Why the last checkpoint could not be written, if it could not.
    pub fn checkpoint_failure(&self) -> Option<Damage> {
        self.tables.checkpoint_failure()
    }

    /// Everything as of the last checkpoint, as an engine-neutral stream of rows.
    pub fn snapshot(&self) -> Result<Snapshot, FsError> {
        Ok(self.tables.snapshot()?)
    }

    /// Waits until no checkpoint is being written. Blocks.
    pub fn await_checkpoint(&self) {
        self.tables.settle();
    }

    /// The tables as of their last checkpoint, for whoever reads all of them.
    pub fn stored(&self) -> Result<Stored, Damage> {
        self.tables.stored()
    }

    /// The file system; `None` before `Format`.
    pub fn filesystem(&self) -> Result<Option<FilesystemId>, FsError> {
        let row = self.tables.view().row::<FilesystemRow>(())?;
        Ok(row.map(|row| row.filesystem))
    }

    /// When the log was recovered from a copy, if it ever was.
    pub fn recovered(&self) -> Result<Option<Recovered>, FsError> {
        Ok(self.tables.view().row::<Recovered>(())?)
    }

    /// Counters of the whole.
    pub fn totals(&self) -> Result<Totals, FsError> {
        Ok(self.tables.view().row::<TotalsRow>(())?.unwrap_or_default())
    }

    /// The inode that `name` names in `parent`.
    pub fn lookup(&self, parent: InodeId, name: &Name) -> Result<Logged<Attr>, FsError> {
        self.logged(|view| lookup::lookup(view, parent, name))
    }

    /// The directory above directory `inode`; the root is above itself.
    pub fn parent(&self, inode: InodeId) -> Result<Logged<Attr>, FsError> {
        self.logged(|view| lookup::parent(view, inode))
    }

    /// Attributes.
    pub fn getattr(&self, inode: InodeId) -> Result<Logged<Attr>, FsError> {
        self.logged(|view| lookup::getattr(view, inode))
    }

    /// Attributes and content, with the first extents.
    pub fn view(&self, inode: InodeId) -> Result<Logged<View>, FsError> {
        self.logged(|view| lookup::view(view, inode))
    }

    /// Where the bytes from `from` on are.
    pub fn locate(&self, inode: InodeId, from: u64) -> Result<Logged<Layout>, FsError> {
        self.logged(|view| lookup::locate(view, inode, from))
    }

    /// At most `limit` entries after a cookie.
    pub fn readdir(
        &self,
        inode: InodeId,
        after: Cookie,
        limit: u32,
        attrs: bool,
        lend: impl Fn(&Listing) -> bool,
    ) -> Result<Logged<Listing>, FsError> {
        let limit = usize::try_from(limit.max(1)).expect("32 bits");
        let mut entries = Vec::new();
        let mut leased = true;
        let mut first = None;
        loop {
            let after = entries
                .last()
                .map_or(after, |last: &dfs_proto::view::Entry| last.cookie);
            let most = ENTRIES_AT_ONCE.min(limit - entries.len());
            let part = self.lent(
                |view| readdir::readdir(view, inode, after, most, attrs),
                &lend,
            )?;
            // Parts of different moments are of none: what is said of the first holds for all.
            let index = *first.get_or_insert(part.index);
            leased &= part.leased && part.index == index;
            entries.extend(part.answer.entries);
            let complete = part.answer.complete;
            if complete || entries.len() >= limit {
                return Ok(Logged {
                    index,
                    leased,
                    writes: None,
                    answer: Listing { entries, complete },
                });
            }
        }
    }

    /// The target of a symbolic link.
    pub fn readlink(&self, inode: InodeId) -> Result<Logged<Bytes>, FsError> {
        self.logged(|view| lookup::readlink(view, inode))
    }

    /// The value of an extended attribute.
    pub fn getxattr(&self, inode: InodeId, name: &[u8]) -> Result<Logged<Bytes>, FsError> {
        self.logged(|view| xattr::get(view, inode, name))
    }

    /// The names of all extended attributes.
    pub fn listxattr(&self, inode: InodeId) -> Result<Logged<Vec<Bytes>>, FsError> {
        self.logged(|view| xattr::list(view, inode))
    }

    /// A block's row.
    pub fn block(&self, block: BlockId) -> Result<Option<BlockRow>, FsError> {
        Ok(self.tables.view().row::<BlockRow>(block)?)
    }

    /// A page of all blocks after `after`, in the order of their ids.
    pub fn blocks(
        &self,
        after: BlockId,
        limit: usize,
    ) -> Result<Vec<(BlockId, BlockRow)>, FsError> {
        let range = KeyRange::after(all::blocks(), Key::Block(after));
        Ok(self
            .tables
            .view()
            .page(range, limit, |key, row| match key {
                Key::Block(block) => (block, row),
                _ => unreachable!("the range is of blocks"),
            })?)
    }

    /// Bytes of a block that some file consists of.
    pub fn live_bytes(&self, block: BlockId) -> Result<u32, FsError> {
        Ok(space::live_bytes(&self.tables.view(), block)?)
    }

    /// The end of the last byte of a block that some file consists of.
    pub fn named_end(&self, block: BlockId) -> Result<u32, FsError> {
        Ok(space::named_end(&self.tables.view(), block)?)
    }

    /// Some of the files that consist of bytes of a block.
    pub fn users(&self, block: BlockId, limit: usize) -> Result<Vec<InodeId>, FsError> {
        let range = all::uses(block).prefix();
        let view = self.tables.view();
        let mut inodes = view.page(range, limit, |key, _: UseRow| match key {
            Key::Use { inode, .. } => inode,
            _ => unreachable!("the range is of uses"),
        })?;
        inodes.sort_unstable();
        inodes.dedup();
        Ok(inodes)
    }

    /// What is alive of a block, in the order in which it is to stand in a new one.
    pub fn alive(&self, block: BlockId) -> Result<Vec<BlockRange>, FsError> {
        Ok(wear::alive(&self.tables.view(), block)?)
    }

    /// The stretch of a file that most extents of a block belong to, if it is cut into very many.
    pub fn cut(&self, block: BlockId) -> Result<Option<Cut>, FsError> {
        Ok(wear::cut(&self.tables.view(), block)?)
    }

    /// Whether so much of a sealed block is dead, here and there, that it is worth rewriting.
    pub fn is_wasteful(&self, block: BlockId, row: &BlockRow) -> Result<bool, FsError> {
        let view = self.tables.view();
        let live = space::live_bytes(&view, block)?;
        let holes = view.row::<HolesRow>(block)?.unwrap_or_default();
        let given_up = judge::bytes(&holes.ranges);
        let length = row.sealed().unwrap_or(0);
        Ok(live > 0 && judge::is_wasteful(length, live, given_up))
    }

    /// A page of the blocks that are not settled (open, or sealed and not known to be so on every
    /// replica), by their sessions.
    pub fn unsettled(
        &self,
        after: (SessionId, BlockId),
        limit: usize,
    ) -> Result<Vec<(SessionId, BlockId)>, FsError> {
        let (session, block) = after;
        let range = KeyRange::after(all::unsettled(), Key::Writing { session, block });
        let view = self.tables.view();
        Ok(view.page(range, limit, |key, _: WritingRow| match key {
            Key::Writing { session, block } => (session, block),
            _ => unreachable!("the range is of unsettled blocks"),
        })?)
    }

    /// A page of the blocks that nothing names: since when, and whether it is decided that they go.
    pub fn unused(
        &self,
        after: BlockId,
        limit: usize,
    ) -> Result<Vec<(BlockId, Timestamp, bool)>, FsError> {
        let range = KeyRange::after(all::unused(), Key::Unused(after));
        Ok(self
            .tables
            .view()
            .page(range, limit, |key, row: UnusedRow| match key {
                Key::Unused(block) => (block, row.since, row.reclaiming),
                _ => unreachable!("the range is of unused blocks"),
            })?)
    }

    /// A page of the blocks of which some bytes may be dead: since when, and whether it is decided
    /// which of them go.
    pub fn worn(
        &self,
        after: BlockId,
        limit: usize,
    ) -> Result<Vec<(BlockId, Timestamp, bool)>, FsError> {
        let range = KeyRange::after(all::worn(), Key::Worn(after));
        Ok(self
            .tables
            .view()
            .page(range, limit, |key, row: WornRow| match key {
                Key::Worn(block) => (block, row.since, row.decided),
                _ => unreachable!("the range is of worn blocks"),
            })?)
    }

    /// Whether it is decided on dead bytes of a block and minions have not carried it out.
    pub fn is_worn_by_decision(&self, block: BlockId) -> Result<bool, FsError> {
        let row = self.tables.view().row::<WornRow>(block)?;
        Ok(row.is_some_and(|row| row.decided))
    }

    /// Whether a file has bytes of a block.
    pub fn is_used(&self, block: BlockId) -> Result<bool, FsError> {
        Ok(space::is_used(&self.tables.view(), block)?)
    }

    /// What was given up of a block; `None` where nothing was, or where that cannot be because files
    /// have bytes there.
    pub fn holes(&self, block: BlockId) -> Result<Option<Holes>, FsError> {
        let view = self.tables.view();
        let count = view.row::<BlockRow>(block)?.map_or(0, |row| row.punched);
        let Some(HolesRow { ranges }) = view.row::<HolesRow>(block)?.filter(|_| count > 0) else {
            return Ok(None);
        };
        let live = space::live_ranges(&view, block, &mut 0)?;
        let overlap = |(start, end): &(u32, u32)| {
            let next = live.partition_point(|(_, until)| until <= start);
            live.get(next).is_some_and(|(from, _)| from < end)
        };
        Ok((!ranges.iter().any(overlap)).then_some(Holes { count, ranges }))
    }

    /// Whether `Reclaim` has rows to remove (large removed files, ended sessions).
    pub fn has_rows_to_reclaim(&self) -> Result<bool, FsError> {
        let view = self.tables.view();
        let mut ended = view.any(all::trims().prefix())?;
        if !ended {
            view.each(
                all::sessions().prefix(),
                Direction::Up,
                |_, row: SessionRow| {
                    ended = row.ended;
                    match ended {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                },
            )?;
        }
        Ok(ended)
    }

    /// The quotas that an inode is counted in, the nearest first.
    pub fn quotas_of(&self, inode: InodeId) -> Result<Vec<(InodeId, QuotaRow)>, FsError> {
        tell::of(&self.tables.view(), inode)
    }

    /// A page of all quotas.
    pub fn quotas(
        &self,
        after: InodeId,
        limit: usize,
    ) -> Result<Vec<(InodeId, QuotaRow)>, FsError> {
        Ok(tell::page(&self.tables.view(), after, limit)?)
    }

    /// A name of each of these inodes that had one at the last checkpoint, with the directory that it is
    /// in. Blocks for as long as it takes to go over all names, or until it is told not to go on.
    pub fn names_of(
        &self,
        inodes: &BTreeSet<InodeId>,
        goes_on: impl Fn() -> bool,
    ) -> Result<BTreeMap<InodeId, (InodeId, Vec<u8>)>, FsError> {
        let mut named = BTreeMap::new();
        let mut seen = 0usize;
        let all = all::dirents().prefix();
        self.stored()?
            .each(all, Direction::Up, |key, row: DirentRow| {
                match key {
                    Key::Dirent { parent, name } if inodes.contains(&row.inode) => {
                        named.entry(row.inode).or_insert((parent, name.to_vec()));
                    }
                    _ => {}
                }
                seen += 1;
                match named.len() < inodes.len()
                    && (!seen.is_multiple_of(NAMES_AT_ONCE) || goes_on())
                {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            })?;
        Ok(named)
    }

    /// The policy that an inode is under.
    pub fn policy(&self, inode: InodeId) -> Result<Option<Copies>, FsError> {
        let row = self.tables.view().row::<InodeRow>(inode)?;
        Ok(row.and_then(|row| row.policy))
    }

    /// A page of all directories that have a policy of their own.
    pub fn policies(
        &self,
        after: InodeId,
        limit: usize,
    ) -> Result<Vec<(InodeId, Copies)>, FsError> {
        let range = KeyRange::after(all::policies(), Key::Policy(after));
        let view = self.tables.view();
        let page = view.page(range, limit, |key, row: PolicyRow| match key {
            Key::Policy(directory) => (directory, row.copies),
            _ => unreachable!("the range is of policies"),
        })?;
        Ok(page)
    }

    /// Whether `Count` has something to count.
    pub fn is_counting(&self) -> Result<bool, FsError> {
        Ok(tell::is_counting(&self.tables.view())?)
    }

    /// The last boots, with the last index that was left of the log when each began; ascending.
    pub fn boots(&self) -> Result<Vec<(u64, u64)>, FsError> {
        let row = self.tables.view().row::<BootsRow>(())?;
        Ok(row.unwrap_or_default().boots)
    }

    /// A session's row.
    pub fn session(&self, session: SessionId) -> Result<Option<SessionRow>, FsError> {
        Ok(self.tables.view().row::<SessionRow>(session)?)
    }

    /// A page of all sessions after `after`; those that have ended are among them until they are
    /// cleared.
    pub fn sessions(
        &self,
        after: SessionId,
        limit: usize,
    ) -> Result<Vec<(SessionId, SessionRow)>, FsError> {
        let range = KeyRange::after(all::sessions(), Key::Session(after));
        Ok(self
            .tables
            .view()
            .page(range, limit, |key, row| match key {
                Key::Session(session) => (session, row),
                _ => unreachable!("the range is of sessions"),
            })?)
    }

    /// A page of what a session holds open.
    pub fn opens(
        &self,
        session: SessionId,
        after: InodeId,
        limit: usize,
    ) -> Result<Vec<InodeId>, FsError> {
        let from = Key::Open {
            session,
            inode: after,
        };
        let range = KeyRange::after(all::opens(session), from);
        let view = self.tables.view();
        Ok(view.page(range, limit, |key, _: OpenRow| match key {
            Key::Open { inode, .. } => inode,
            _ => unreachable!("the range is of open inodes"),
        })?)
    }

    /// Whether a session holds an inode open.
    pub fn holds(&self, session: SessionId, inode: InodeId) -> Result<bool, FsError> {
        Ok(self.tables.view().has::<OpenRow>((session, inode))?)
    }

    /// Everything that is locked of an inode.
    pub fn locks(&self, inode: InodeId) -> Result<Vec<LockHeld>, FsError> {
        Ok(held::all_of(&self.tables.view(), inode)?)
    }

    /// The lock of another owner that stands in the way of a wish.
    pub fn lock_in_the_way(
        &self,
        inode: InodeId,
        owner: LockOwner,
        wish: &LockWish,
    ) -> Result<Logged<Option<LockHeld>>, FsError> {
        let held = self.logged(|view| Ok(held::all_of(view, inode)?))?;
        Ok(Logged {
            index: held.index,
            leased: false,
            writes: None,
            answer: held::in_the_way(&held.answer, owner, wish),
        })
    }

    /// All minions that ever registered.
    pub fn minions(&self) -> Result<Vec<(MinionId, MinionRow)>, FsError> {
        let range = all::minions().prefix();
        let view = self.tables.view();
        Ok(view.page(range, usize::MAX, |key, row| match key {
            Key::Minion(minion) => (minion, row),
            _ => unreachable!("the range is of minions"),
        })?)
    }
}
