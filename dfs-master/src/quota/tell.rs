//! What quotas allow and what is counted in them, for who asks.

use super::account;
use crate::tables::{
    damage::Damage,
    key::{Key, KeyRange, all},
    rows::{InodeRow, QuotaRow},
    txn::{Direction, Rows},
};
use dfs_proto::{error::FsError, id::InodeId, view::Space};
use std::ops::ControlFlow;

/// The quotas that an inode is counted in, the nearest first, as far as they lead.
pub fn of(read: &impl Rows, inode: InodeId) -> Result<Vec<(InodeId, QuotaRow)>, FsError> {
    let row = read.row::<InodeRow>(inode)?;
    let row = row.ok_or(FsError::Stale(inode))?;
    let mut quotas = Vec::new();
    for directory in account::upwards(read, row.quota)?.0 {
        let quota = read.row::<QuotaRow>(directory)?;
        quotas.extend(
            quota
                .filter(|quota| !quota.removed)
                .map(|quota| (directory, quota)),
        );
    }
    Ok(quotas)
}

/// At most `limit` quotas of directories after `after`.
pub fn page(
    read: &impl Rows,
    after: InodeId,
    limit: usize,
) -> Result<Vec<(InodeId, QuotaRow)>, Damage> {
    let mut page = Vec::new();
    let range = KeyRange::after(all::quotas(), Key::Quota(after));
    read.each(range, Direction::Up, |key, row: QuotaRow| {
        match key {
            Key::Quota(directory) if !row.removed => page.push((directory, row)),
            _ => {}
        }
        match page.len() < limit {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    Ok(page)
}

/// Whether something is still to be counted, or to get its policy.
pub fn is_counting(read: &impl Rows) -> Result<bool, Damage> {
    Ok(read.any(all::uncounted().prefix())? || read.any(all::ample().prefix())?)
}

/// What of `space` quotas, the nearest first, leave. The nearest with a limit is the whole, and what
/// is counted in it is what is taken of it; less fits where one above it, or the space, ends first.
pub fn within(space: Space, quotas: &[(InodeId, QuotaRow)]) -> Space {
    let mut within = space;
    let mut nearest = true;
    for (directory, row) in quotas {
        let Some(limit) = row.limits.bytes else {
            continue;
        };
        let left = limit.saturating_sub(row.counted.bytes);
        if nearest {
            within.bytes_total = limit;
            within.bytes_spare = left;
            nearest = false;
        }
        if left < within.bytes_free {
            within.bytes_free = left;
            within.quota = Some((*directory, limit));
        }
    }
    let mut nearest = true;
    for (_, row) in quotas {
        let Some(limit) = row.limits.inodes else {
            continue;
        };
        if nearest {
            within.inodes_used = row.counted.inodes;
            nearest = false;
        }
        let left = limit.saturating_sub(row.counted.inodes);
        within.inodes_free = within.inodes_free.min(left);
    }
    within
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::rows::Counted;
    use dfs_proto::view::Limits;

    fn quota(bytes: Option<u64>, inodes: Option<u64>, counted: (u64, u64)) -> QuotaRow {
        QuotaRow {
            limits: Limits { bytes, inodes },
            counted: Counted {
                bytes: counted.0,
                inodes: counted.1,
                uncounted: 0,
            },
            ..QuotaRow::default()
        }
    }

    #[test]
    fn the_nearest_limit_is_the_whole_and_the_least_is_what_is_left() {
        let space = Space {
            bytes_total: 1000,
            bytes_free: 500,
            bytes_spare: 500,
            inodes_used: 70,
            inodes_free: 900,
            quota: None,
        };
        assert_eq!(within(space, &[]), space);
        let near = (InodeId(5), quota(Some(100), None, (30, 3)));
        let far = (InodeId(4), quota(Some(200), Some(10), (190, 8)));
        let one = within(space, &[near]);
        assert_eq!(
            (one.bytes_total, one.bytes_spare, one.bytes_free, one.quota),
            (100, 70, 70, Some((InodeId(5), 100)))
        );
        assert_eq!((one.inodes_used, one.inodes_free), (70, 900));
        let both = within(space, &[near, far]);
        assert_eq!(
            (
                both.bytes_total,
                both.bytes_spare,
                both.bytes_free,
                both.quota
            ),
            (100, 70, 10, Some((InodeId(4), 200)))
        );
        assert_eq!((both.inodes_used, both.inodes_free), (8, 2));
        let over = (InodeId(5), quota(Some(10), Some(2), (30, 3)));
        let none = within(space, &[over]);
        assert_eq!((none.bytes_free, none.inodes_free), (0, 0));
        let large = (InodeId(5), quota(Some(5000), None, (30, 3)));
        let rest = within(space, &[large]);
        assert_eq!(
            (rest.bytes_total, rest.bytes_spare, rest.bytes_free),
            (5000, 4970, 500)
        );
        assert_eq!(rest.quota, None);
    }
}
