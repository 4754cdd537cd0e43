//! The names of one simulated folder: those that its process sees, and those that are durable.
//!
//! A crash may lose any creation, rename or removal since the last sync of the folder, one without
//! the other, as POSIX allows; each of them happens wholly or not at all.

use super::content::{Fate, Landing};
use rand::{RngExt, rngs::SmallRng};
use std::collections::BTreeMap;

/// The number of a file, whatever it is called.
pub(super) type FileNumber = u64;

/// Something done to names since the last sync.
#[derive(Clone)]
enum Step {
    Create(String, FileNumber),
    Rename(String, String, FileNumber),
    Remove(String, FileNumber),
}

impl Step {
    /// Does it, unless what it builds on is not there (because that was lost).
    fn apply(&self, names: &mut BTreeMap<String, FileNumber>) {
        match self {
            Step::Create(name, file) => {
                names.entry(name.clone()).or_insert(*file);
            }
            Step::Rename(from, to, file) => {
                if names.get(from) == Some(file) {
                    names.remove(from);
                    names.insert(to.clone(), *file);
                }
            }
            Step::Remove(name, file) => {
                if names.get(name) == Some(file) {
                    names.remove(name);
                }
            }
        }
    }
}

/// Names and what they name.
#[derive(Clone, Default)]
pub(super) struct Folder {
    seen: BTreeMap<String, FileNumber>,
    durable: BTreeMap<String, FileNumber>,
    pending: Vec<Step>,
}

impl Folder {
    pub(super) fn get(&self, name: &str) -> Option<FileNumber> {
        self.seen.get(name).copied()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.seen.keys().cloned().collect()
    }

    pub(super) fn files(&self) -> impl Iterator<Item = FileNumber> {
        self.seen.values().copied()
    }

    /// Whether a crash could bring a name of this file back.
    pub(super) fn may_return(&self, file: FileNumber) -> bool {
        !self.pending.is_empty() || self.durable.values().any(|named| *named == file)
    }

    pub(super) fn create(&mut self, name: &str, file: FileNumber) {
        self.step(Step::Create(name.to_owned(), file));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, file: FileNumber) {
        self.step(Step::Rename(from.to_owned(), to.to_owned(), file));
    }

    pub(super) fn remove(&mut self, name: &str, file: FileNumber) {
        self.step(Step::Remove(name.to_owned(), file));
    }

    fn step(&mut self, step: Step) {
        step.apply(&mut self.seen);
        self.pending.push(step);
    }

    pub(super) fn sync(&mut self) {
        for step in self.pending.drain(..) {
            step.apply(&mut self.durable);
        }
    }

    pub(super) fn fail_sync(&mut self, landing: Landing, random: &mut SmallRng) {
        let fates = landing.fates(self.pending.len(), random);
        for (step, fate) in self.pending.drain(..).zip(fates) {
            if fate == Fate::Whole || fate == Fate::Torn && random.random() {
                step.apply(&mut self.durable);
            }
        }
    }

    pub(super) fn crash(&mut self, landing: Landing, random: &mut SmallRng) {
        self.fail_sync(landing, random);
        self.seen.clone_from(&self.durable);
    }
}
