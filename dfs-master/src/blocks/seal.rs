//! Ends a block at a length for good: as its writer says, or as its replicas are measured.

use crate::{
    blocks::{cut, reclaim, space},
    tables::{
        key::{Key, all},
        rows::{BlockRow, BlockState, ReplicaHealth, WritingRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    error::FsError,
    extent::BLOCK_BYTES_MAX,
    id::{BlockId, MinionId, SessionId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// How far one replica goes, as its minion measured it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Whose replica.
    pub minion: MinionId,
    /// Payload bytes that it has, undamaged.
    pub length: u32,
}

/// Ends a block of `session` at `length`, the last that every replica acknowledged (D2). Needs no
/// answer from minions; they are told to keep the seal, and say when they have.
pub fn by_writer(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    block: BlockId,
    length: u32,
) -> Result<(), FsError> {
    let row = txn.row::<BlockRow>(block)?;
    let Some(row) = row.filter(|row| row.session == session) else {
        return Err(FsError::NotYourBlock(block));
    };
    match row.state {
        BlockState::Reclaiming => return Err(FsError::NotYourBlock(block)),
        BlockState::Sealed(at) if at == length => return Ok(()),
        BlockState::Sealed(length) => return Err(FsError::BlockSealed { block, length }),
        BlockState::Open => {}
    }
    let named = space::named_end(txn, block)?;
    if length > BLOCK_BYTES_MAX || length < named.max(row.synced) {
        return Err(FsError::Invalid(format!(
            "block {block} cannot end at {length}: {named} bytes of it were committed and {} \
             synced, and a block has at most {BLOCK_BYTES_MAX}",
            row.synced
        )));
    }
    end_at(txn, now, block, row, length)
}

/// Ends a block whose writer is gone, or whose seal no replica can keep, by what its replicas have.
/// `waited` says that those that did not answer count as lost. Gives the length, or `None` where
/// there is nothing to decide yet.
///
/// A replica that is shorter than what is known to be synced is worthless. Of the others, those that
/// have all that was committed decide: the shortest of them is the length. If none has, committed
/// bytes that were never synced are lost, and the longest is the length (D3). If no replica has even
/// what was synced, the block waits: its minions may come back.
pub fn by_measure(
    txn: &mut Txn<'_>,
    now: Timestamp,
    block: BlockId,
    measured: &[Measured],
    waited: bool,
) -> Result<Option<u32>, FsError> {
    let Some(mut row) = txn.row::<BlockRow>(block)? else {
        return Ok(None);
    };
    match row.state {
        BlockState::Reclaiming => return Ok(None),
        BlockState::Sealed(length) if row.is_kept() => return Ok(Some(length)),
        BlockState::Sealed(_) | BlockState::Open => {}
    }
    let length_at = |minion: MinionId| {
        let measure = measured.iter().find(|measure| measure.minion == minion);
        measure.map(|measure| measure.length)
    };
    let everyone = row
        .replicas
        .iter()
        .all(|(minion, _)| length_at(*minion).is_some());
    if !everyone && !waited {
        return Ok(None);
    }
    let named = space::named_end(txn, block)?;
    let lengths = row
        .replicas
        .iter()
        .filter_map(|(minion, _)| length_at(*minion));
    let valid: Vec<u32> = lengths.filter(|length| *length >= row.synced).collect();
    let whole = valid.iter().filter(|length| **length >= named).min();
    let Some(length) = whole.or(valid.iter().max()).copied() else {
        return Ok(None);
    };
    // A seal that no replica keeps may be taken back, but not made longer.
    let length = length.min(row.sealed().unwrap_or(BLOCK_BYTES_MAX));
    for (minion, health) in &mut row.replicas {
        *health = match length_at(*minion) {
            Some(has) if has < length => ReplicaHealth::Lost,
            Some(_) => ReplicaHealth::Writing,
            None => *health,
        };
    }
    row.placement += 1;
    end_at(txn, now, block, row, length)?;
    if length < named {
        cut::above(txn, now, block, length)?;
        reclaim::note_unused(txn, now, vec![block])?;
    }
    Ok(Some(length))
}

fn end_at(
    txn: &mut Txn<'_>,
    now: Timestamp,
    block: BlockId,
    row: BlockRow,
    length: u32,
) -> Result<(), FsError> {
    let row = BlockRow {
        state: BlockState::Sealed(length),
        synced: row.synced.min(length),
        ..row
    };
    txn.put(block, &row);
    reclaim::note_unused(txn, now, vec![block])?;
    Ok(())
}

/// What a session's end means for its blocks: those that nothing names are ended at nothing, the
/// others stay open until they are measured.
pub fn by_end_of_session(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
) -> Result<(), FsError> {
    let range = all::written_by(session).prefix();
    let blocks = txn.page(range, usize::MAX, |key, _: WritingRow| match key {
        Key::Writing { block, .. } => block,
        _ => unreachable!("the range is of unsettled blocks"),
    })?;
    for block in blocks {
        let row = txn.row::<BlockRow>(block)?;
        let its = |row: &BlockRow| row.session == session && row.state == BlockState::Open;
        let Some(row) = row.filter(its) else {
            continue;
        };
        if !space::is_used(txn, block)? {
            end_at(txn, now, block, row, 0)?;
        }
    }
    Ok(())
}
