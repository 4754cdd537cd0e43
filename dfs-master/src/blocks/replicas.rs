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
    let Some(at) = row.replicas.iter().position(|(of, _)| *of == minion) else {
        return Ok(());
    };
    let before = row.clone();
    match news {
        ReplicaNews::Sealed { length } => match row.sealed() {
            Some(sealed) if sealed == length => row.replicas[at].1 = ReplicaHealth::Whole,
            Some(sealed) if sealed > length => row.replicas[at].1 = ReplicaHealth::Lost,
            Some(_) | None => return Ok(()),
        },
        ReplicaNews::Worthless | ReplicaNews::Lost => {
            row.replicas[at].1 = ReplicaHealth::Lost;
        }
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

/// Whether the replica was to go: because the block goes, or because it is lost and others are
/// there. The order must not be older than the last time that the replicas were changed for the
/// better.
fn may_forget(row: &BlockRow, at: usize, placement: u32) -> bool {
    let goes = row.state == BlockState::Reclaiming;
    let surplus = row.replicas[at].1 == ReplicaHealth::Lost && row.replicas.len() > 1;
    placement <= row.placement && (goes || surplus)
}
