//! The base: a whole, consistent map as of one checkpoint, of either engine.

use crate::tables::{
    damage::Damage,
    key::KeyRange,
    rows::PositionRow,
    txn::{
        lmdb::{LmdbBase, LmdbView},
        memory::{MemoryTables, MemoryView},
        overlay::Overlay,
        pairs::{OwnedPairs, Pairs},
        read::Direction,
    },
};
use std::sync::Arc;

/// What checkpoints are written to.
pub(super) enum Base {
    /// A file.
    Lmdb(LmdbBase),
    /// A map in memory.
    Memory(Arc<MemoryTables>),
}

/// The base as of one checkpoint.
pub(super) enum BaseView {
    /// A read transaction.
    Lmdb(LmdbView),
    /// A shared map.
    Memory(MemoryView),
}

impl Base {
    /// The base as it is now; stays so.
    pub(super) fn view(&self) -> Result<BaseView, Damage> {
        match self {
            Base::Lmdb(base) => base.view().map(BaseView::Lmdb),
            Base::Memory(base) => Ok(BaseView::Memory(base.view())),
        }
    }

    /// Writes changes, and the log position that they lead to, in one step: after a crash, both are
    /// there or neither is. When it returns, they are synced.
    pub(super) fn write(&self, changes: &Overlay, position: &PositionRow) -> Result<(), Damage> {
        match self {
            Base::Lmdb(base) => base.write(changes, position),
            Base::Memory(base) => {
                base.write(changes, position);
                Ok(())
            }
        }
    }

    /// Replaces everything by these rows, in one step.
    pub(super) fn replace(&self, rows: &mut OwnedPairs<'_>) -> Result<(), Damage> {
        match self {
            Base::Lmdb(base) => base.replace(rows),
            Base::Memory(base) => base.replace(rows),
        }
    }
}

impl BaseView {
    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, Damage> {
        match self {
            BaseView::Lmdb(view) => view.get(key),
            BaseView::Memory(view) => Ok(view.get(key)),
        }
    }

    /// The pairs in a range that is not empty.
    pub(super) fn range(
        &self,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Pairs<'_>, Damage> {
        match self {
            BaseView::Lmdb(view) => view.range(range, direction),
            BaseView::Memory(view) => Ok(view.range(range, direction)),
        }
    }
}
