//! Who has locked what of an open file, and who keeps that: the master, or this client. Pure.
//!
//! The master keeps locks, and each of them is asked of it, unless it has said that nobody else has
//! or wants any of the file. From then on they are kept here, as long as the write lease lasts that
//! it said so under: locking and unlocking asks nobody, and what is locked is told when that ends. To
//! be able to tell, it is noted here all the time.

use dfs_proto::{
    change::KEPT_LOCKS_MAX,
    extent::FileRange,
    session::{
        LockWish,
        locks::{self, Span, conflict},
    },
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
struct Owner {
    /// Handles through which it asked for locks.
    handles: BTreeSet<u64>,
    /// Whether it may hold some.
    holds: bool,
    /// What it has locked, unless that is blurred.
    spans: Vec<Span>,
    /// The master was asked for several things of it at once: which came first is not known.
    blurred: bool,
    /// Questions to the master under way.
    asking: u32,
    /// Whether all that it holds is being unlocked.
    leaving: bool,
}

/// Who keeps the locks of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Keeper {
    #[default]
    Master,
    /// This client; where `moved`, the master has not what is locked by now.
    Here { moved: bool },
    /// The master is being told.
    HandingOver,
}

/// What became of something that the master was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Done,
    Refused,
    /// It was not answered.
    Unknown,
}

/// Whether something may be asked of the master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begun {
    /// It may, and is under way.
    Yes,
    /// What the owner held is being unlocked. The kernel gives the numbers of owners out again, so
    /// that this may be another one with the same number.
    Leaving,
    /// The locks are not kept there.
    KeptHere,
}

/// Who may hold locks, and which.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) last_handle: u64,
    owners: BTreeMap<u64, Owner>,
    keeper: Keeper,
    /// Calls that wait for a lock at the master.
    pub(super) waiting: u32,
    /// Something was not answered, and may be done at any time.
    lost_track: bool,
}

impl Book {
    /// Whether an owner may hold some.
    pub(super) fn has(&self, owner: u64) -> bool {
        self.owners.get(&owner).is_some_and(|entry| entry.holds)
    }

    /// Whether anybody may hold some.
    pub(super) fn any(&self) -> bool {
        self.owners.values().any(|entry| entry.holds)
    }

    /// Whether something is still being unlocked.
    pub(super) fn leaving(&self) -> bool {
        self.owners.values().any(|entry| entry.leaving)
    }

    /// Locks here, where they are kept here: whether nobody else's lock was in the way.
    pub(super) fn lock_here(&mut self, handle: u64, wish: &LockWish) -> Option<bool> {
        let Keeper::Here { .. } = self.keeper else {
            return None;
        };
        if self.in_the_way(wish).is_some() {
            return Some(false);
        }
        let entry = self.owners.entry(wish.owner).or_default();
        if entry.leaving {
            return None;
        }
        let mut spans = entry.spans.clone();
        locks::lock(&mut spans, wish);
        let more = spans.len().saturating_sub(entry.spans.len());
        if self.ranges() + more > KEPT_LOCKS_MAX {
            self.tidy(wish.owner);
            return None;
        }
        let entry = self.owners.entry(wish.owner).or_default();
        entry.spans = spans;
        entry.holds = true;
        entry.handles.insert(handle);
        self.keeper = Keeper::Here { moved: true };
        Some(true)
    }

    /// Unlocks here, where they are kept here.
    pub(super) fn unlock_here(&mut self, owner: u64, range: FileRange) -> Option<()> {
        let Keeper::Here { .. } = self.keeper else {
            return None;
        };
        let Some(entry) = self.owners.get_mut(&owner) else {
            return Some(());
        };
        let before = entry.spans.len();
        let mut spans = entry.spans.clone();
        locks::unlock(&mut spans, range);
        let more = spans.len().saturating_sub(before);
        if more > 0 && self.ranges() + more > KEPT_LOCKS_MAX {
            return None;
        }
        let entry = self.owners.entry(owner).or_default();
        entry.spans = spans;
        entry.holds = !entry.spans.is_empty();
        self.keeper = Keeper::Here { moved: true };
        self.tidy(owner);
        Some(())
    }

    /// The lock of another owner in the way of a wish, where they are kept here.
    pub(super) fn test_here(&self, wish: &LockWish) -> Option<Option<(u64, Span)>> {
        matches!(self.keeper, Keeper::Here { .. }).then(|| self.in_the_way(wish))
    }

    fn in_the_way(&self, wish: &LockWish) -> Option<(u64, Span)> {
        let others = self.owners.iter().filter(|(one, _)| **one != wish.owner);
        let spans = others.flat_map(|(one, entry)| entry.spans.iter().map(|span| (*one, *span)));
        spans
            .filter(|(_, span)| conflict((span.range, span.kind), (wish.range, wish.kind)))
            .min_by_key(|(_, span)| span.range.start)
    }

    fn ranges(&self) -> usize {
        self.owners.values().map(|entry| entry.spans.len()).sum()
    }

    /// Begins to ask the master for a lock, or to unlock; of the former it is noted through which
    /// handle.
    pub(super) fn begin(&mut self, owner: u64, handle: Option<u64>) -> Begun {
        if self.keeper != Keeper::Master {
            return Begun::KeptHere;
        }
        let entry = self.owners.entry(owner).or_default();
        if handle.is_some() && entry.leaving {
            return Begun::Leaving;
        }
        entry.blurred |= entry.asking > 0;
        entry.asking += 1;
        entry.handles.extend(handle);
        Begun::Yes
    }

    /// An attempt to lock is over.
    pub(super) fn tried(&mut self, wish: &LockWish, outcome: Outcome) {
        let lock = |entry: &mut Owner| {
            entry.holds = true;
            locks::lock(&mut entry.spans, wish);
        };
        self.answered(wish.owner, outcome, lock);
    }

    /// So is one to unlock.
    pub(super) fn unlocked(&mut self, owner: u64, range: FileRange, outcome: Outcome) {
        self.answered(owner, outcome, |entry| {
            locks::unlock(&mut entry.spans, range);
        });
    }

    fn answered(&mut self, owner: u64, outcome: Outcome, done: impl FnOnce(&mut Owner)) {
        let Some(entry) = self.owners.get_mut(&owner) else {
            return;
        };
        entry.asking -= 1;
        match outcome {
            Outcome::Done => done(entry),
            Outcome::Refused => {}
            Outcome::Unknown => {
                entry.holds = true;
                self.lost_track = true;
            }
        }
        self.tidy(owner);
    }

    /// All that an owner may hold is to be unlocked; `false` if there is nothing, or somebody else
    /// is at it.
    pub(super) fn leave(&mut self, owner: u64) -> bool {
        match self.owners.get_mut(&owner) {
            Some(entry) if entry.holds && !entry.leaving => {
                entry.leaving = true;
                true
            }
            _ => false,
        }
    }

    /// A handle was closed: the owners who have to leave with it.
    pub(super) fn leave_with(&mut self, handle: u64) -> Vec<u64> {
        let through = |(owner, entry): (&u64, &Owner)| {
            let leaves = entry.handles.contains(&handle);
            leaves.then_some(*owner)
        };
        let owners: Vec<u64> = self.owners.iter().filter_map(through).collect();
        owners.into_iter().filter(|o| self.leave(*o)).collect()
    }

    /// What an owner held is unlocked.
    pub(super) fn left(&mut self, owner: u64) {
        if let Some(entry) = self.owners.get_mut(&owner) {
            entry.leaving = false;
            entry.holds = false;
            entry.blurred = entry.asking > 0;
            entry.spans.clear();
            self.tidy(owner);
        }
    }

    /// It is not known whether what an owner held is unlocked.
    pub(super) fn stay(&mut self, owner: u64) {
        if let Some(entry) = self.owners.get_mut(&owner) {
            entry.leaving = false;
        }
    }

    fn tidy(&mut self, owner: u64) {
        let gone = |entry: &Owner| !entry.holds && !entry.leaving && entry.asking == 0;
        if self.owners.get(&owner).is_some_and(gone) {
            self.owners.remove(&owner);
        }
    }

    /// Nobody else has or wants a lock: they are kept here from now on, if it is known what is
    /// locked.
    pub(super) fn keep(&mut self) {
        let known = |entry: &Owner| entry.asking == 0 && !entry.blurred && !entry.leaving;
        let all = self.owners.values().all(known) && !self.lost_track && self.waiting == 0;
        if all && self.keeper == Keeper::Master && self.ranges() <= KEPT_LOCKS_MAX {
            self.keeper = Keeper::Here { moved: false };
        }
    }

    /// They are kept here no more: what is locked, if the master has to be told before it is asked
    /// anything. It is to be told, and noted with [`Book::is_handed_over`].
    pub(super) fn hand_over(&mut self) -> Option<Vec<LockWish>> {
        match self.keeper {
            Keeper::Master => None,
            Keeper::Here { moved: false } => {
                self.keeper = Keeper::Master;
                None
            }
            Keeper::Here { moved: true } | Keeper::HandingOver => {
                self.keeper = Keeper::HandingOver;
                Some(self.wishes())
            }
        }
    }

    /// The master keeps them; or there are none, because the session has ended.
    pub(super) fn is_handed_over(&mut self) {
        self.keeper = Keeper::Master;
    }

    fn wishes(&self) -> Vec<LockWish> {
        let owners = self.owners.iter();
        let wishes = owners.flat_map(|(owner, entry)| {
            entry.spans.iter().map(|span| LockWish {
                owner: *owner,
                range: span.range,
                kind: span.kind,
                pid: span.pid,
            })
        });
        wishes.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::session::LockKind::{self, Exclusive, Shared};

    fn wish(owner: u64, start: u64, end: u64, kind: LockKind) -> LockWish {
        LockWish {
            owner,
            range: FileRange { start, end },
            kind,
            pid: 1,
        }
    }

    fn lock(book: &mut Book, owner: u64, handle: u64) {
        assert_eq!(book.begin(owner, Some(handle)), Begun::Yes);
        book.tried(&wish(owner, owner, owner + 1, Exclusive), Outcome::Done);
    }

    #[test]
    fn who_was_refused_leaves_nothing_behind() {
        let mut book = Book::default();
        let wish = wish(1, 0, 10, Shared);
        assert_eq!(book.begin(1, Some(10)), Begun::Yes);
        book.tried(&wish, Outcome::Refused);
        assert!(book.owners.is_empty());
        assert!(!book.leave(1));
        assert_eq!(book.begin(1, Some(10)), Begun::Yes);
        assert_eq!(book.begin(1, Some(10)), Begun::Yes);
        book.tried(&wish, Outcome::Done);
        book.tried(&wish, Outcome::Refused);
        assert!(book.leave(1), "one of two attempts was granted");
    }

    #[test]
    fn owners_leave_with_any_handle_that_they_locked_through() {
        let mut book = Book::default();
        for (owner, handle) in [(1, 10), (1, 11), (2, 11), (3, 12)] {
            lock(&mut book, owner, handle);
        }
        assert_eq!(book.leave_with(11), [1, 2]);
        assert!(book.leave_with(10).is_empty(), "it is leaving already");
        // The kernel may give the number out again before the unlock is answered.
        assert_eq!(book.begin(1, Some(13)), Begun::Leaving);
        book.left(1);
        assert_eq!(book.begin(1, Some(13)), Begun::Yes);
    }

    #[test]
    fn what_is_kept_here_is_what_the_master_is_told_when_that_ends() {
        let mut book = Book::default();
        lock(&mut book, 1, 10);
        assert_eq!(book.lock_here(10, &wish(1, 5, 6, Shared)), None, "not yet");
        book.keep();
        assert_eq!(book.begin(2, Some(11)), Begun::KeptHere);
        assert_eq!(book.lock_here(11, &wish(2, 1, 3, Shared)), Some(false));
        assert_eq!(book.lock_here(11, &wish(2, 5, 9, Shared)), Some(true));
        assert_eq!(book.lock_here(10, &wish(1, 6, 7, Shared)), Some(true));
        let before = book.test_here(&wish(1, 0, 9, Exclusive)).expect("here");
        assert_eq!(before.expect("in the way").0, 2);
        assert_eq!(
            book.unlock_here(1, FileRange { start: 0, end: 2 }),
            Some(())
        );
        let all = vec![wish(1, 6, 7, Shared), wish(2, 5, 9, Shared)];
        assert_eq!(book.hand_over(), Some(all.clone()));
        assert_eq!(book.lock_here(10, &wish(1, 20, 21, Shared)), None);
        assert_eq!(book.unlock_here(1, FileRange { start: 0, end: 9 }), None);
        assert_eq!(
            book.begin(1, Some(10)),
            Begun::KeptHere,
            "it is not told yet"
        );
        assert_eq!(book.hand_over(), Some(all), "again, if it was not answered");
        book.is_handed_over();
        assert_eq!(book.hand_over(), None);
        assert_eq!(book.begin(1, Some(10)), Begun::Yes);
    }

    #[test]
    fn nothing_is_told_where_nothing_has_moved() {
        let mut book = Book::default();
        lock(&mut book, 1, 10);
        book.keep();
        assert_eq!(book.hand_over(), None);
        assert_eq!(book.begin(1, None), Begun::Yes);
    }

    #[test]
    fn locks_are_kept_here_only_when_it_is_known_which() {
        let kept = |book: &mut Book| {
            book.keep();
            book.keeper != Keeper::Master
        };
        let mut book = Book::default();
        lock(&mut book, 1, 10);
        book.waiting = 1;
        assert!(!kept(&mut book), "an unlock would not wake who waits there");
        book.waiting = 0;
        book.begin(1, None);
        book.begin(1, Some(10));
        book.unlocked(1, FileRange { start: 1, end: 2 }, Outcome::Done);
        assert!(!kept(&mut book), "one is under way");
        book.tried(&wish(1, 1, 2, Shared), Outcome::Done);
        assert!(!kept(&mut book), "locked after the unlock, or before it");
        assert!(book.leave(1));
        assert!(!kept(&mut book));
        book.begin(1, None);
        book.unlocked(1, FileRange { start: 0, end: 9 }, Outcome::Done);
        book.left(1);
        assert!(book.owners.is_empty() && kept(&mut book));

        let mut book = Book::default();
        book.begin(1, Some(10));
        book.tried(&wish(1, 1, 2, Shared), Outcome::Unknown);
        book.leave(1);
        book.left(1);
        assert!(!kept(&mut book), "it may yet be locked");
    }

    #[test]
    fn not_more_are_kept_here_than_can_be_told() {
        let mut book = Book::default();
        lock(&mut book, 1, 10);
        book.keep();
        let most = KEPT_LOCKS_MAX as u64;
        let apart = |n: u64| wish(1, n * 10, n * 10 + 5, Exclusive);
        for n in 1..most {
            assert_eq!(book.lock_here(10, &apart(n)), Some(true));
        }
        assert_eq!(book.lock_here(10, &apart(most)), None);
        let split = FileRange { start: 11, end: 12 };
        assert_eq!(book.unlock_here(1, split), None);
        assert_eq!(book.unlock_here(1, apart(1).range), Some(()));
        assert_eq!(book.lock_here(10, &apart(most)), Some(true));
        assert_eq!(book.hand_over().expect("moved").len(), KEPT_LOCKS_MAX);
    }
}
