//! The way from a directory up to the root. Rows that lead to nothing, or round in a circle, are told
//! of: who follows them blindly would never come back.

use super::{damage::Damage, rows::InodeRow, txn::Rows};
use dfs_proto::id::InodeId;
use std::ops::ControlFlow;

/// Calls `at` with a directory, with the one that it is in, and so on up to the root, until it breaks;
/// what it broke with.
pub fn climb<T>(
    read: &impl Rows,
    from: InodeId,
    mut at: impl FnMut(InodeId) -> Result<ControlFlow<T>, Damage>,
) -> Result<Option<T>, Damage> {
    let mut here = from;
    // Where it was after the last power of two of steps (Brent): who meets that again goes in a circle.
    let (mut mark, mut steps, mut until) = (from, 0u64, 1u64);
    loop {
        if let ControlFlow::Break(found) = at(here)? {
            return Ok(Some(found));
        }
        if here == InodeId::ROOT {
            return Ok(None);
        }
        let Some(row) = read.row::<InodeRow>(here)? else {
            return Err(Damage::Contradiction(format!(
                "directory {from} is below directory {here}, which is not there"
            )));
        };
        here = row.parent;
        if here == mark {
            return Err(Damage::Contradiction(format!(
                "directory {from} is in directories that are below each other, {here} among them"
            )));
        }
        steps += 1;
        if steps == until {
            (mark, steps, until) = (here, 0, until.saturating_mul(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::txn::{Settings, Storage, Tables, Txn};
    use dfs_proto::{attr::FileKind, time::Timestamp};
    use std::sync::Arc;

    fn put(txn: &mut Txn<'_>, inode: u64, parent: u64) {
        let mut row = InodeRow::new(FileKind::Directory, 0o755, (0, 0), Timestamp::EPOCH);
        row.parent = InodeId(parent);
        txn.put(InodeId(inode), &row);
    }

    #[test]
    fn every_way_ends() {
        let storage = Storage::Memory(Arc::default());
        let tables = Tables::open(&storage, Settings::default()).expect("opens");
        let done: Result<(), Damage> = tables.transact(|txn| {
            for inode in 2..=50 {
                put(txn, inode, inode - 1);
            }
            let way = |txn: &Txn<'_>, from| {
                let mut seen = Vec::new();
                let ended = climb(txn, InodeId(from), |inode| {
                    seen.push(inode.0);
                    let there = inode == InodeId(40);
                    Ok(if there {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    })
                });
                (ended, seen)
            };
            let (ended, seen) = way(txn, 30);
            assert_eq!((ended, seen), (Ok(None), (1..=30).rev().collect()));
            let (ended, seen) = way(txn, 45);
            assert_eq!((ended, seen), (Ok(Some(())), (40..=45).rev().collect()));
            // A circle of each length, entered from outside and from within.
            for back in 3..=30 {
                put(txn, 2, back);
                for from in [2, back, 39] {
                    let (ended, seen) = way(txn, from);
                    assert!(
                        matches!(ended, Err(Damage::Contradiction(_))),
                        "{from}, {back}"
                    );
                    assert!(seen.len() < 200, "{from}, {back}: {seen:?}");
                }
            }
            put(txn, 2, 99);
            assert!(matches!(way(txn, 30).0, Err(Damage::Contradiction(_))));
            Ok(())
        });
        done.expect("is done");
    }
}
