//! Whether a lock can be had, must be waited for, or would be waited for in vain: a pure decision
//! over what is locked and who waits.
//!
//! An owner waits for the owners of locks in its way, and, so that nobody starves, for those who
//! came before it and want what it wants. A ring of the first kind alone is a deadlock, and told to
//! whoever closes it. The second kind gives way where it would close a ring: whoever came before
//! waits, directly or through others, for the one who came later, and would wait for ever.

use super::{
    held::in_the_way,
    line::{Lines, Place, Waiting},
};
use dfs_proto::{
    error::FsError,
    id::InodeId,
    session::{LockHeld, LockOwner, LockWish, locks::conflict},
};
use std::collections::HashSet;

/// Owners looked at in one search, at the most; a longer ring is not found.
const SEARCH_MAX: usize = 4096;

/// Says everything that is locked of an inode.
pub type Held<'a> = dyn Fn(InodeId) -> Result<Vec<LockHeld>, FsError> + 'a;

/// What is to be done about a wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It can be locked.
    Free,
    /// It must be waited for.
    Blocked,
    /// Waiting would never end.
    Deadlock,
}

/// Judges the wish of `owner` for `inode`, in its place in the line or as the last.
pub fn judge(
    lines: &Lines,
    held: &Held<'_>,
    inode: InodeId,
    owner: LockOwner,
    wish: &LockWish,
    place: Option<Place>,
) -> Result<Verdict, FsError> {
    let graph = Graph { lines, held };
    let holders = graph.holders(inode, owner, wish)?;
    if !holders.is_empty() {
        return Ok(match graph.reaches(&holders, owner, false)? {
            true => Verdict::Deadlock,
            false => Verdict::Blocked,
        });
    }
    for before in lines.before(inode, place) {
        if comes_between(before, owner, wish) && !graph.reaches(&[before.owner], owner, true)? {
            return Ok(Verdict::Blocked);
        }
    }
    Ok(Verdict::Free)
}

/// Whether someone who came before wants what `owner` wants.
fn comes_between(before: &Waiting, owner: LockOwner, wish: &LockWish) -> bool {
    let wants = (before.wish.range, before.wish.kind);
    before.owner != owner && conflict(wants, (wish.range, wish.kind))
}

/// Who waits for whom.
struct Graph<'a> {
    lines: &'a Lines,
    held: &'a Held<'a>,
}

impl Graph<'_> {
    /// The owners of locks in the way of a wish.
    fn holders(
        &self,
        inode: InodeId,
        owner: LockOwner,
        wish: &LockWish,
    ) -> Result<Vec<LockOwner>, FsError> {
        let held = (self.held)(inode)?;
        if in_the_way(&held, owner, wish).is_none() {
            return Ok(Vec::new());
        }
        let in_the_way = held.iter().filter(|other| {
            other.owner != owner && conflict((other.range, other.kind), (wish.range, wish.kind))
        });
        Ok(in_the_way.map(|other| other.owner).collect())
    }

    /// Whether anyone of `from` is `to`, or waits for it through others: for its locks, and with
    /// `order` also for its turn.
    fn reaches(&self, from: &[LockOwner], to: LockOwner, order: bool) -> Result<bool, FsError> {
        let mut seen: HashSet<LockOwner> = HashSet::new();
        let mut next = from.to_vec();
        while let Some(owner) = next.pop() {
            if owner == to {
                return Ok(true);
            }
            if !seen.insert(owner) || seen.len() > SEARCH_MAX {
                continue;
            }
            for (place, waiting) in self.lines.of(owner) {
                next.extend(self.holders(waiting.inode, owner, &waiting.wish)?);
                if order {
                    let before = self.lines.before(waiting.inode, Some(place));
                    let before = before.filter(|b| comes_between(b, owner, &waiting.wish));
                    next.extend(before.map(|before| before.owner));
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockKind::{Exclusive, Shared};
    use dfs_proto::{extent::FileRange, id::SessionId, session::LockKind};

    /// What is locked: inode, owner, start, end, how.
    type Locks<'a> = &'a [(u64, u64, u64, u64, LockKind)];

    fn owner(number: u64) -> LockOwner {
        LockOwner {
            session: SessionId(number),
            number,
        }
    }

    fn wish(owner: u64, start: u64, end: u64, kind: LockKind) -> LockWish {
        LockWish {
            owner,
            range: FileRange { start, end },
            kind,
            pid: 1,
        }
    }

    fn held(locks: Locks<'_>) -> impl Fn(InodeId) -> Result<Vec<LockHeld>, FsError> + '_ {
        move |inode| {
            let of = locks.iter().filter(|(of, ..)| *of == inode.0);
            let lock = |&(_, number, start, end, kind): &(u64, u64, u64, u64, LockKind)| LockHeld {
                owner: owner(number),
                range: FileRange { start, end },
                kind,
                pid: 1,
            };
            Ok(of.map(lock).collect())
        }
    }

    fn judged(lines: &Lines, locks: Locks<'_>, inode: u64, wish: LockWish) -> Verdict {
        let (inode, owner) = (InodeId(inode), owner(wish.owner));
        let place = lines.place_of(inode, owner, &wish);
        judge(lines, &held(locks), inode, owner, &wish, place).expect("no damage")
    }

    fn join(lines: &mut Lines, inode: u64, wish: LockWish) {
        let joined = lines.join(InodeId(inode), owner(wish.owner), wish);
        joined.expect("there is room");
    }

    #[test]
    fn only_locks_of_others_that_overlap_are_in_the_way() {
        let lines = Lines::default();
        let locks = [(1, 1, 0, 10, Shared), (1, 2, 20, 30, Exclusive)];
        let verdict = |w| judged(&lines, &locks, 1, w);
        assert_eq!(verdict(wish(3, 0, 20, Shared)), Verdict::Free);
        assert_eq!(verdict(wish(3, 0, 20, Exclusive)), Verdict::Blocked);
        assert_eq!(verdict(wish(1, 0, 20, Exclusive)), Verdict::Free);
        assert_eq!(verdict(wish(3, 29, 30, Shared)), Verdict::Blocked);
        assert_eq!(verdict(wish(2, 0, 30, Shared)), Verdict::Free);
    }

    #[test]
    fn who_closes_a_ring_is_told() {
        let mut lines = Lines::default();
        let locks = [
            (1, 1, 0, 10, Exclusive),
            (2, 2, 0, 10, Exclusive),
            (3, 3, 0, 10, Exclusive),
        ];
        let wants = |owner| wish(owner, 0, 10, Exclusive);
        for (who, inode) in [(1, 2), (2, 3)] {
            join(&mut lines, inode, wants(who));
            assert_eq!(judged(&lines, &locks, inode, wants(who)), Verdict::Blocked);
        }
        assert_eq!(judged(&lines, &locks, 1, wants(3)), Verdict::Deadlock);
        assert_eq!(judged(&lines, &locks, 1, wants(4)), Verdict::Blocked);
        // The ring is open again when one of them waits no more.
        lines.served(InodeId(3), owner(2), &wants(2));
        assert_eq!(judged(&lines, &locks, 1, wants(3)), Verdict::Blocked);
    }

    #[test]
    fn two_who_share_and_both_want_all_are_a_ring() {
        let mut lines = Lines::default();
        let locks = [(1, 1, 0, 10, Shared), (1, 2, 0, 10, Shared)];
        join(&mut lines, 1, wish(1, 0, 10, Exclusive));
        let first = judged(&lines, &locks, 1, wish(1, 0, 10, Exclusive));
        assert_eq!(first, Verdict::Blocked);
        let second = judged(&lines, &locks, 1, wish(2, 0, 10, Exclusive));
        assert_eq!(second, Verdict::Deadlock);
    }

    #[test]
    fn readers_do_not_pass_a_writer_that_waits() {
        let mut lines = Lines::default();
        let locks = [(1, 1, 0, 10, Shared)];
        join(&mut lines, 1, wish(2, 0, 10, Exclusive));
        let verdict = |w| judged(&lines, &locks, 1, w);
        assert_eq!(verdict(wish(3, 0, 10, Shared)), Verdict::Blocked);
        assert_eq!(verdict(wish(3, 10, 20, Shared)), Verdict::Free);
        assert_eq!(
            judged(&lines, &[], 1, wish(2, 0, 10, Exclusive)),
            Verdict::Free
        );
        // Whom the writer waits for passes, or nobody would go on.
        assert_eq!(verdict(wish(1, 5, 20, Shared)), Verdict::Free);
        assert_eq!(verdict(wish(1, 0, 10, Exclusive)), Verdict::Free);
    }

    #[test]
    fn whom_the_first_waits_for_through_others_passes() {
        let mut lines = Lines::default();
        // 2 waits on inode 1 for 3, who waits on inode 2 for 1.
        let locks = [(1, 3, 0, 10, Shared), (2, 1, 0, 10, Exclusive)];
        join(&mut lines, 1, wish(2, 0, 10, Exclusive));
        join(&mut lines, 2, wish(3, 0, 10, Exclusive));
        assert_eq!(
            judged(&lines, &locks, 1, wish(1, 0, 10, Shared)),
            Verdict::Free
        );
        assert_eq!(
            judged(&lines, &locks, 1, wish(4, 0, 10, Shared)),
            Verdict::Blocked
        );
        // Also where one of those others only waits for its turn: 5 behind 2 on inode 1.
        join(&mut lines, 1, wish(5, 0, 10, Shared));
        join(&mut lines, 3, wish(6, 0, 10, Exclusive));
        let locks = [&locks[..], &[(3, 5, 0, 10, Shared)]].concat();
        assert_eq!(
            judged(&lines, &locks, 3, wish(1, 0, 10, Shared)),
            Verdict::Free
        );
    }
}
