//! Space of blocks that are dead in part comes back: they are judged when readers have had their
//! time, and what was decided is ordered when readers have had theirs again.

use super::{PAGE, grace_ago, rewrite};
use crate::engine::{
    command::Act,
    leader::Leader,
    reader::{BlockRow, Holes, is_due},
};
use dfs_proto::{
    error::FsError,
    id::{BlockId, MinionId},
    minion::{Liveness, Task},
};

/// Blocks that one decision judges.
const JUDGED_MAX: usize = 16;
/// Worn blocks that one tick looks at: each may be named by thousands of extents.
const LOOKED_AT_MAX: usize = 16;
/// Decisions that are ordered at the same time: each order may take some tens of kilobytes.
const ORDERED_MAX: usize = 64;

/// A round over the worn blocks that goes on for ever.
#[derive(Debug, Default)]
pub(super) struct Round {
    after: Option<BlockId>,
}

impl Round {
    /// One page of worn blocks.
    pub(super) async fn step(&mut self, leader: &Leader) -> Result<(), FsError> {
        let Some(moments) = grace_ago(leader) else {
            return Ok(());
        };
        let after = self.after.take().unwrap_or(BlockId(0));
        let page = leader.reader.worn(after, PAGE)?;
        let due = page.iter().filter(|(_, since, _)| is_due(*since, moments));
        let (mut judged, mut decided) = (Vec::new(), Vec::new());
        if page.len() == PAGE {
            self.after = page.last().map(|(block, ..)| *block);
        }
        for (n, (block, _, is_decided)) in due.enumerate() {
            if n == LOOKED_AT_MAX {
                self.after = Some(*block);
                break;
            }
            let row = leader.reader.block(*block)?;
            let Some(row) = row.filter(BlockRow::is_settled) else {
                continue;
            };
            if !is_decided && is_rewritten(leader, *block, &row).await? {
                continue;
            }
            let (list, max) = match is_decided {
                true => (&mut decided, ORDERED_MAX),
                false => (&mut judged, JUDGED_MAX),
            };
            list.push(*block);
            if list.len() == max {
                self.after = Some(*block);
                break;
            }
        }
        if !judged.is_empty() {
            leader.act(Act::Punch { blocks: judged }).await?;
        }
        order(leader, decided).await
    }
}

/// Whether a worn block is rewritten, or the file that it belongs to, or will be.
async fn is_rewritten(leader: &Leader, block: BlockId, row: &BlockRow) -> Result<bool, FsError> {
    let begun = match leader.reader.is_wasteful(block, row)? {
        true => rewrite::begin(leader, block, row).await?,
        false => rewrite::compact(leader, block, row).await?,
    };
    Ok(begun == rewrite::Begun::Soon)
}

/// Has minions carry out what was decided; notes what all have.
async fn order(leader: &Leader, decided: Vec<BlockId>) -> Result<(), FsError> {
    if decided.is_empty() {
        return Ok(());
    }
    // Orders follow only what a power cut cannot take back, nor the loss of the master's machine.
    leader.settled().await?;
    if !leader.kept().await {
        return Ok(());
    }
    let mut done = Vec::new();
    for block in decided {
        let (row, holes) = (leader.reader.block(block)?, leader.reader.holes(block)?);
        let (Some(row), Some(Holes { count, ranges })) = (row, holes) else {
            continue;
        };
        let minions = expected(leader, &row);
        let missing = leader.punches.lock().missing(block, count, &minions);
        if missing.is_empty() {
            done.push((block, count));
            continue;
        }
        let mut desk = leader.desk.lock();
        for minion in missing {
            let ranges = ranges.clone();
            desk.issue(minion, block, Task::Punch { count, ranges });
        }
    }
    if !done.is_empty() {
        leader.act(Act::Punched(done.clone())).await?;
        let mut punches = leader.punches.lock();
        done.iter().for_each(|(block, _)| punches.forget(*block));
    }
    Ok(())
}

/// The minions that are to carry it out: those with a replica that counts. One that is dead is told
/// when it comes back and reports what it holds.
fn expected(leader: &Leader, row: &BlockRow) -> Vec<MinionId> {
    let roster = leader.roster.lock();
    let there = |minion: &MinionId| roster.liveness(*minion) != Liveness::Dead;
    row.counting()
        .map(|(minion, _)| *minion)
        .filter(there)
        .collect()
}
