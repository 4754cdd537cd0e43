//! A base in memory, for simulation and tests: an ordered map, shared until it is changed.

use crate::tables::{
    damage::Damage,
    key::KeyRange,
    row::{self, Row},
    rows::PositionRow,
    txn::{
        overlay::Overlay,
        pairs::{OwnedPairs, Pairs},
        read::Direction,
    },
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

type Map = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Checkpoints in memory. They outlive the machine that wrote them, as a file would.
#[derive(Default)]
pub struct MemoryTables {
    map: Mutex<Arc<Map>>,
}

/// The map as of one checkpoint.
pub(super) struct MemoryView(Arc<Map>);

impl MemoryTables {
    pub(super) fn view(&self) -> MemoryView {
        MemoryView(self.map.lock().clone())
    }

    pub(super) fn write(&self, changes: &Overlay, position: &PositionRow) {
        let mut shared = self.map.lock();
        // Copied only if a view still shares it.
        let map = Arc::make_mut(&mut shared);
        for (key, slot) in changes.iter() {
            match slot.value() {
                Some(value) => map.insert(key.clone(), value.into()),
                None => map.remove(key),
            };
        }
        let key = PositionRow::key(()).bytes();
        let value = row::encode(position, Vec::new());
        map.insert(Box::from(&*key), value.into_boxed_slice());
    }

    pub(super) fn replace(&self, rows: &mut OwnedPairs<'_>) -> Result<(), Damage> {
        let map = rows
            .map(|row| row.map(|(key, value)| (key.into_boxed_slice(), value.into_boxed_slice())))
            .collect::<Result<Map, Damage>>()?;
        *self.map.lock() = Arc::new(map);
        Ok(())
    }
}

impl MemoryView {
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(|value| &**value)
    }

    pub(super) fn range(&self, range: &KeyRange, direction: Direction) -> Pairs<'_> {
        let pairs = self
            .0
            .range::<[u8], _>(range.bounds())
            .map(|(key, value)| Ok((&**key, &**value)));
        match direction {
            Direction::Up => Box::new(pairs),
            Direction::Down => Box::new(pairs.rev()),
        }
    }
}
