//! What was found, with a limit: tables that fit nowhere are not told of row by row.

use super::mend::Mend;

/// Faults that are told of, at the most.
const FAULTS_MAX: usize = 1000;

/// Something that does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What, in one sentence.
    pub what: String,
    /// How it is put right, if it can be.
    pub mend: Option<Mend>,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// In the order in which they were found.
    pub told: Vec<Fault>,
    /// There were more.
    pub more: bool,
}

impl Faults {
    /// Notes what does not hold.
    pub(super) fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.add(what(), None);
        }
    }

    /// Notes a fault; its number, if it is told of.
    pub(super) fn add(&mut self, what: String, mend: Option<Mend>) -> Option<usize> {
        if self.told.len() == FAULTS_MAX {
            self.more = true;
            return None;
        }
        self.told.push(Fault { what, mend });
        Some(self.told.len() - 1)
    }

    /// How a fault is put right that was told of before that was known.
    pub(super) fn decide(&mut self, number: usize, mend: Mend) {
        self.told[number].mend = Some(mend);
    }
}
