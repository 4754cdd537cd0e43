//! Looks whether quotas count what is there: each rule from outside, slowly, over all rows.

use super::account;
use crate::tables::{
    damage::Damage,
    key::{Key, KeyBytes, all},
    row::Row,
    rows::{Counted, DirentRow, InodeRow, QuotaRow, UncountedRow},
    txn::{Direction, Rows},
};
use dfs_proto::id::InodeId;
use std::{collections::BTreeMap, ops::ControlFlow};

/// Rows by their inodes.
type Of<R> = BTreeMap<InodeId, R>;

/// All rules that do not hold.
pub fn audit(read: &impl Rows) -> Result<Vec<String>, Damage> {
    let inodes: Of<InodeRow> = rows(read, all::inodes(), |key| match key {
        Key::Inode(inode) => Some(inode),
        _ => None,
    })?;
    let quotas: Of<QuotaRow> = rows(read, all::quotas(), |key| match key {
        Key::Quota(directory) => Some(directory),
        _ => None,
    })?;
    let uncounted: Of<UncountedRow> = rows(read, all::uncounted(), |key| match key {
        Key::Uncounted(directory) => Some(directory),
        _ => None,
    })?;
    let mut found = Vec::new();
    sums(read, &inodes, &quotas, &uncounted, &mut found)?;
    for directory in quotas
        .iter()
        .filter(|(_, row)| !row.removed)
        .map(|(id, _)| id)
    {
        let own = inodes.get(directory).map(|row| row.quota);
        if own != Some(Some(*directory)) {
            found.push(format!(
                "directory {directory} has a quota and is counted in {own:?}"
            ));
        }
    }
    for directory in uncounted.keys().filter(|id| !inodes.contains_key(id)) {
        found.push(format!(
            "directory {directory} is to be counted and not there"
        ));
    }
    if uncounted.is_empty() {
        places(read, &inodes, &quotas, &mut found)?;
    }
    Ok(found)
}

/// Each quota counts what says that it is counted there, and in those below.
fn sums(
    read: &impl Rows,
    inodes: &Of<InodeRow>,
    quotas: &Of<QuotaRow>,
    uncounted: &Of<UncountedRow>,
    found: &mut Vec<String>,
) -> Result<(), Damage> {
    let mut sums: BTreeMap<InodeId, Counted> = BTreeMap::new();
    for (id, row) in inodes {
        if row.links == 0 && row.opens == 0 {
            if row.quota.is_some() {
                found.push(format!("inode {id} is gone and still counted"));
            }
            continue;
        }
        let chain = match account::chain(read, row.quota) {
            Err(Damage::Contradiction(why)) => {
                found.push(format!("inode {id} is counted nowhere: {why}"));
                continue;
            }
            chain => chain?,
        };
        for quota in chain {
            let sum = sums.entry(quota).or_default();
            sum.inodes += 1;
            sum.bytes = sum.bytes.saturating_add(row.stored);
            sum.uncounted += u64::from(uncounted.contains_key(id));
        }
    }
    for (directory, row) in quotas {
        let sum = sums.remove(directory).unwrap_or_default();
        if row.counted != sum {
            found.push(format!(
                "the quota of directory {directory} counts {:?}, and {sum:?} is there",
                row.counted
            ));
        }
        if row.removed && sum == Counted::default() {
            found.push(format!(
                "the quota of directory {directory} was taken away and is still there"
            ));
        }
    }
    Ok(())
}

/// With nothing left to count, every directory is counted as the one above it. Of files this cannot
/// be said from their rows: one may have had names on both sides of a border.
fn places(
    read: &impl Rows,
    inodes: &Of<InodeRow>,
    quotas: &Of<QuotaRow>,
    found: &mut Vec<String>,
) -> Result<(), Damage> {
    let mut entries: Vec<(InodeId, InodeId)> = Vec::new();
    read.each(
        all::dirents().prefix(),
        Direction::Up,
        |key, row: DirentRow| {
            if let Key::Dirent { parent, .. } = key {
                entries.push((parent, row.inode));
            }
            ControlFlow::Continue(())
        },
    )?;
    for (parent, inode) in entries {
        let (Some(above), Some(row)) = (inodes.get(&parent), inodes.get(&inode)) else {
            continue;
        };
        let counted_in = match quotas.get(&inode).filter(|own| !own.removed) {
            Some(own) => own.above,
            None => row.quota,
        };
        if row.is_directory() && counted_in != above.quota {
            found.push(format!(
                "directory {inode} is counted in {counted_in:?}, directory {parent} above it in {:?}",
                above.quota
            ));
        }
    }
    Ok(())
}

fn rows<R: Row>(
    read: &impl Rows,
    beginning: KeyBytes,
    id: impl Fn(Key<'_>) -> Option<InodeId>,
) -> Result<Of<R>, Damage> {
    let mut rows = BTreeMap::new();
    read.each(beginning.prefix(), Direction::Up, |key, row: R| {
        if let Some(id) = id(key) {
            rows.insert(id, row);
        }
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}
