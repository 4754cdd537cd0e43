//! The changes of one command above what was applied: all of them are taken, or none.

use crate::tables::{
    damage::Damage,
    key::KeyRange,
    row::{self, Row},
    txn::{
        merge,
        overlay::{Overlay, Slot},
        read::{Direction, Each, Read},
        store::View,
    },
};

/// A transaction.
pub struct Txn<'v> {
    below: &'v View<'v>,
    changes: Overlay,
    scratch: Vec<u8>,
}

impl<'v> Txn<'v> {
    /// A transaction without changes yet.
    pub fn above(below: &'v View<'v>) -> Txn<'v> {
        Txn {
            below,
            changes: Overlay::default(),
            scratch: Vec::new(),
        }
    }

    /// Writes a row, whether or not there is one.
    pub fn put<R: Row>(&mut self, id: R::Id<'_>, row: &R) {
        let value = self.encoded(row);
        self.changes
            .apply(Box::from(&*R::key(id).bytes()), Slot::Put(value));
    }

    /// Writes a row of which the caller knows that there is none. Cheaper in the end than `put` for
    /// rows that soon go again: they never reach the disk.
    pub fn insert<R: Row>(&mut self, id: R::Id<'_>, row: &R) {
        let key = R::key(id).bytes();
        debug_assert!(
            matches!(self.value(&key), Ok(None)),
            "{} is there already",
            key.escape_ascii()
        );
        let value = self.encoded(row);
        self.changes.apply(Box::from(&*key), Slot::New(value));
    }

    /// Removes a row, if there is one.
    pub fn delete<R: Row>(&mut self, id: R::Id<'_>) {
        self.changes
            .apply(Box::from(&*R::key(id).bytes()), Slot::Gone);
    }

    /// Takes back every change.
    pub fn forget(&mut self) {
        self.changes = Overlay::default();
    }

    fn encoded<R: Row>(&mut self, row: &R) -> Box<[u8]> {
        self.scratch.clear();
        self.scratch = row::encode(row, std::mem::take(&mut self.scratch));
        Box::from(&self.scratch[..])
    }

    /// The changes, to be applied.
    pub(super) fn into_changes(self) -> Overlay {
        self.changes
    }
}

impl Read for Txn<'_> {
    fn value(&self, key: &[u8]) -> Result<Option<&[u8]>, Damage> {
        match self.changes.get(key) {
            Some(slot) => Ok(slot.value()),
            None => self.below.value(key),
        }
    }

    fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        each: &mut Each<'_>,
    ) -> Result<(), Damage> {
        let mut layers = vec![&self.changes];
        layers.extend(self.below.layers());
        merge::visit(&layers, self.below.base()?, range, direction, each)
    }
}
