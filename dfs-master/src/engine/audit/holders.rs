//! Who holds what, and what it all comes to: handles, totals, quotas.

use super::{
    mend::{Mend, off},
    pass::{Ended, Pass},
};
use crate::{
    policy,
    quota::account,
    tables::{
        key::{Key, all},
        rows::{
            Counted, InodeRow, OpenRow, PolicyRow, QuotaRow, SessionRow, TotalsRow, UncountedRow,
        },
        txn::Rows,
    },
};
use dfs_proto::id::InodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What is summed up on the way. Handles, quotas and directories that are still to be counted are few.
#[derive(Default)]
pub(super) struct Seen {
    opens: BTreeMap<InodeId, u32>,
    uncounted: BTreeSet<InodeId>,
    /// By the quota that inodes name themselves.
    quotas: BTreeMap<InodeId, Counted>,
    totals: TotalsRow,
    pub(super) blocks: u64,
}

impl Seen {
    pub(super) fn load<R: Rows>(pass: &mut Pass<'_, R>) -> Result<Seen, Ended> {
        let mut seen = Seen::default();
        pass.each(all::every_open(), |pass, key, _: OpenRow| {
            if let Key::Open { session, inode } = key {
                *seen.opens.entry(inode).or_default() += 1;
                let goes = Mend::Open { session, inode };
                if !pass.read.has::<InodeRow>(inode)? {
                    let what = format!("inode {inode} is open and not there");
                    pass.faults.add(what, Some(goes.clone()));
                }
                if !pass.read.has::<SessionRow>(session)? {
                    let what = format!("session {session} holds inode {inode} and is not there");
                    pass.faults.add(what, Some(goes));
                }
            }
            Ok(())
        })?;
        pass.each(all::uncounted(), |_, key, _: UncountedRow| {
            if let Key::Uncounted(directory) = key {
                seen.uncounted.insert(directory);
            }
            Ok(())
        })?;
        Ok(seen)
    }

    /// Whether nothing is left to be looked at.
    pub(super) fn all_counted(&self) -> bool {
        self.uncounted.is_empty()
    }

    /// How often an inode is open.
    pub(super) fn opens(&self, inode: InodeId) -> u32 {
        self.opens.get(&inode).copied().unwrap_or(0)
    }

    /// Sums up an inode, as it says of itself.
    pub(super) fn inode(&mut self, inode: InodeId, row: &InodeRow) {
        if row.links == 0 && row.opens == 0 {
            return;
        }
        self.totals.inodes += 1;
        self.totals.stored = self.totals.stored.saturating_add(row.stored);
        if let Some(quota) = row.quota {
            let sum = self.quotas.entry(quota).or_default();
            sum.inodes += 1;
            sum.bytes = sum.bytes.saturating_add(row.stored);
            sum.uncounted += u64::from(self.uncounted.contains(&inode));
        }
    }
}

pub(super) fn check<R: Rows>(pass: &mut Pass<'_, R>, seen: &Seen) -> Result<(), Ended> {
    let mut sessions = 0;
    pass.each(all::sessions(), |_, _, row: SessionRow| {
        sessions += u64::from(!row.ended);
        Ok(())
    })?;
    let right = TotalsRow {
        blocks: seen.blocks,
        sessions,
        ..seen.totals
    };
    let found = pass.read.row::<TotalsRow>(())?.unwrap_or_default();
    if found != right {
        let what = format!("the totals are {found:?} and should be {right:?}");
        let mend = Mend::Totals {
            inodes: off(found.inodes, right.inodes),
            stored: off(found.stored, right.stored),
            blocks: off(found.blocks, right.blocks),
            sessions: off(found.sessions, right.sessions),
        };
        pass.faults.add(what, Some(mend));
    }
    quotas(pass, seen)?;
    policies(pass)
}

/// Who has a policy is under it.
fn policies<R: Rows>(pass: &mut Pass<'_, R>) -> Result<(), Ended> {
    pass.each(all::policies(), |pass, key, row: PolicyRow| {
        let Key::Policy(directory) = key else {
            return Ok(());
        };
        let inode = pass.read.row::<InodeRow>(directory)?;
        let under = inode.filter(InodeRow::is_directory).map(|row| row.policy);
        let own = under == Some(Some(row.copies));
        match under {
            Some(_) => pass.ruled(own, directory, || policy::audit::not_own(directory, under)),
            None => {
                let what = policy::audit::not_own(directory, under);
                pass.faults.add(what, None);
            }
        }
        Ok(())
    })
}

/// Each quota counts what says that it is counted there, and in those below.
fn quotas<R: Rows>(pass: &mut Pass<'_, R>, seen: &Seen) -> Result<(), Ended> {
    let mut sums: BTreeMap<InodeId, Counted> = BTreeMap::new();
    for (quota, counted) in &seen.quotas {
        let Ok(chain) = account::chain(pass.read, Some(*quota)) else {
            let what = format!(
                "inodes are counted in the quota of directory {quota}, which leads nowhere"
            );
            pass.leads_nowhere = true;
            pass.faults.add(what, None);
            continue;
        };
        for above in chain {
            let sum = sums.entry(above).or_default();
            sum.inodes += counted.inodes;
            sum.bytes = sum.bytes.saturating_add(counted.bytes);
            sum.uncounted += counted.uncounted;
        }
    }
    pass.each(all::quotas(), |pass, key, row: QuotaRow| {
        let Key::Quota(directory) = key else {
            return Ok(());
        };
        let right = sums.get(&directory).copied().unwrap_or_default();
        let found = row.counted;
        if found != right {
            let what = format!(
                "the quota of directory {directory} counts {} inodes and {} bytes, and {} and {} are there",
                found.inodes, found.bytes, right.inodes, right.bytes
            );
            let mend = Mend::Quota {
                directory,
                inodes: off(found.inodes, right.inodes),
                bytes: off(found.bytes, right.bytes),
                uncounted: off(found.uncounted, right.uncounted),
            };
            pass.faults.add(what, Some(mend));
        }
        pass.faults.unless(!row.removed || right != Counted::default(), || {
            format!("the quota of directory {directory} was taken away and is still there")
        });
        if !row.removed {
            let inode = pass.read.row::<InodeRow>(directory)?;
            let own = inode.and_then(|inode| inode.quota);
            pass.ruled(own == Some(directory), directory, || {
                format!("directory {directory} has a quota and is counted in {own:?}")
            });
        }
        Ok(())
    })?;
    for directory in &seen.uncounted {
        let there = pass.read.has::<InodeRow>(*directory).map_err(Ended::from)?;
        if !there {
            pass.leads_nowhere = true;
            let what = format!("directory {directory} is to be counted and not there");
            pass.faults.add(what, Some(Mend::Uncounted(*directory)));
        }
    }
    Ok(())
}
