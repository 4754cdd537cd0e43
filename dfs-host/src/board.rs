//! What is going on in a process at this moment, and since when: for people who ask why nothing
//! moves. Whoever begins something that can last writes it on the board, and takes it off at its
//! end.

use crate::clock::Clock;
use parking_lot::Mutex;
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// What is going on, the oldest first.
pub struct Board<T> {
    clock: Arc<dyn Clock>,
    rows: Mutex<Rows<T>>,
}

struct Rows<T> {
    /// The number of the next row.
    next: u64,
    /// By number, and so by age.
    all: BTreeMap<u64, (Duration, T)>,
}

impl<T> fmt::Debug for Board<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("rows", &self.rows.lock().all.len())
            .finish_non_exhaustive()
    }
}

impl<T> Board<T> {
    /// An empty board.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Board<T>> {
        let rows = Rows {
            next: 0,
            all: BTreeMap::new(),
        };
        Arc::new(Board {
            clock,
            rows: Mutex::new(rows),
        })
    }

    /// Writes something on the board, until the row is dropped.
    pub fn write(self: &Arc<Self>, what: T) -> Row<T> {
        let now = self.clock.monotonic();
        let mut rows = self.rows.lock();
        let number = rows.next;
        rows.next += 1;
        rows.all.insert(number, (now, what));
        Row {
            board: self.clone(),
            number,
        }
    }

    /// What is on the board, and how long it has been there; the oldest first, and no more than
    /// `most`.
    pub fn read(&self, most: usize) -> Vec<(Duration, T)>
    where
        T: Clone,
    {
        let now = self.clock.monotonic();
        let rows = self.rows.lock();
        let rows = rows.all.values().take(most);
        let aged = |(since, what): &(Duration, T)| (now.saturating_sub(*since), what.clone());
        rows.map(aged).collect()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.lock().all.len()
    }

    /// Whether nothing is going on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Something that is going on, until it is dropped.
#[derive(Debug)]
#[must_use = "it is on the board until this is dropped"]
pub struct Row<T> {
    board: Arc<Board<T>>,
    number: u64,
}

impl<T> Row<T> {
    /// Changes what is written there.
    pub fn change(&self, how: impl FnOnce(&mut T)) {
        if let Some((_, what)) = self.board.rows.lock().all.get_mut(&self.number) {
            how(what);
        }
    }
}

impl<T> Drop for Row<T> {
    fn drop(&mut self) {
        let gone = self.board.rows.lock().all.remove(&self.number);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn what_goes_on_is_there_with_its_age_until_it_ends() {
        let clock = Arc::new(ManualClock::new());
        let board = Board::new(clock.clone());
        assert!(board.is_empty());
        let first = board.write("first");
        clock.advance(Duration::from_secs(2));
        let second = board.write("second");
        clock.advance(Duration::from_secs(1));
        second.change(|what| *what = "changed");
        let seconds = Duration::from_secs;
        let both = vec![(seconds(3), "first"), (seconds(1), "changed")];
        assert_eq!(board.read(10), both);
        assert_eq!(board.read(1), both[..1]);
        drop(first);
        assert_eq!(board.read(10), both[1..]);
        drop(second);
        assert_eq!(board.len(), 0);
    }
}
