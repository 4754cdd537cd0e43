//! Reading rows, wherever they are: a view of what was applied, or a transaction above it.

use crate::tables::{
    damage::Damage,
    key::{Key, KeyRange},
    row::{self, Row},
};
use std::ops::ControlFlow;

/// Which way to go through a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the smallest key on.
    Up,
    /// From the largest key on.
    Down,
}

/// What is called with each key and value of a range, until it breaks off.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Damage> + 'a;

/// An ordered map of bytes.
pub trait Read {
    /// The value of a key.
    fn value(&self, key: &[u8]) -> Result<Option<&[u8]>, Damage>;

    /// Calls `each` with the keys and values in `range`.
    fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        each: &mut Each<'_>,
    ) -> Result<(), Damage>;
}

/// Rows out of bytes.
pub trait Rows: Read {
    /// A row.
    fn row<R: Row>(&self, id: R::Id<'_>) -> Result<Option<R>, Damage> {
        let key = R::key(id).bytes();
        self.value(&key)?
            .map(|bytes| row::decode(&key, bytes))
            .transpose()
    }

    /// Whether there is such a row.
    fn has<R: Row>(&self, id: R::Id<'_>) -> Result<bool, Damage> {
        Ok(self.value(&R::key(id).bytes())?.is_some())
    }

    /// Calls `each` with the rows in a range, all of one type, until it breaks off.
    fn each<R: Row>(
        &self,
        range: KeyRange,
        direction: Direction,
        mut each: impl FnMut(Key<'_>, R) -> ControlFlow<()>,
    ) -> Result<(), Damage> {
        self.visit(&range, direction, &mut |key, value| {
            let parsed = Key::parse(key)?;
            Ok(each(parsed, row::decode(key, value)?))
        })
    }

    /// At most `limit` rows of a range, each as `pick` makes it.
    fn page<R: Row, T>(
        &self,
        range: KeyRange,
        limit: usize,
        mut pick: impl FnMut(Key<'_>, R) -> T,
    ) -> Result<Vec<T>, Damage> {
        let mut picked = Vec::new();
        if limit == 0 {
            return Ok(picked);
        }
        self.each(range, Direction::Up, |key, row| {
            picked.push(pick(key, row));
            if picked.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(picked)
    }

    /// Whether any key is in a range.
    fn any(&self, range: KeyRange) -> Result<bool, Damage> {
        let mut found = false;
        self.visit(&range, Direction::Up, &mut |_, _| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }
}

impl<T: Read + ?Sized> Rows for T {}
