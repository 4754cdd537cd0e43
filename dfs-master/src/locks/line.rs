//! Who waits for locks: a line for each inode, first come first.
//!
//! Soft state of the leader. Who waits stands in the line while its call hangs, and for a while
//! after that, so that it can ask again or lock without losing its place; who does neither drops
//! out. Moments are handed in.

use dfs_proto::{
    error::FsError,
    id::{InodeId, SessionId},
    session::{LockOwner, LockWish},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};
use tokio::sync::watch;

/// How long a place is kept while no call hangs.
pub(super) const KEEP: Duration = Duration::from_secs(2);
/// Who waits, over all inodes, at the most.
const WAITING_MAX: usize = 16_384;
/// Who waits in one line, at the most: everyone looks at those before.
const LINE_MAX: usize = 1024;

/// A place in a line. Smaller ones came before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place(u64);

/// Who waits, and for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// Who.
    pub owner: LockOwner,
    /// On which inode.
    pub inode: InodeId,
    /// For what.
    pub wish: LockWish,
    /// When the place is lost; `None` while a call hangs.
    lapses: Option<Duration>,
}

#[derive(Debug, Default)]
struct Line {
    places: BTreeSet<Place>,
    /// Changes when it may be somebody's turn.
    news: watch::Sender<u64>,
}

/// All lines.
#[derive(Debug, Default)]
pub struct Lines {
    last: u64,
    waiting: BTreeMap<Place, Waiting>,
    lines: HashMap<InodeId, Line>,
    owners: HashMap<LockOwner, BTreeSet<Place>>,
    /// Attempts to lock that are under way.
    attempts: HashMap<InodeId, usize>,
}

impl Lines {
    /// Someone tries to lock something of an inode, until [`Lines::tried`].
    pub fn tries(&mut self, inode: InodeId) {
        *self.attempts.entry(inode).or_default() += 1;
    }

    /// An attempt has ended.
    pub fn tried(&mut self, inode: InodeId) {
        if let Some(attempts) = self.attempts.get_mut(&inode) {
            *attempts -= 1;
            if *attempts == 0 {
                self.attempts.remove(&inode);
            }
        }
    }

    /// Whether nobody waits for an inode, and nobody tries but, perhaps, one.
    pub fn are_quiet(&self, inode: InodeId) -> bool {
        let waits = self.lines.get(&inode);
        let waits = waits.is_some_and(|line| !line.places.is_empty());
        !waits && self.attempts.get(&inode).is_none_or(|count| *count <= 1)
    }

    /// Someone waits from now on: in the place that it had, or as the last.
    pub fn join(
        &mut self,
        inode: InodeId,
        owner: LockOwner,
        wish: LockWish,
    ) -> Result<Place, FsError> {
        if let Some(place) = self.place(inode, owner, &wish, |waits| waits.lapses.is_some()) {
            if let Some(waiting) = self.waiting.get_mut(&place) {
                waiting.lapses = None;
            }
            return Ok(place);
        }
        let line = self.lines.get(&inode).map_or(0, |line| line.places.len());
        if self.waiting.len() >= WAITING_MAX || line >= LINE_MAX {
            return Err(FsError::NoLocks(format!("{line} wait for inode {inode}")));
        }
        self.last += 1;
        let place = Place(self.last);
        let waiting = Waiting {
            owner,
            inode,
            wish,
            lapses: None,
        };
        self.waiting.insert(place, waiting);
        self.lines.entry(inode).or_default().places.insert(place);
        self.owners.entry(owner).or_default().insert(place);
        Ok(place)
    }

    /// The call of someone who waits has ended; the place is kept for a while.
    pub fn keep(&mut self, place: Place, now: Duration) {
        if let Some(waiting) = self.waiting.get_mut(&place) {
            waiting.lapses = Some(now + KEEP);
        }
    }

    /// Someone waits no more. It may be the turn of those behind.
    pub fn leave(&mut self, place: Place) {
        let Some(Waiting { owner, inode, .. }) = self.waiting.remove(&place) else {
            return;
        };
        if let Some(line) = self.lines.get_mut(&inode) {
            line.places.remove(&place);
            line.news.send_modify(|news| *news += 1);
            if line.places.is_empty() {
                self.lines.remove(&inode);
            }
        }
        if let Some(places) = self.owners.get_mut(&owner) {
            places.remove(&place);
            if places.is_empty() {
                self.owners.remove(&owner);
            }
        }
    }

    /// Someone has the lock, or was refused it for good: it waits no more.
    pub fn served(&mut self, inode: InodeId, owner: LockOwner, wish: &LockWish) {
        if let Some(place) = self.place(inode, owner, wish, |_| true) {
            self.leave(place);
        }
    }

    /// A session has ended: none of its owners wait any more, and nothing is held by it.
    pub fn end(&mut self, session: SessionId) {
        let of_session = |waiting: &Waiting| waiting.owner.session == session;
        self.leave_all(of_session);
        for line in self.lines.values() {
            line.news.send_modify(|news| *news += 1);
        }
    }

    /// Time passes: who did not come back loses its place.
    pub fn lapse(&mut self, now: Duration) {
        self.leave_all(|waiting| waiting.lapses.is_some_and(|lapses| lapses <= now));
    }

    fn leave_all(&mut self, who: impl Fn(&Waiting) -> bool) {
        let gone = self.waiting.iter().filter(|(_, waiting)| who(waiting));
        let gone: Vec<Place> = gone.map(|(place, _)| *place).collect();
        gone.into_iter().for_each(|place| self.leave(place));
    }

    /// Something was unlocked: those who wait should look again.
    pub fn wake(&mut self, inode: InodeId) {
        if let Some(line) = self.lines.get(&inode) {
            line.news.send_modify(|news| *news += 1);
        }
    }

    /// Changes when those who wait for `inode` should look again.
    pub fn news(&mut self, inode: InodeId) -> watch::Receiver<u64> {
        self.lines.entry(inode).or_default().news.subscribe()
    }

    /// Where an owner waits for just this.
    pub fn place_of(&self, inode: InodeId, owner: LockOwner, wish: &LockWish) -> Option<Place> {
        self.place(inode, owner, wish, |_| true)
    }

    fn place(
        &self,
        inode: InodeId,
        owner: LockOwner,
        wish: &LockWish,
        and: impl Fn(&Waiting) -> bool,
    ) -> Option<Place> {
        let same = |waiting: &Waiting| {
            let (theirs, ours) = (&waiting.wish, wish);
            waiting.inode == inode && (theirs.range, theirs.kind) == (ours.range, ours.kind)
        };
        let places = self.owners.get(&owner)?;
        let mut found = places.iter().filter(|place| {
            let waiting = self.waiting.get(place);
            waiting.is_some_and(|waiting| same(waiting) && and(waiting))
        });
        found.next().copied()
    }

    /// Everyone who waits for `inode` and came before `place`, or everyone; the first first.
    pub fn before(
        &self,
        inode: InodeId,
        place: Option<Place>,
    ) -> impl Iterator<Item = &Waiting> + '_ {
        let places = self.lines.get(&inode).map(|line| &line.places);
        let before = move |other: &&Place| place.is_none_or(|place| **other < place);
        let places = places.into_iter().flatten().take_while(before);
        places.filter_map(|place| self.waiting.get(place))
    }

    /// What an owner waits for, and where.
    pub fn of(&self, owner: LockOwner) -> impl Iterator<Item = (Place, &Waiting)> + '_ {
        let places = self.owners.get(&owner).into_iter().flatten();
        places.filter_map(|place| Some((*place, self.waiting.get(place)?)))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::{extent::FileRange, session::LockKind};

    const INODE: InodeId = InodeId(7);

    fn owner(number: u64) -> LockOwner {
        LockOwner {
            session: SessionId(number % 2),
            number,
        }
    }

    fn wish(owner: u64) -> LockWish {
        LockWish {
            owner,
            range: FileRange::of(0, 10),
            kind: LockKind::Exclusive,
            pid: 1,
        }
    }

    fn owners(lines: &Lines) -> Vec<u64> {
        let line = lines.before(INODE, None);
        line.map(|waiting| waiting.owner.number).collect()
    }

    #[test]
    fn who_comes_back_in_time_keeps_its_place() {
        let at = Duration::from_secs;
        let mut lines = Lines::default();
        let first = lines.join(INODE, owner(1), wish(1)).expect("room");
        let second = lines.join(INODE, owner(2), wish(2)).expect("room");
        assert_eq!(lines.before(INODE, Some(second)).count(), 1);
        lines.keep(first, at(10));
        lines.lapse(at(11));
        assert_eq!(lines.join(INODE, owner(1), wish(1)), Ok(first));
        lines.lapse(at(100));
        assert_eq!(owners(&lines), [1, 2], "who hangs does not lapse");
        let mut news = lines.news(INODE);
        lines.keep(first, at(100));
        lines.lapse(at(102));
        assert_eq!(owners(&lines), [2]);
        assert!(
            news.has_changed().expect("a line"),
            "those behind are woken"
        );
        let last = lines.join(INODE, owner(1), wish(1)).expect("room");
        assert!(last > second);
        news.mark_unchanged();
        lines.served(INODE, owner(2), &wish(2));
        assert_eq!(owners(&lines), [1]);
        assert!(news.has_changed().expect("a line"));
        lines.end(SessionId(1));
        assert!(lines.is_empty() && lines.lines.is_empty() && lines.owners.is_empty());
        assert!(news.has_changed().is_err(), "an empty line is taken down");
    }

    #[test]
    fn nobody_waits_and_one_tries_where_it_is_quiet() {
        let mut lines = Lines::default();
        assert!(lines.are_quiet(INODE));
        lines.tries(INODE);
        assert!(lines.are_quiet(INODE), "who asks is the one who tries");
        lines.tries(INODE);
        assert!(!lines.are_quiet(INODE));
        lines.tried(INODE);
        let place = lines.join(INODE, owner(1), wish(1)).expect("room");
        assert!(!lines.are_quiet(INODE) && lines.are_quiet(InodeId(8)));
        lines.keep(place, Duration::ZERO);
        assert!(!lines.are_quiet(INODE), "it may come back");
        lines.leave(place);
        lines.tried(INODE);
        assert!(lines.are_quiet(INODE) && lines.attempts.is_empty());
    }

    #[test]
    fn two_calls_of_one_owner_have_two_places() {
        let mut lines = Lines::default();
        let first = lines.join(INODE, owner(1), wish(1)).expect("room");
        let second = lines.join(INODE, owner(1), wish(1)).expect("room");
        assert_ne!(first, second);
        assert_eq!(lines.of(owner(1)).count(), 2);
        lines.leave(first);
        assert_eq!(lines.place_of(INODE, owner(1), &wish(1)), Some(second));
    }

    #[test]
    fn a_line_has_a_bound() {
        let mut lines = Lines::default();
        for number in 0..LINE_MAX as u64 {
            lines
                .join(INODE, owner(number), wish(number))
                .expect("room");
        }
        let more = lines.join(INODE, owner(5000), wish(5000));
        assert!(matches!(more, Err(FsError::NoLocks(_))), "{more:?}");
        assert_eq!(lines.len(), LINE_MAX);
    }
}
