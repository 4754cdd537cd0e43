//! The accounts: how what is counted in quotas changes, and whether their limits allow it.
//!
//! What grows nothing is always allowed, also where more is counted already than the limit says.

use crate::tables::{
    damage::Damage,
    rows::{Counted, QuotaRow},
    txn::{Rows, Txn},
};
use dfs_proto::{error::FsError, id::InodeId};
use std::collections::BTreeMap;

/// The quotas that what is counted in `quota` is counted in, the nearest first.
pub fn chain(read: &impl Rows, quota: Option<InodeId>) -> Result<Vec<InodeId>, Damage> {
    match upwards(read, quota)? {
        (chain, None) => Ok(chain),
        (_, Some(at)) => Err(Damage::Contradiction(format!(
            "the quotas above each other from {quota:?} on lead nowhere at that of directory {at}"
        ))),
    }
}

/// Whether all quotas from this one upwards are there.
pub fn leads_up(read: &impl Rows, quota: Option<InodeId>) -> Result<bool, Damage> {
    Ok(upwards(read, quota)?.1.is_none())
}

/// The quotas above each other as far as they lead, and where they lead nowhere, or back.
pub(super) fn upwards(
    read: &impl Rows,
    quota: Option<InodeId>,
) -> Result<(Vec<InodeId>, Option<InodeId>), Damage> {
    let mut chain = Vec::new();
    let mut next = quota;
    while let Some(at) = next {
        let row = read.row::<QuotaRow>(at)?;
        let Some(row) = row.filter(|_| !chain.contains(&at)) else {
            return Ok((chain, Some(at)));
        };
        chain.push(at);
        next = row.above;
    }
    Ok((chain, None))
}

/// Whether the limits count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// What grows beyond a limit is refused.
    Limited,
    /// What is there is counted, whatever it is.
    Counted,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Delta {
    inodes: i128,
    bytes: i128,
    uncounted: i128,
}

/// Changes of several quotas that belong together: what leaves a quota and comes back is no change.
#[derive(Debug, Default)]
pub struct Shift(BTreeMap<InodeId, Delta>);

impl Shift {
    /// Counts `what` in `quota`, and in those above it.
    pub fn add(
        &mut self,
        read: &impl Rows,
        quota: Option<InodeId>,
        what: Counted,
    ) -> Result<(), Damage> {
        self.change(chain(read, quota)?, what, 1);
        Ok(())
    }

    /// Counts `what` no more in `quota`, and in those above it, as far as they lead: whatever the
    /// tables say, what goes can go.
    pub fn take(
        &mut self,
        read: &impl Rows,
        quota: Option<InodeId>,
        what: Counted,
    ) -> Result<(), Damage> {
        let (chain, _) = upwards(read, quota)?;
        self.change(chain, what, -1);
        Ok(())
    }

    fn change(&mut self, chain: Vec<InodeId>, what: Counted, sign: i128) {
        for at in chain {
            let delta = self.0.entry(at).or_default();
            delta.inodes += sign * i128::from(what.inodes);
            delta.bytes += sign * i128::from(what.bytes);
            delta.uncounted += sign * i128::from(what.uncounted);
        }
    }

    /// What is counted in a quota once this is booked.
    pub fn then(&self, quota: InodeId, now: Counted) -> Counted {
        let delta = self.0.get(&quota).copied().unwrap_or_default();
        Counted {
            inodes: sum(now.inodes, delta.inodes),
            bytes: sum(now.bytes, delta.bytes),
            uncounted: sum(now.uncounted, delta.uncounted),
        }
    }

    /// Writes it down. A quota that was taken away goes with the last that is counted in it.
    pub fn book(self, txn: &mut Txn<'_>, growth: Growth) -> Result<(), FsError> {
        for (directory, delta) in &self.0 {
            if *delta == Delta::default() {
                continue;
            }
            let Some(mut row) = txn.row::<QuotaRow>(*directory)? else {
                return Err(FsError::Contradictory(format!(
                    "directory {directory} has no quota, and something is counted in it"
                )));
            };
            let counted = self.then(*directory, row.counted);
            if growth == Growth::Limited {
                allowed(*directory, &row, *delta, counted)?;
            }
            row.counted = counted;
            if row.removed && counted == Counted::default() {
                txn.delete::<QuotaRow>(*directory);
            } else {
                txn.put(*directory, &row);
            }
        }
        Ok(())
    }
}

fn sum(now: u64, delta: i128) -> u64 {
    let sum = i128::from(now) + delta;
    u64::try_from(sum.max(0)).unwrap_or(u64::MAX)
}

fn allowed(
    directory: InodeId,
    row: &QuotaRow,
    delta: Delta,
    counted: Counted,
) -> Result<(), FsError> {
    match (row.limits.inodes, row.limits.bytes) {
        (Some(limit), _) if delta.inodes > 0 && counted.inodes > limit => {
            Err(FsError::QuotaOfInodes { directory, limit })
        }
        (_, Some(limit)) if delta.bytes > 0 && counted.bytes > limit => {
            Err(FsError::QuotaOfBytes { directory, limit })
        }
        _ => Ok(()),
    }
}

/// One inode that stores so much.
pub fn one(stored: u64) -> Counted {
    Counted {
        inodes: 1,
        bytes: stored,
        uncounted: 0,
    }
}

/// A new inode is counted in `quota`.
pub fn made(txn: &mut Txn<'_>, quota: Option<InodeId>, stored: u64) -> Result<(), FsError> {
    if quota.is_none() {
        return Ok(());
    }
    let mut shift = Shift::default();
    shift.add(txn, quota, one(stored))?;
    shift.book(txn, Growth::Limited)
}

/// An inode that is counted in `quota` stores `to` bytes instead of `from`.
pub fn resized(
    txn: &mut Txn<'_>,
    quota: Option<InodeId>,
    from: u64,
    to: u64,
) -> Result<(), FsError> {
    if quota.is_none() || from == to {
        return Ok(());
    }
    let bytes = |bytes| Counted {
        bytes,
        ..Counted::default()
    };
    let mut shift = Shift::default();
    match to > from {
        true => shift.add(txn, quota, bytes(to - from))?,
        false => shift.take(txn, quota, bytes(from - to))?,
    }
    shift.book(txn, Growth::Limited)
}

/// An inode that was counted in `quota` is no more.
pub fn dropped(txn: &mut Txn<'_>, quota: Option<InodeId>, stored: u64) -> Result<(), FsError> {
    if quota.is_none() {
        return Ok(());
    }
    let mut shift = Shift::default();
    shift.take(txn, quota, one(stored))?;
    shift.book(txn, Growth::Counted)
}
