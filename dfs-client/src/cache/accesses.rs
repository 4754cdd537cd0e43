//! Access times in the manner of relatime: which reads set one, and which of those the master has
//! yet to be told.
//!
//! What a read sets is shown here at once and told later, many in one change, so that nothing waits
//! for it. It is good for an inode as it was read, by its change time: the master passes over what
//! has changed since, so that an access time that somebody sets stays. What this session changes
//! itself, under a lease, does not undo its reads: they follow to the new change time.

use dfs_proto::{attr::Attr, change::Access, id::InodeId, time::Timestamp};
use lru::LruCache;
use parking_lot::Mutex;
use std::{collections::BTreeSet, num::NonZeroUsize};
use tokio::sync::Notify;

/// As many as attributes are remembered.
const NOTED_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// An access time is at least so young after a read.
const DAY_NS: i128 = 24 * 60 * 60 * 1_000_000_000;

/// The access time that a read at `now`, by the master's clock as it is estimated here, gives to an
/// inode that is `seen` so; `None` where it stays. Pure.
pub(crate) fn relatime(seen: &Attr, now: Timestamp) -> Option<Timestamp> {
    let old = now.as_nanos() - seen.atime.as_nanos() >= DAY_NS;
    if seen.atime > seen.mtime && seen.atime > seen.ctime && !old {
        return None;
    }
    // The estimate may be a moment behind a change that is seen already: the read was after it.
    let after = Timestamp::from_nanos(seen.ctime.as_nanos() + 1);
    Some(now.max(after)).filter(|atime| *atime > seen.atime)
}

/// The reads of one client.
#[derive(Debug)]
pub(crate) struct Accesses {
    noted: Mutex<Noted>,
    /// There is something to be told.
    pub(crate) came: Notify,
}

#[derive(Debug)]
struct Noted {
    /// What was read, until the master's own answers say so.
    by_inode: LruCache<InodeId, Access>,
    untold: BTreeSet<InodeId>,
}

impl Default for Accesses {
    fn default() -> Accesses {
        Accesses {
            noted: Mutex::new(Noted {
                by_inode: LruCache::new(NOTED_MAX),
                untold: BTreeSet::new(),
            }),
            came: Notify::new(),
        }
    }
}

impl Accesses {
    /// An inode was read.
    pub(crate) fn note(&self, access: Access) {
        let mut noted = self.noted.lock();
        if let Some((gone, _)) = noted.by_inode.push(access.inode, access) {
            noted.untold.remove(&gone);
        }
        if noted.untold.insert(access.inode) {
            self.came.notify_one();
        }
    }

    /// Attributes with what was read of them as they are.
    pub(crate) fn overlay(&self, attr: &mut Attr) {
        let noted = self.noted.lock();
        let access = noted.by_inode.peek(&attr.inode);
        if let Some(access) = access.filter(|access| access.ctime == attr.ctime) {
            attr.atime = attr.atime.max(access.atime);
        }
    }

    /// The master told these attributes. `before` is the change time that they had until then, if
    /// nobody else can have changed them in between.
    pub(crate) fn learn(&self, attr: &Attr, before: Option<Timestamp>) {
        let mut noted = self.noted.lock();
        let Some(access) = noted.by_inode.peek_mut(&attr.inode) else {
            return;
        };
        if attr.atime >= access.atime || ![Some(attr.ctime), before].contains(&Some(access.ctime)) {
            noted.by_inode.pop(&attr.inode);
            noted.untold.remove(&attr.inode);
        } else if access.ctime != attr.ctime {
            access.ctime = attr.ctime;
            if noted.untold.insert(attr.inode) {
                self.came.notify_one();
            }
        }
    }

    /// An access time is about to be set: it holds, whatever was read before.
    pub(crate) fn forget(&self, inode: InodeId) {
        let mut noted = self.noted.lock();
        noted.by_inode.pop(&inode);
        noted.untold.remove(&inode);
    }

    /// Whether the master has been told of everything.
    pub(crate) fn are_told(&self) -> bool {
        self.noted.lock().untold.is_empty()
    }

    /// What the master has yet to be told.
    pub(crate) fn untold(&self) -> Vec<Access> {
        let noted = self.noted.lock();
        let untold = noted.untold.iter();
        untold
            .filter_map(|inode| noted.by_inode.peek(inode).copied())
            .collect()
    }

    /// The master was told of these.
    pub(crate) fn told(&self, accesses: &[Access]) {
        let mut noted = self.noted.lock();
        for access in accesses {
            // It may have been read once more meanwhile, or have been changed here.
            if noted.by_inode.peek(&access.inode) == Some(access) {
                noted.untold.remove(&access.inode);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::attrs::tests::attr;
    use proptest::prelude::*;

    fn at(nanos: i128) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn seen(atime: i128, mtime: i128, ctime: i128) -> Attr {
        Attr {
            atime: at(atime),
            mtime: at(mtime),
            ctime: at(ctime),
            ..attr(1, 0)
        }
    }

    #[test]
    fn a_read_counts_after_a_change_and_once_a_day() {
        let read = |times: (i128, i128, i128), now| {
            let (atime, mtime, ctime) = times;
            relatime(&seen(atime, mtime, ctime), at(now)).map(Timestamp::as_nanos)
        };
        assert_eq!(read((5, 5, 5), 9), Some(9));
        assert_eq!(read((6, 5, 5), 9), None);
        assert_eq!(read((6, 5, 7), 9), Some(9), "an attribute was changed");
        assert_eq!(read((6, 7, 5), 9), Some(9), "the content was");
        assert_eq!(read((6, 5, 5), 5 + DAY_NS), None);
        assert_eq!(read((6, 5, 5), 6 + DAY_NS), Some(6 + DAY_NS));
        // A clock that is estimated to be behind.
        assert_eq!(read((5, 5, 5), 4), Some(6));
        // What is to come is not taken back.
        assert_eq!(read((8 * DAY_NS, 9 * DAY_NS, 5), 9), None);
    }

    /// One inode at the master, and a session that reads it.
    struct World {
        now: i128,
        master: Attr,
        known: Attr,
        leased: bool,
        accesses: Accesses,
        on_their_way: Vec<Vec<Access>>,
        answers: Vec<Vec<Access>>,
        /// What was set and not read since.
        set: Option<Timestamp>,
        /// What was read last and not changed by others since.
        read: Option<Timestamp>,
    }

    impl World {
        fn shown(&self) -> Attr {
            let mut attr = self.known.clone();
            self.accesses.overlay(&mut attr);
            attr
        }

        fn read(&mut self) {
            if let Some(atime) = relatime(&self.shown(), at(self.now)) {
                self.accesses.note(Access {
                    inode: self.known.inode,
                    atime,
                    ctime: self.known.ctime,
                });
                assert_eq!(self.shown().atime, atime);
                // What is known may be older, which the master sees.
                self.set = self.set.filter(|_| self.known.ctime != self.master.ctime);
                self.read = Some(atime).filter(|_| self.leased);
            }
        }

        fn change(&mut self, ours: bool, set: bool) {
            if ours && set {
                self.accesses.forget(self.master.inode);
            }
            self.master.ctime = at(self.now);
            if set {
                self.master.atime = at(self.now - 50);
                self.set = Some(self.master.atime);
            }
            if set || !ours {
                self.read = None;
            }
            match ours {
                true => self.learn(),
                false => self.leased = false,
            }
        }

        fn learn(&mut self) {
            let before = self.leased.then_some(self.known.ctime);
            self.accesses.learn(&self.master, before);
            self.known = self.master.clone();
            self.leased = true;
        }

        fn send(&mut self) {
            let untold = self.accesses.untold();
            assert_eq!(untold.is_empty(), self.accesses.are_told());
            self.on_their_way.push(untold);
        }

        /// As the master does it.
        fn arrive(&mut self, nth: usize) {
            let accesses = self.on_their_way.remove(nth);
            for access in &accesses {
                if access.ctime == self.master.ctime {
                    self.master.atime = self.master.atime.max(access.atime);
                }
            }
            self.answers.push(accesses);
        }

        fn step(&mut self, step: u8, nth: prop::sample::Index) {
            self.now += 10;
            match step {
                0..3 => self.read(),
                3 => self.change(true, false),
                4 => self.change(true, true),
                5 => self.change(false, false),
                6 => self.change(false, true),
                7 => self.learn(),
                8 => self.send(),
                9 if !self.on_their_way.is_empty() => {
                    self.arrive(nth.index(self.on_their_way.len()));
                }
                10 if !self.answers.is_empty() => {
                    let answer = self.answers.remove(nth.index(self.answers.len()));
                    self.accesses.told(&answer);
                }
                _ => {}
            }
        }
    }

    proptest! {
        /// Whatever overtakes what: an access time that was set stays until the next read, nothing
        /// takes one back, and what was read and not changed by others is with the master in the end.
        #[test]
        fn reads_arrive_and_what_is_set_stays(
            steps in prop::collection::vec((0u8..11, any::<prop::sample::Index>()), 0..80),
        ) {
            let first = seen(100, 100, 100);
            let mut world = World {
                now: 1000,
                master: first.clone(),
                known: first,
                leased: true,
                accesses: Accesses::default(),
                on_their_way: Vec::new(),
                answers: Vec::new(),
                set: None,
                read: None,
            };
            for (step, nth) in steps {
                let before = world.master.atime;
                world.step(step, nth);
                if let Some(set) = world.set {
                    prop_assert_eq!(world.master.atime, set);
                } else {
                    prop_assert!(world.master.atime >= before, "taken back");
                }
                if let Some(read) = world.read {
                    prop_assert_eq!(world.shown().atime, read, "shown here");
                }
            }
            // One more round of sending, and all that is under way arrives.
            while !world.on_their_way.is_empty() || !world.accesses.are_told() {
                if world.on_their_way.is_empty() {
                    world.send();
                }
                world.arrive(0);
                for answer in std::mem::take(&mut world.answers) {
                    world.accesses.told(&answer);
                }
            }
            if let Some(read) = world.read {
                prop_assert_eq!(world.master.atime, read);
            }
        }
    }
}
