//! A new block for a session to append to.

use crate::{
    blocks::space,
    tables::{
        rows::{BlockRow, BlockState, ReplicaHealth, Wants, WritingRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    block::BlockPlace,
    error::FsError,
    id::{BlockId, MinionId, SessionId},
};

/// Makes block `block` on the minions that the leader chose, for bytes of files that want so many
/// copies.
pub fn allocate(
    txn: &mut Txn<'_>,
    session: SessionId,
    block: BlockId,
    replicas: &[MinionId],
    wants: Wants,
) -> Result<BlockPlace, FsError> {
    if replicas.is_empty() {
        return Err(FsError::TooFewMinions { have: 0, need: 1 });
    }
    if txn.has::<BlockRow>(block)? {
        return Err(FsError::Invalid(format!(
            "block {block} was given out before"
        )));
    }
    let row = BlockRow {
        session,
        replicas: replicas
            .iter()
            .map(|minion| (*minion, ReplicaHealth::Writing))
            .collect(),
        placement: 1,
        state: BlockState::Open,
        synced: 0,
        punched: 0,
        wants,
        outgrown: false,
    };
    txn.insert(block, &row);
    txn.insert((session, block), &WritingRow);
    space::count(txn, |totals| totals.blocks += 1)?;
    Ok(row.place(block))
}
