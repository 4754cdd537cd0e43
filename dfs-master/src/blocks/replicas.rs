//! What minions say of their replicas, and what that means for the block.

use crate::{
    blocks::reclaim,
    tables::{
        rows::{BlockRow, BlockState, ReplicaHealth, WritingRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    error::FsError,
    id::{BlockId, MinionId},
};
use serde::{Deserialize, Serialize};

/// What became of one replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReplicaNews {
    /// It is sealed at this length, whole and synced.
    Sealed {
        /// Payload bytes.
        length: u32,
    },
    /// It is shorter than the sealed length, or damaged below it: worthless.
    Worthless,
    /// The minion does not have it (its disk failed, or never got it).
    Lost,
    /// The minion removed it on the order to drop this placement.
    Dropped {
        /// The placement that the order named.
        placement: u32,
    },
    /// The minion has copied it from others: sealed at this length, whole, synced, and read back.
    Copied {
        /// Payload bytes.
        length: u32,
    },
    /// There are enough without it, or it is damaged and others are not.
    Surplus {
        /// The placement that this was decided for.
        placement: u32,
    },
}

/// Notes news of one replica. What is not known here, or not true any more, is passed over.
pub fn note(
    txn: &mut Txn<'_>,
    block: BlockId,
    minion: MinionId,
    news: ReplicaNews,
) -> Result<(), FsError> {
    let Some(mut row) = txn.row::<BlockRow>(block)? else {
        return Ok(());
    };
    let before = row.clone();
    let at = row.replicas.iter().position(|(of, _)| *of == minion);
    if let ReplicaNews::Copied { length } = news {
        return add(txn, block, row, minion, length);
    }
    let Some(at) = at else {
        return Ok(());
    };
    match news {
        ReplicaNews::Sealed { length } => match row.sealed() {
            Some(sealed) if sealed == length => row.replicas[at].1 = ReplicaHealth::Whole,
            Some(sealed) if sealed > length => row.replicas[at].1 = ReplicaHealth::Lost,
            Some(_) | None => return Ok(()),
        },
        ReplicaNews::Worthless | ReplicaNews::Lost => {
            row.replicas[at].1 = ReplicaHealth::Lost;
        }
        ReplicaNews::Surplus { placement } => {
            let whole = |(of, health): &(MinionId, ReplicaHealth)| {
                *of != minion && *health == ReplicaHealth::Whole
            };
            if placement != row.placement || !row.replicas.iter().any(whole) {
                return Ok(());
            }
            row.replicas[at].1 = ReplicaHealth::Lost;
        }
        ReplicaNews::Copied { .. } => unreachable!("it was added above"),
        ReplicaNews::Dropped { placement } => {
            if !may_forget(&row, at, placement) {
                return Ok(());
            }
            row.replicas.remove(at);
        }
    }
    if row.state == BlockState::Reclaiming && row.replicas.is_empty() {
        reclaim::forget(txn, block)?;
        return Ok(());
    }
    if row == before {
        return Ok(());
    }
    let lost = |row: &BlockRow| row.replicas.len() - row.counting().count();
    if lost(&row) != lost(&before) || row.replicas.len() != before.replicas.len() {
        row.placement += 1;
    }
    if row.is_settled() {
        row.synced = row.sealed().unwrap_or(row.synced);
        txn.delete::<WritingRow>((row.session, block));
    } else if row.state != BlockState::Reclaiming {
        txn.put((row.session, block), &WritingRow);
    }
    txn.put(block, &row);
    Ok(())
}

/// One more copy of a sealed block.
fn add(
    txn: &mut Txn<'_>,
    block: BlockId,
    mut row: BlockRow,
    minion: MinionId,
    length: u32,
) -> Result<(), FsError> {
    if row.sealed() != Some(length) {
        return Ok(());
    }
    match row.replicas.iter_mut().find(|(of, _)| *of == minion) {
        Some((_, ReplicaHealth::Whole)) => return Ok(()),
        Some((_, health)) => *health = ReplicaHealth::Whole,
        None => row.replicas.push((minion, ReplicaHealth::Whole)),
    }
    row.placement += 1;
    if row.is_settled() {
        row.synced = length;
        txn.delete::<WritingRow>((row.session, block));
    }
    txn.put(block, &row);
    Ok(())
}

/// Whether the replica was to go: because the block goes, or because it is lost and others are
/// there. The order must not be older than the last time that the replicas were changed for the
/// better.
fn may_forget(row: &BlockRow, at: usize, placement: u32) -> bool {
    let goes = row.state == BlockState::Reclaiming;
    let surplus = row.replicas[at].1 == ReplicaHealth::Lost && row.replicas.len() > 1;
    placement <= row.placement && (goes || surplus)
}
