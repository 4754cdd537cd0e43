//! Blocks: noted as unsettled, unused or worn if they are, named only where their bytes are still there,
//! and nothing noted of one that is not there.

use super::{
    holders::Seen,
    mend::Mend,
    pass::{Ended, Pass},
};
use crate::policy;
use crate::tables::{
    damage::Damage,
    key::{Key, all},
    rows::{
        BlockRow, BlockState, ExtentId, ExtentRow, HolesRow, InodeRow, UnusedRow, UseRow, Wants,
        WornRow, WritingRow,
    },
    txn::{Direction, Rows},
};
use dfs_proto::{extent::Extent, id::BlockId};
use std::ops::ControlFlow;

pub(super) fn check<R: Rows>(pass: &mut Pass<'_, R>, seen: &mut Seen) -> Result<(), Ended> {
    // Until then blocks want what their files wanted before.
    let all_told = seen.all_counted();
    pass.each(all::blocks(), |pass, key, row: BlockRow| {
        let Key::Block(block) = key else {
            return Ok(());
        };
        seen.blocks += 1;
        let holes = pass.read.row::<HolesRow>(block)?;
        let known = holes.is_some() == (row.punched > 0);
        let sealed = holes.is_none() || row.state != BlockState::Open;
        pass.faults.unless(known && sealed, || {
            format!("block {block} was punched {} times: {holes:?}", row.punched)
        });
        let (used, wants) = uses(pass, block, &holes.unwrap_or_default())?;
        if all_told && row.wants.and(wants) != row.wants {
            let what = policy::audit::too_few(block, row.wants, wants);
            pass.faults.add(what, Some(Mend::Wants(block, wants)));
        }
        notes(pass, block, &row, used)
    })?;
    strays(pass)
}

/// How a block is noted.
fn notes<R: Rows>(
    pass: &mut Pass<'_, R>,
    block: BlockId,
    row: &BlockRow,
    used: bool,
) -> Result<(), Damage> {
    let unsettled = row.state != BlockState::Reclaiming && !row.is_settled();
    let noted = pass.read.has::<WritingRow>((row.session, block))?;
    if unsettled != noted {
        let what = format!("block {block} is noted wrongly as unsettled, or not");
        pass.faults.add(what, Some(Mend::Block(block)));
    }
    let unused = pass.read.row::<UnusedRow>(block)?;
    let reclaiming = unused.as_ref().map(|unused| unused.reclaiming);
    match (row.state, used) {
        (BlockState::Sealed(_), false) if reclaiming.is_none() => {
            let what = format!("block {block} is unused, and not noted as that");
            pass.faults.add(what, Some(Mend::Block(block)));
        }
        (BlockState::Sealed(_), false) | (BlockState::Reclaiming, _) => {
            let goes = row.state == BlockState::Reclaiming;
            let lost = goes && used;
            if reclaiming != Some(goes) || lost {
                let what = format!(
                    "block {block} is noted wrongly as unused: {:?}, {unused:?}",
                    row.state
                );
                // Whether minions have dropped one that goes is not known.
                pass.faults.add(what, (!lost).then_some(Mend::Block(block)));
            }
        }
        (BlockState::Sealed(_), true) | (BlockState::Open, _) => {
            if reclaiming == Some(true) {
                let what = format!(
                    "block {block} is noted as one that goes, and is {:?}",
                    row.state
                );
                pass.faults.add(what, Some(Mend::Block(block)));
            }
        }
    }
    let ends = row.sealed().is_none_or(|length| row.synced <= length);
    pass.faults
        .unless(ends, || format!("block {block} is synced above its end"));
    Ok(())
}

/// Each use of a block has its extent, and names nothing that was given up. Whether there is one, and
/// what the files want.
fn uses<R: Rows>(
    pass: &mut Pass<'_, R>,
    block: BlockId,
    holes: &HolesRow,
) -> Result<(bool, Wants), Damage> {
    let mut used = false;
    let mut wants = Wants::default();
    let mut failed = Ok(());
    let read = pass.read;
    read.each(
        all::uses(block).prefix(),
        Direction::Up,
        |key, row: UseRow| {
            used = true;
            failed = one_use(pass, key, row, holes).map(|of| wants = wants.and(of));
            match failed.is_ok() && pass.pulse() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        },
    )?;
    failed.map(|()| (used, wants))
}

fn one_use<R: Rows>(
    pass: &mut Pass<'_, R>,
    key: Key<'_>,
    row: UseRow,
    holes: &HolesRow,
) -> Result<Wants, Damage> {
    let Key::Use {
        block,
        block_offset,
        inode,
        generation,
        file_offset,
    } = key
    else {
        return Ok(Wants::default());
    };
    let file = pass.read.row::<InodeRow>(inode)?;
    let current = file.filter(|file| file.generation == generation && !file.is_gone());
    let wants = current.map_or(Wants::default(), |file| Wants::of(file.policy));
    let extent = Extent {
        file_offset,
        len: row.len,
        block,
        block_offset,
    };
    let there = pass.read.row::<ExtentRow>(ExtentId {
        inode,
        generation,
        offset: file_offset,
    })?;
    if there.map(|there| there.at(file_offset)) != Some(extent) {
        let what = format!(
            "block {block} says that inode {inode} has {} of its bytes at {file_offset}, which it has not",
            row.len
        );
        pass.faults.add(
            what,
            Some(Mend::Use {
                inode,
                generation,
                extent,
            }),
        );
        return Ok(wants);
    }
    let mut ranges = holes.ranges.iter();
    let gone = ranges.any(|(from, to)| block_offset < *to && *from < extent.block_end());
    pass.faults.unless(!gone, || {
        format!("inode {inode} has bytes of block {block} at {file_offset} that were given up")
    });
    Ok(wants)
}

/// What is noted of blocks that are not there.
fn strays<R: Rows>(pass: &mut Pass<'_, R>) -> Result<(), Ended> {
    let there = |pass: &mut Pass<'_, R>, block: BlockId, what: &str, mend: Option<Mend>| {
        let row = pass.read.row::<BlockRow>(block)?;
        if row.is_none() {
            let what = format!("block {block} is {what} and is not there");
            pass.faults.add(what, mend);
        }
        Ok::<Option<BlockRow>, Damage>(row)
    };
    let noted = |block| Some(Mend::Block(block));
    pass.each(all::unsettled(), |pass, key, _: WritingRow| match key {
        Key::Writing { session, block } => {
            let mend = Some(Mend::Unsettled { session, block });
            there(pass, block, "noted as unsettled", mend).map(drop)
        }
        _ => Ok(()),
    })?;
    pass.each(all::unused(), |pass, key, _: UnusedRow| match key {
        Key::Unused(block) => there(pass, block, "noted as unused", noted(block)).map(drop),
        _ => Ok(()),
    })?;
    pass.each(all::worn(), |pass, key, _: WornRow| {
        if let Key::Worn(block) = key
            && let Some(row) = there(pass, block, "noted as worn", noted(block))?
            && row.sealed().is_none()
        {
            let what = format!("block {block} is noted as worn and is {:?}", row.state);
            pass.faults.add(what, noted(block));
        }
        Ok(())
    })?;
    pass.each(all::every_hole(), |pass, key, _: HolesRow| match key {
        Key::Holes(block) => there(pass, block, "noted as having holes", noted(block)).map(drop),
        _ => Ok(()),
    })?;
    let nobody = all::blocks();
    pass.owners(all::every_use(), |pass, key| {
        let Key::Use { block, .. } = key else {
            return Ok(nobody);
        };
        there(pass, block, "used", None)?;
        Ok(all::uses(block))
    })
}
