//! Changes in memory, in the order of their keys, above something that has the rest.

use std::{
    collections::{BTreeMap, btree_map},
    ops::Bound,
};

/// What allocators and the tree add to the bytes of a change, about.
const CHANGE_OVERHEAD_BYTES: usize = 80;

/// What became of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// It has this value, and nothing below has the key: when it is removed again, nothing stays.
    New(Box<[u8]>),
    /// It has this value, whatever is below.
    Put(Box<[u8]>),
    /// It is gone, whatever is below.
    Gone,
}

impl Slot {
    /// The value, unless it is gone.
    pub(super) fn value(&self) -> Option<&[u8]> {
        match self {
            Slot::New(value) | Slot::Put(value) => Some(value),
            Slot::Gone => None,
        }
    }

    fn bytes(&self) -> usize {
        self.value().map_or(0, <[u8]>::len)
    }
}

/// Changes by key.
#[derive(Default)]
pub(super) struct Overlay {
    slots: BTreeMap<Box<[u8]>, Slot>,
    bytes: usize,
}

impl Overlay {
    /// What became of a key; `None` where it is as below.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.slots.get(key)
    }

    /// The changes in a range, in the order of their keys.
    pub(super) fn range(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> btree_map::Range<'_, Box<[u8]>, Slot> {
        self.slots.range::<[u8], _>(bounds)
    }

    /// Puts a change above what is here already. `New` over a removal becomes `Put`, because the
    /// removal hides something below; a removal of `New` leaves nothing.
    pub(super) fn apply(&mut self, key: Box<[u8]>, slot: Slot) {
        let size = key.len() + slot.bytes() + CHANGE_OVERHEAD_BYTES;
        match self.slots.entry(key) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(slot);
                self.bytes += size;
            }
            btree_map::Entry::Occupied(mut entry) => {
                self.bytes -= entry.key().len() + entry.get().bytes() + CHANGE_OVERHEAD_BYTES;
                let above = match (entry.get(), slot) {
                    (Slot::New(_), Slot::Gone) => {
                        entry.remove();
                        return;
                    }
                    (Slot::New(_), Slot::New(value) | Slot::Put(value)) => Slot::New(value),
                    (Slot::Put(_) | Slot::Gone, Slot::New(value) | Slot::Put(value)) => {
                        Slot::Put(value)
                    }
                    (Slot::Put(_) | Slot::Gone, Slot::Gone) => Slot::Gone,
                };
                self.bytes += entry.key().len() + above.bytes() + CHANGE_OVERHEAD_BYTES;
                entry.insert(above);
            }
        }
    }

    /// Puts all changes of `above` above those here.
    pub(super) fn absorb(&mut self, above: Overlay) {
        for (key, slot) in above.slots {
            self.apply(key, slot);
        }
    }

    /// All changes, in the order of their keys.
    pub(super) fn iter(&self) -> btree_map::Iter<'_, Box<[u8]>, Slot> {
        self.slots.iter()
    }

    /// Bytes of memory that the changes take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Box<[u8]> {
        Box::from(&b"key"[..])
    }

    fn value() -> Box<[u8]> {
        Box::from(&b"value"[..])
    }

    #[test]
    fn what_came_and_went_leaves_nothing() {
        let mut overlay = Overlay::default();
        overlay.apply(key(), Slot::New(value()));
        overlay.apply(key(), Slot::Put(value()));
        overlay.apply(key(), Slot::Gone);
        assert!(overlay.is_empty());
        assert_eq!(overlay.bytes(), 0);
    }

    #[test]
    fn a_removal_goes_on_hiding_what_is_below() {
        let mut overlay = Overlay::default();
        overlay.apply(key(), Slot::Gone);
        overlay.apply(key(), Slot::New(value()));
        assert_eq!(overlay.get(b"key"), Some(&Slot::Put(value())));
        overlay.apply(key(), Slot::Gone);
        assert_eq!(overlay.get(b"key"), Some(&Slot::Gone));
    }
}
