//! Deciding on bytes that go, and noting that they are gone.

use super::judge::{self, Range};
use crate::{
    blocks::space,
    tables::{
        damage::Damage,
        rows::{BlockRow, HolesRow, WornRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{id::BlockId, time::Timestamp};

/// Uses that one decision looks at, and those of one block more.
const USES_MAX: usize = 20_000;

/// What was given up of a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holes {
    /// Counts the decisions.
    pub count: u32,
    /// Ranges of its payload `[start, end)`, in order, apart from each other: of all decisions.
    pub ranges: Vec<Range>,
}

/// Judges blocks that are worn: those of which enough is dead give it up, the others are not noted
/// as worn any more, until they lose another use. Blocks that are not settled wait.
pub fn decide(txn: &mut Txn<'_>, now: Timestamp, blocks: &[BlockId]) -> Result<(), Damage> {
    let mut looked_at = 0;
    for block in blocks {
        if looked_at > USES_MAX {
            return Ok(());
        }
        let worn = txn.row::<WornRow>(*block)?;
        let row = txn.row::<BlockRow>(*block)?;
        let (Some(false), Some(row)) = (worn.map(|worn| worn.decided), row) else {
            continue;
        };
        let Some(length) = row.sealed().filter(|_| row.is_settled()) else {
            continue;
        };
        let live = space::live_ranges(txn, *block, &mut looked_at)?;
        let has = txn.row::<HolesRow>(*block)?.unwrap_or_default();
        match judge::holes(length, &live, &has.ranges) {
            None if judge::is_wasteful(length, judge::bytes(&live), judge::bytes(&has.ranges)) => {
                // To be rewritten, when that can be done.
                let worn = WornRow {
                    since: now,
                    decided: false,
                };
                txn.put(*block, &worn);
            }
            None => txn.delete::<WornRow>(*block),
            Some(ranges) => give_up(txn, now, *block, row, ranges),
        }
    }
    Ok(())
}

fn give_up(txn: &mut Txn<'_>, now: Timestamp, block: BlockId, row: BlockRow, ranges: Vec<Range>) {
    let worn = WornRow {
        since: now,
        decided: true,
    };
    let punched = row.punched + 1;
    txn.put(block, &worn);
    txn.put(block, &HolesRow { ranges });
    txn.put(block, &BlockRow { punched, ..row });
}

/// Notes that minions have carried out decisions, by their counts. The blocks are worn still, for
/// they may have lost more meanwhile.
pub fn carried_out(
    txn: &mut Txn<'_>,
    now: Timestamp,
    done: &[(BlockId, u32)],
) -> Result<(), Damage> {
    for &(block, count) in done {
        let worn = txn.row::<WornRow>(block)?;
        let row = txn.row::<BlockRow>(block)?;
        if worn.is_some_and(|worn| worn.decided) && row.is_some_and(|row| row.punched == count) {
            let worn = WornRow {
                since: now,
                decided: false,
            };
            txn.put(block, &worn);
        }
    }
    Ok(())
}
