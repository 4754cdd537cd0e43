//! Looks whether policies are passed on: each rule from outside, slowly, over all rows.

use crate::tables::{
    damage::Damage,
    key::{Key, all},
    rows::{BlockRow, DirentRow, InodeRow, PolicyRow, UseRow, Wants},
    txn::{Direction, Rows},
};
use dfs_proto::id::{BlockId, InodeId};
use std::{collections::BTreeMap, ops::ControlFlow};

/// All rules that do not hold.
pub fn audit(read: &impl Rows) -> Result<Vec<String>, Damage> {
    let mut found = Vec::new();
    own(read, &mut found)?;
    if !read.any(all::uncounted().prefix())? {
        directories(read, &mut found)?;
        blocks(read, &mut found)?;
    }
    Ok(found)
}

/// Who has a policy is under it.
fn own(read: &impl Rows, found: &mut Vec<String>) -> Result<(), Damage> {
    let all = all::policies().prefix();
    let policies = read.page(all, usize::MAX, |key, row: PolicyRow| match key {
        Key::Policy(directory) => (directory, row.copies),
        _ => unreachable!("the range is of policies"),
    })?;
    for (directory, copies) in policies {
        let row = read.row::<InodeRow>(directory)?;
        let under = row.filter(InodeRow::is_directory).map(|row| row.policy);
        if under != Some(Some(copies)) {
            found.push(not_own(directory, under));
        }
    }
    Ok(())
}

/// Every other directory is under that of the one above it. Of files this cannot be said from their
/// rows: one may have names in both.
fn directories(read: &impl Rows, found: &mut Vec<String>) -> Result<(), Damage> {
    let mut entries: Vec<(InodeId, InodeId)> = Vec::new();
    let range = all::dirents().prefix();
    read.each(range, Direction::Up, |key, row: DirentRow| {
        if let Key::Dirent { parent, .. } = key {
            entries.push((parent, row.inode));
        }
        ControlFlow::Continue(())
    })?;
    for (parent, inode) in entries {
        let above = read.row::<InodeRow>(parent)?;
        let row = read.row::<InodeRow>(inode)?.filter(InodeRow::is_directory);
        let (Some(above), Some(row)) = (above, row) else {
            continue;
        };
        if row.policy != above.policy && !read.has::<PolicyRow>(inode)? {
            found.push(not_inherited(inode, parent));
        }
    }
    Ok(())
}

/// Every block wants what the files want whose bytes it has.
fn blocks(read: &impl Rows, found: &mut Vec<String>) -> Result<(), Damage> {
    let mut wants: BTreeMap<BlockId, Wants> = BTreeMap::new();
    let mut uses: Vec<(BlockId, InodeId, u32)> = Vec::new();
    let range = all::every_use().prefix();
    read.each(range, Direction::Up, |key, _: UseRow| {
        if let Key::Use {
            block,
            inode,
            generation,
            ..
        } = key
        {
            uses.push((block, inode, generation));
        }
        ControlFlow::Continue(())
    })?;
    for (block, inode, generation) in uses {
        let row = read.row::<InodeRow>(inode)?;
        if let Some(row) = row.filter(|row| row.generation == generation && !row.is_gone()) {
            let of = wants.entry(block).or_default();
            *of = of.and(Wants::of(row.policy));
        }
    }
    for (block, wants) in wants {
        let row = read.row::<BlockRow>(block)?;
        if let Some(row) = row.filter(|row| row.wants.and(wants) != row.wants) {
            found.push(too_few(block, row.wants, wants));
        }
    }
    Ok(())
}

/// A directory with a policy is under another one.
pub fn not_own(directory: InodeId, under: Option<Option<dfs_proto::block::Copies>>) -> String {
    format!("directory {directory} has a policy and is under {under:?}")
}

/// A directory is under another policy than the one that it is in.
pub fn not_inherited(directory: InodeId, parent: InodeId) -> String {
    format!("directory {directory} is not under the policy of directory {parent} above it")
}

/// A block wants less than its files.
pub fn too_few(block: BlockId, says: Wants, wants: Wants) -> String {
    format!("block {block} wants {says:?}, and files with bytes in it {wants:?}")
}
