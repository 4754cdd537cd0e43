//! Going over rows, of one kind after the other, until all were seen or nobody waits for it any more.

use super::{faults::Faults, mend::Mend};
use crate::tables::{
    damage::Damage,
    key::{Key, KeyBytes, KeyRange},
    row::Row,
    txn::{Direction, Rows},
};
use dfs_proto::id::InodeId;
use std::ops::ControlFlow;

/// Rows between two looks at whether to go on.
const PULSE: u64 = 1024;

/// Why an audit ended before its end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Ended {
    /// Rows cannot be read.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// It was told to.
    #[error("the check was ended: nobody asked for it any more")]
    Stopped,
}

/// What the rules have to read with, and where they say what they find.
pub(super) struct Pass<'a, R> {
    pub(super) read: &'a R,
    pub(super) faults: Faults,
    /// Directories that are not counted, or not under the policy, as they should be, with the numbers of
    /// the faults.
    pub(super) unruled: Vec<(usize, InodeId)>,
    /// Something leads nowhere that would be followed if directories were counted anew.
    pub(super) leads_nowhere: bool,
    rows: u64,
    goes_on: &'a mut dyn FnMut(u64) -> bool,
    stopped: bool,
}

impl<'a, R: Rows> Pass<'a, R> {
    /// Before the first row.
    pub(super) fn new(read: &'a R, goes_on: &'a mut dyn FnMut(u64) -> bool) -> Pass<'a, R> {
        Pass {
            read,
            faults: Faults::default(),
            unruled: Vec::new(),
            leads_nowhere: false,
            rows: 0,
            goes_on,
            stopped: false,
        }
    }

    /// Calls `with` with each row that begins with `beginning`.
    pub(super) fn each<W: Row>(
        &mut self,
        beginning: KeyBytes,
        mut with: impl FnMut(&mut Self, Key<'_>, W) -> Result<(), Damage>,
    ) -> Result<(), Ended> {
        let mut failed = None;
        let read = self.read;
        read.each(beginning.prefix(), Direction::Up, |key, row: W| {
            if let Err(damage) = with(self, key, row) {
                failed = Some(damage);
            }
            match failed.is_none() && self.pulse() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        match failed {
            Some(damage) => Err(damage.into()),
            None if self.stopped => Err(Ended::Stopped),
            None => Ok(()),
        }
    }

    /// Calls `with` once for each owner of rows that begin with `beginning`: with the first key that it
    /// has. The range behind the owner is what it answers.
    pub(super) fn owners(
        &mut self,
        beginning: KeyBytes,
        mut with: impl FnMut(&mut Self, Key<'_>) -> Result<KeyBytes, Damage>,
    ) -> Result<(), Ended> {
        let mut range = beginning.prefix();
        loop {
            let mut next = None;
            let read = self.read;
            read.visit(&range, Direction::Up, &mut |key, _| {
                next = Some(with(self, Key::parse(key)?)?);
                Ok(ControlFlow::Break(()))
            })?;
            let Some(owner) = next else {
                return Ok(());
            };
            range = KeyRange {
                from: match owner.prefix().to {
                    std::ops::Bound::Excluded(end) => std::ops::Bound::Included(end),
                    other => other,
                },
                ..range
            };
            if !self.pulse() {
                return Err(Ended::Stopped);
            }
        }
    }

    /// Notes that a directory is not as its own rules and the directory above it say, unless it is.
    pub(super) fn ruled(&mut self, holds: bool, directory: InodeId, what: impl FnOnce() -> String) {
        if !holds && let Some(number) = self.faults.add(what(), None) {
            self.unruled.push((number, directory));
        }
    }

    /// All rows were seen: what was found.
    pub(super) fn end(mut self) -> Faults {
        (self.goes_on)(self.rows);
        // What is in such a directory follows it in steps, which must find what they are led to.
        for (number, directory) in self.unruled.into_iter().filter(|_| !self.leads_nowhere) {
            self.faults.decide(number, Mend::Rules(directory));
        }
        self.faults
    }

    /// Counts a row; whether to go on.
    pub(super) fn pulse(&mut self) -> bool {
        self.rows += 1;
        if self.rows.is_multiple_of(PULSE) && !(self.goes_on)(self.rows) {
            self.stopped = true;
        }
        !self.stopped
    }
}
