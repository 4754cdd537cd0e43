//! What names were promised: for each client its own directory, and one whose names are made in
//! order, so that after a power cut of the master it shows whether what is left is a prefix.

use dfs_proto::id::InodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What a name leads to.
pub(crate) type Target = Option<InodeId>;

struct Slot {
    now: Target,
    /// What it led to since the last sync, before and after each change.
    recent: BTreeSet<Target>,
    /// Power cuts when `now` was told.
    cuts: u64,
}

/// The names that one client makes.
#[derive(Default)]
pub(crate) struct Names {
    /// Its directory and the one with ordered names, once they are synced.
    pub(crate) home: Option<(InodeId, InodeId)>,
    slots: BTreeMap<String, Slot>,
    /// A change of these has begun, and was not answered.
    changing: Vec<String>,
    /// The next number of a name.
    pub(crate) next: u64,
    /// The ordered names.
    pub(crate) order: Order,
}

impl Names {
    /// A change of these names begins: from here on they may lead there, or where they led.
    pub(crate) fn begin(&mut self, changes: &[(&str, Target)], cuts: u64) {
        for (name, target) in changes {
            let slot = self.slots.entry((*name).to_owned());
            let slot = slot.or_insert_with(|| Slot {
                now: None,
                recent: BTreeSet::from([None]),
                cuts,
            });
            if target.is_some() || slot.now.is_some() {
                slot.recent.insert(*target);
            }
        }
        self.changing = changes.iter().map(|(name, _)| (*name).to_owned()).collect();
    }

    /// The change was answered, well.
    pub(crate) fn done(&mut self, changes: &[(&str, Target)], cuts: u64) {
        self.changing.clear();
        for (name, target) in changes {
            if let Some(slot) = self.slots.get_mut(*name) {
                slot.now = *target;
                slot.recent.insert(*target);
                slot.cuts = slot.cuts.max(cuts);
            }
        }
    }

    /// Whether the change that has begun was made is not known: nothing is said of these names any
    /// more.
    pub(crate) fn doubt(&mut self) {
        for name in std::mem::take(&mut self.changing) {
            self.slots.remove(&name);
        }
        self.order.doubt();
    }

    /// A sync of the directory was answered.
    pub(crate) fn synced(&mut self, cuts: u64) {
        for slot in self.slots.values_mut().filter(|slot| slot.cuts == cuts) {
            slot.recent = BTreeSet::from([slot.now]);
        }
    }

    /// The names that lead somewhere, as far as is known.
    pub(crate) fn files(&self) -> Vec<(String, InodeId)> {
        let files = self.slots.iter();
        files
            .filter_map(|(name, slot)| Some((name.clone(), slot.now?)))
            .collect()
    }

    /// All names that something is known of.
    pub(crate) fn all(&self) -> Vec<String> {
        self.slots.keys().cloned().collect()
    }

    /// Checks what a name was seen to lead to, and takes it for the truth.
    pub(crate) fn check(&mut self, name: &str, seen: Target, cuts: u64) -> Result<(), String> {
        let Some(slot) = self.slots.get_mut(name) else {
            return Ok(());
        };
        let well = match slot.cuts == cuts {
            true => slot.now == seen,
            false => slot.recent.contains(&seen),
        };
        let wrong = format!(
            "{name} leads to {seen:?}, and not to {:?} (since the last sync {:?}; power cuts {} and {cuts})",
            slot.now, slot.recent, slot.cuts
        );
        slot.now = seen;
        slot.cuts = cuts;
        well.then_some(()).ok_or(wrong)
    }

    /// Names that lead nowhere, and are known to stay so, are forgotten.
    pub(crate) fn tidy(&mut self) {
        let gone = BTreeSet::from([None]);
        self.slots.retain(|_, slot| slot.recent != gone);
    }
}

/// Names that are numbers, made one after the other.
#[derive(Default)]
pub(crate) struct Order {
    /// The number that is made next.
    pub(crate) next: u64,
    /// All below this are synced.
    pub(crate) synced: u64,
    making: Option<u64>,
    /// Nobody knows whether, and when, they were made.
    loose: BTreeSet<u64>,
}

impl Order {
    /// The next number is being made.
    pub(crate) fn begin(&mut self) -> u64 {
        self.making = Some(self.next);
        self.next
    }

    /// It was made; between power cuts, or with one on the way.
    pub(crate) fn done(&mut self, cut: bool) {
        if let Some(number) = self.making.take() {
            if cut {
                self.loose.insert(number);
            }
            self.next = number + 1;
        }
    }

    fn doubt(&mut self) {
        if let Some(number) = self.making.take() {
            self.loose.insert(number);
            self.next = number + 1;
        }
    }

    /// Checks what is there after a power cut, or before one.
    pub(crate) fn check(&mut self, seen: &BTreeSet<u64>, cut: bool) -> Result<(), String> {
        let mut sure = (0..self.next).filter(|number| !self.loose.contains(number));
        let lost: Vec<u64> = sure
            .clone()
            .filter(|number| !seen.contains(number))
            .collect();
        let Some(first) = lost.first().copied() else {
            return Ok(());
        };
        if let Some(later) = sure.find(|number| *number > first && seen.contains(number)) {
            return Err(format!(
                "ordered name {first} is lost, and {later} is there, of {} made: {seen:?}",
                self.next
            ));
        }
        if first < self.synced {
            return Err(format!("ordered name {first} is lost, and was synced"));
        }
        if !cut {
            return Err(format!("ordered name {first} is lost without a power cut"));
        }
        // They are made again, under other numbers.
        self.loose.extend(lost);
        Ok(())
    }
}
