//! Who may keep what they were told: read leases, and the changes that end them. Pure.
//!
//! A session that is answered about an inode may keep the answer until it is told that the inode
//! changes: it holds a read lease. A change marks what it touches, is told who else holds it, waits
//! until they have forgotten (elsewhere), is applied, and takes its marks back. While an inode is
//! marked nobody else gets a lease on it, so that no answer from before the change is kept after it.
//!
//! A lease on a directory covers its names, those that are absent too. A change of one name takes
//! back that name and the attributes, and leaves the rest; any other lease is gone when it was
//! recalled. A directory that several sessions keep fighting over is hot for a while: nobody holds
//! it, and nobody has to be waited for.

use dfs_proto::{
    id::{InodeId, SessionId},
    name::Name,
    session::Recall,
};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// A lease is good for so long after it was last given.
pub const LEASE_AGE: Duration = Duration::from_secs(300);
/// What the client's clock and the way of the answer may add to that.
const AGE_SLACK: Duration = Duration::from_secs(30);
/// Inodes with leases, at the most; beyond that none is given.
const INODES_MAX: usize = 1_000_000;
/// Recalls of one inode, each within [`HEAT_GAP`] of the one before, that make it hot.
const HEAT_RECALLS: u32 = 4;
const HEAT_GAP: Duration = Duration::from_secs(1);
/// How long it stays hot.
const HEAT_TIME: Duration = Duration::from_secs(2);
/// The table is swept in so many parts.
const SHARDS: usize = 64;

/// What a change touches of one inode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Touched {
    /// Which.
    pub inode: InodeId,
    /// Whether it is a directory.
    pub directory: bool,
    /// The names that change in it.
    pub names: Vec<Name>,
    /// Whether the bytes of the file change.
    pub content: bool,
}

/// A change that has begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Begun {
    session: SessionId,
    /// The inodes, each with its turn (none, if a change of another session was under way, which
    /// may be applied after this one) and whether its leases end altogether.
    marks: Vec<(InodeId, Option<u64>, bool)>,
    /// Who has to forget what before it may be applied.
    pub recalls: Vec<(SessionId, Recall)>,
}

#[derive(Debug, Default)]
struct Held {
    holders: Vec<(SessionId, Duration)>,
    /// The sessions whose changes are under way, once for each.
    changers: Vec<SessionId>,
    last_changer: Option<SessionId>,
    /// Counts each time that a change of another session than the one before begins.
    turn: u64,
    recalls: u32,
    recalled: Duration,
    hot_until: Duration,
}

/// The leases.
#[derive(Debug)]
pub struct Leases {
    shards: Vec<HashMap<InodeId, Held>>,
    swept: usize,
    /// Names whose changes are under way: one at a time for each.
    names: BTreeSet<(InodeId, Name)>,
}

impl Default for Leases {
    fn default() -> Leases {
        Leases {
            shards: (0..SHARDS).map(|_| HashMap::new()).collect(),
            swept: 0,
            names: BTreeSet::new(),
        }
    }
}

impl Held {
    fn hold(&mut self, session: SessionId, now: Duration) {
        match self.holders.iter_mut().find(|(one, _)| *one == session) {
            Some((_, since)) => *since = now,
            None => self.holders.push((session, now)),
        }
    }

    fn is_idle(&self, now: Duration) -> bool {
        self.holders.is_empty() && self.changers.is_empty() && now >= self.hot_until
    }
}

fn is_over(since: Duration, now: Duration) -> bool {
    now > since + LEASE_AGE + AGE_SLACK
}

impl Leases {
    fn shard(&mut self, inode: InodeId) -> &mut HashMap<InodeId, Held> {
        let at = usize::try_from(inode.0 % SHARDS as u64).expect("small");
        &mut self.shards[at]
    }

    /// How many inodes it knows something about.
    pub fn len(&self) -> usize {
        self.shards.iter().map(HashMap::len).sum()
    }

    /// Whether it knows nothing.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(HashMap::is_empty)
    }

    /// Gives `session` leases on these inodes, whose rows it is being answered from and which
    /// cannot be changed meanwhile: on all or, answering `false`, not on all.
    pub fn grant(
        &mut self,
        session: SessionId,
        inodes: impl IntoIterator<Item = InodeId>,
        now: Duration,
    ) -> bool {
        let full = self.shards[0].len() > INODES_MAX / SHARDS;
        let mut all = !full;
        for inode in inodes {
            if !all {
                break;
            }
            let held = self.shard(inode).entry(inode).or_default();
            let foreign = held.changers.iter().any(|changer| *changer != session);
            all = !foreign && now >= held.hot_until;
            if all {
                held.hold(session, now);
            }
        }
        all
    }

    /// Takes these names for a change, unless one of them is taken.
    pub fn take_names(&mut self, names: &[(InodeId, Name)]) -> bool {
        let free = names.iter().all(|name| !self.names.contains(name));
        if free {
            self.names.extend(names.iter().cloned());
        }
        free
    }

    /// Gives names back.
    pub fn give_back(&mut self, names: &[(InodeId, Name)]) {
        for name in names {
            self.names.remove(name);
        }
    }

    /// A change of `session` begins.
    pub fn begin(&mut self, session: SessionId, touched: Vec<Touched>, now: Duration) -> Begun {
        let mut marks = Vec::with_capacity(touched.len());
        let mut recalls = Vec::new();
        for Touched {
            inode,
            directory,
            names,
            content,
        } in touched
        {
            let held = self.shard(inode).entry(inode).or_default();
            if held.last_changer != Some(session) {
                held.last_changer = Some(session);
                held.turn += 1;
            }
            let foreign = held.changers.iter().any(|changer| *changer != session);
            held.changers.push(session);
            held.holders.retain(|(_, since)| !is_over(*since, now));
            let others = held.holders.iter().filter(|(one, _)| *one != session);
            let others: Vec<SessionId> = others.map(|(one, _)| *one).collect();
            if !others.is_empty() {
                let gone_on = now.saturating_sub(held.recalled) < HEAT_GAP;
                held.recalls = if gone_on { held.recalls + 1 } else { 1 };
                held.recalled = now;
                if directory && held.recalls >= HEAT_RECALLS {
                    held.hot_until = now + HEAT_TIME;
                }
            }
            let hot = now < held.hot_until;
            let recall = Recall {
                inode,
                names,
                whole: directory && hot,
                content,
            };
            recalls.extend(others.into_iter().map(|other| (other, recall.clone())));
            let turn = (!foreign).then_some(held.turn);
            marks.push((inode, turn, !directory || hot));
        }
        Begun {
            session,
            marks,
            recalls,
        }
    }

    /// The change was applied, or will not be, and those who were to forget have. Where `told`, its
    /// answer is kept by who made it; answers whether it may be.
    pub fn end(&mut self, begun: &Begun, told: bool, now: Duration) -> bool {
        let session = begun.session;
        let mut all = told;
        for (inode, turn, whole) in &begun.marks {
            let shard = self.shard(*inode);
            let Some(held) = shard.get_mut(inode) else {
                continue;
            };
            let ours = held.changers.iter().position(|one| *one == session);
            if let Some(ours) = ours {
                held.changers.swap_remove(ours);
            }
            if *whole {
                let recalled = |one: SessionId| {
                    let mut all = begun.recalls.iter();
                    all.any(|(other, recall)| *other == one && recall.inode == *inode)
                };
                held.holders.retain(|(one, _)| !recalled(*one));
            }
            let undisturbed = *turn == Some(held.turn) && now >= held.hot_until;
            if told && undisturbed {
                held.hold(session, now);
            }
            all &= undisturbed;
            if held.is_idle(now) {
                shard.remove(inode);
            }
        }
        all
    }

    /// The sessions that hold something in the part of the table that is swept next.
    pub fn holders_to_sweep(&mut self) -> BTreeSet<SessionId> {
        self.swept = (self.swept + 1) % SHARDS;
        let held = self.shards[self.swept].values();
        held.flat_map(|held| &held.holders)
            .map(|(one, _)| *one)
            .collect()
    }

    /// Time has passed: forgets, in that part, what is over.
    pub fn sweep(&mut self, now: Duration, is_open: impl Fn(SessionId) -> bool) {
        self.shards[self.swept].retain(|_, held| {
            held.holders
                .retain(|(session, since)| !is_over(*since, now) && is_open(*session));
            !held.is_idle(now)
        });
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
