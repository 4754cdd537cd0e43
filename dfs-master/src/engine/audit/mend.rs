//! Putting right what an audit found. Each mend says what it was found for, and does nothing where that
//! is not so any more: the next audit looks again.

use crate::{
    blocks::reclaim::{drop_forgotten, note_anew},
    locks::held,
    namespace::restore::{
        self,
        lost::{self, Place},
    },
    policy::set::settle,
    tables::{
        rows::{
            BlockRow, Counted, DirentRow, ExtentId, ExtentRow, InodeRow, ListingRow, OpenRow,
            QuotaRow, SessionRow, TotalsRow, UncountedRow, UseId, UseRow, Wants, WritingRow,
        },
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    error::FsError,
    extent::Extent,
    id::{BlockId, InodeId, SessionId},
    name::Name,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// How one thing is put right. New variants go at the end: the log counts them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mend {
    /// Counts of an inode, unless anything of it has changed.
    Inode {
        /// Which.
        inode: InodeId,
        /// As it was found.
        found: Box<InodeRow>,
        /// As it should be.
        right: Box<InodeRow>,
    },
    /// The reverse of an extent, which is there or is not.
    Use {
        /// Whose extent.
        inode: InodeId,
        /// Of which generation.
        generation: u32,
        /// The extent, or what the reverse says that there is.
        extent: Extent,
    },
    /// A block is noted as what it is: unsettled, unused, worn.
    Block(BlockId),
    /// The totals are off by so much. All changes of them go by differences, so that this holds
    /// whatever has changed since.
    Totals {
        /// Inodes too few.
        inodes: i64,
        /// Stored bytes too few.
        stored: i64,
        /// Blocks too few.
        blocks: i64,
        /// Sessions too few.
        sessions: i64,
    },
    /// The count of a quota is off by so much; as with the totals.
    Quota {
        /// Whose quota.
        directory: InodeId,
        /// Inodes too few.
        inodes: i64,
        /// Bytes too few.
        bytes: i64,
        /// Directories still to be counted too few.
        uncounted: i64,
    },
    /// Files with bytes in a block want so many copies.
    Wants(BlockId, Wants),
    /// An entry is listed as what it is, or goes if it names what is not there.
    Entry {
        /// In which directory.
        parent: InodeId,
        /// Under which name.
        name: Name,
        /// As it was found.
        found: DirentRow,
    },
    /// A listing has its entry, or goes; its directory does not give its cookie to another.
    Listing {
        /// Of which directory.
        parent: InodeId,
        /// Where in it.
        cookie: u64,
        /// As it was found.
        found: ListingRow,
        /// The entry is put back, if what it names says that it has so many links.
        links: Option<u32>,
    },
    /// There is a directory for what is lost, with this id if it has to be made.
    Place(InodeId),
    /// An inode without a name gets one there, if it says that it has so many links.
    Name {
        /// Which.
        inode: InodeId,
        /// As it was found.
        links: u32,
    },
    /// A directory of which only entries are left is made again.
    Directory(InodeId),
    /// A directory is in the one that has its only name.
    Parent {
        /// Which.
        directory: InodeId,
        /// Where it says that it is.
        found: InodeId,
        /// Where it is.
        parent: InodeId,
        /// Under which name.
        name: Name,
    },
    /// An inode that nobody can reach goes, unless anything of it has changed.
    Gone {
        /// Which.
        inode: InodeId,
        /// As it was found.
        found: Box<InodeRow>,
    },
    /// A directory is counted where it should be, and under its policy.
    Rules(InodeId),
    /// A handle of a session, or on an inode, that is not there.
    Open {
        /// Whose.
        session: SessionId,
        /// On what.
        inode: InodeId,
    },
    /// The note that a block is unsettled which is not there.
    Unsettled {
        /// Whose block.
        session: SessionId,
        /// Which.
        block: BlockId,
    },
    /// The note that something of an inode is to be counted which is not there.
    Uncounted(InodeId),
}

impl Mend {
    /// An inode as it should be, unless anything of it has changed since it was found.
    pub(super) fn inode(inode: InodeId, found: InodeRow, right: InodeRow) -> Mend {
        Mend::Inode {
            inode,
            found: Box::new(found),
            right: Box::new(right),
        }
    }

    /// The inodes that it may change and someone may keep, each with the name in it that may change.
    pub fn touches(&self, read: &impl Rows) -> Result<Vec<(InodeId, Option<Name>)>, FsError> {
        Ok(match self {
            Mend::Inode { inode, .. } => vec![(*inode, None)],
            Mend::Entry { parent, name, .. } => vec![(*parent, Some(name.clone()))],
            Mend::Listing { parent, found, .. } => {
                vec![(*parent, Some(found.name.clone())), (found.inode, None)]
            }
            Mend::Place(_) => match lost::place(read)? {
                Place::Free(name) => vec![(InodeId::ROOT, Some(name))],
                Place::There(..) | Place::Nowhere => Vec::new(),
            },
            Mend::Name { inode, .. } => {
                let mut touched = vec![(*inode, None)];
                if let Place::There(place, _) = lost::place(read)? {
                    touched.push((place, lost::name(read, place, *inode)?));
                }
                touched
            }
            Mend::Rules(directory) | Mend::Parent { directory, .. } => vec![(*directory, None)],
            Mend::Use { .. }
            | Mend::Block(_)
            | Mend::Totals { .. }
            | Mend::Quota { .. }
            | Mend::Wants(..)
            // Nobody can have been told of these.
            | Mend::Directory(_)
            | Mend::Gone { .. }
            | Mend::Open { .. }
            | Mend::Unsettled { .. }
            | Mend::Uncounted(_) => Vec::new(),
        })
    }
}

/// Mends with what a leader adds to them: an id for the directory in which some give names.
pub fn with_place(mut mends: Vec<Mend>, id: impl FnOnce() -> InodeId) -> Vec<Mend> {
    if mends.iter().any(|mend| matches!(mend, Mend::Name { .. })) {
        mends.insert(0, Mend::Place(id()));
    }
    mends
}

/// By how much `found` is too small.
pub(super) fn off(found: u64, right: u64) -> i64 {
    right.wrapping_sub(found).cast_signed()
}

/// Puts one thing right.
pub fn mend(txn: &mut Txn<'_>, now: Timestamp, mend: &Mend) -> Result<(), FsError> {
    match mend {
        Mend::Inode {
            inode,
            found,
            right,
        } => {
            if txn.row::<InodeRow>(*inode)?.as_ref() == Some(&**found) {
                txn.put(*inode, &**right);
            }
        }
        Mend::Use {
            inode,
            generation,
            extent,
        } => {
            let id = ExtentId {
                inode: *inode,
                generation: *generation,
                offset: extent.file_offset,
            };
            reverse(txn, id, extent)?;
        }
        Mend::Block(block) => note_anew(txn, now, *block)?,
        Mend::Totals {
            inodes,
            stored,
            blocks,
            sessions,
        } => {
            let totals = txn.row::<TotalsRow>(())?.unwrap_or_default();
            let totals = TotalsRow {
                inodes: totals.inodes.saturating_add_signed(*inodes),
                stored: totals.stored.saturating_add_signed(*stored),
                blocks: totals.blocks.saturating_add_signed(*blocks),
                sessions: totals.sessions.saturating_add_signed(*sessions),
            };
            txn.put((), &totals);
        }
        Mend::Quota {
            directory,
            inodes,
            bytes,
            uncounted,
        } => {
            if let Some(row) = txn.row::<QuotaRow>(*directory)? {
                let counted = Counted {
                    inodes: row.counted.inodes.saturating_add_signed(*inodes),
                    bytes: row.counted.bytes.saturating_add_signed(*bytes),
                    uncounted: row.counted.uncounted.saturating_add_signed(*uncounted),
                };
                txn.put(*directory, &QuotaRow { counted, ..row });
            }
        }
        Mend::Wants(block, wants) => {
            if let Some(mut row) = txn.row::<BlockRow>(*block)?
                && row.want(*wants)
            {
                txn.put(*block, &row);
            }
        }
        names => return mend_names(txn, now, names),
    }
    Ok(())
}

/// Names, and notes of what is not there.
fn mend_names(txn: &mut Txn<'_>, now: Timestamp, mend: &Mend) -> Result<(), FsError> {
    match mend {
        Mend::Entry {
            parent,
            name,
            found,
        } => restore::entry(txn, now, (*parent, name), *found)?,
        Mend::Listing {
            parent,
            cookie,
            found,
            links,
        } => restore::listing(txn, now, (*parent, *cookie), found, *links)?,
        Mend::Place(made) => lost::make_place(txn, now, *made)?,
        Mend::Name { inode, links } => lost::give_name(txn, now, *inode, *links)?,
        Mend::Directory(directory) => lost::make_again(txn, now, *directory)?,
        Mend::Parent {
            directory,
            found,
            parent,
            name,
        } => restore::parent(txn, now, (*directory, *found), (*parent, name))?,
        Mend::Gone { inode, found } => {
            let row = txn.row::<InodeRow>(*inode)?;
            if let Some(row) = row.filter(|row| *row == **found && row.is_gone()) {
                drop_forgotten(txn, *inode, row)?;
            }
        }
        Mend::Rules(directory) => settle(txn, *directory)?,
        Mend::Open { session, inode } => let_go(txn, *session, *inode)?,
        Mend::Unsettled { session, block } => {
            if !txn.has::<BlockRow>(*block)? {
                txn.delete::<WritingRow>((*session, *block));
            }
        }
        Mend::Uncounted(inode) => {
            if !txn.has::<InodeRow>(*inode)? {
                txn.delete::<UncountedRow>(*inode);
            }
        }
        _ => unreachable!("the caller has carried out all others"),
    }
    Ok(())
}

/// Lets go of a handle that nobody has, or on nothing. What has no name and is not open any more then
/// goes when the next audit has seen that it is so.
fn let_go(txn: &mut Txn<'_>, session: SessionId, inode: InodeId) -> Result<(), FsError> {
    let row = txn.row::<InodeRow>(inode)?;
    let held = txn.has::<SessionRow>(session)? && row.is_some();
    if held || !txn.has::<OpenRow>((session, inode))? {
        return Ok(());
    }
    txn.delete::<OpenRow>((session, inode));
    held::release(txn, session, inode)?;
    if let Some(mut row) = row {
        row.opens = row.opens.saturating_sub(1);
        txn.put(inode, &row);
    }
    Ok(())
}

/// Puts the reverse of an extent where it is to be: beside the extent, or nowhere.
fn reverse(txn: &mut Txn<'_>, id: ExtentId, extent: &Extent) -> Result<(), FsError> {
    let there = txn.row::<ExtentRow>(id)?;
    let there = there.map(|row| row.at(extent.file_offset)) == Some(*extent);
    let reverse = UseId {
        block: extent.block,
        block_offset: extent.block_offset,
        extent: id,
    };
    match there {
        true => txn.put(reverse, &UseRow { len: extent.len }),
        false => txn.delete::<UseRow>(reverse),
    }
    Ok(())
}
