//! Putting right what an audit found. Each mend says what it was found for, and does nothing where that
//! is not so any more: the next audit looks again.

use crate::{
    blocks::reclaim::note_unused,
    tables::{
        rows::{
            BlockRow, Counted, ExtentId, ExtentRow, InodeRow, QuotaRow, TotalsRow, UseId, UseRow,
            Wants, WritingRow,
        },
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    error::FsError,
    extent::Extent,
    id::{BlockId, InodeId},
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
    /// Whether a block is noted as unsettled, or as unused.
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
        Mend::Block(block) => {
            if let Some(row) = txn.row::<BlockRow>(*block)? {
                match row.is_settled() {
                    true => txn.delete::<WritingRow>((row.session, *block)),
                    false => txn.put((row.session, *block), &WritingRow),
                }
            }
            note_unused(txn, now, vec![*block])?;
        }
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
