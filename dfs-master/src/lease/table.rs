//! Who may keep what they were told, and who may write without telling: read and write leases, and
//! the changes that end them. Pure.
//!
//! A session that is answered about an inode may keep the answer until it is told that the inode
//! changes: it holds a read lease. A change marks what it touches, is told who else holds it, waits
//! until they have forgotten (elsewhere), is applied, and takes its marks back. While an inode is
//! marked nobody else gets a lease on it, so that no answer from before the change is kept after it.
//!
//! A lease on a directory covers its names, those that are absent too. A change of one name takes
//! back that name and the attributes, and leaves the rest; any other lease is gone when it was
//! recalled, but for a file whose attributes alone change: what is kept of its bytes is still right,
//! and whoever keeps them will have to be told when they change. A directory that several sessions keep fighting over is hot for a while: nobody holds
//! it, and nobody has to be waited for.
//!
//! A session that was left alone with a file by a change of its own may hold the write lease: then
//! nobody else is answered about the file before the writer has shared what it wrote (elsewhere). The
//! writer holds a read lease, too, and both do not age: they end with a recall, the close, or the
//! session.

use dfs_proto::{
    id::{COUNTER_BITS, InodeId, SessionId},
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
/// Whose changes those are that no session will be answered about.
pub const NOBODY: SessionId = SessionId(0);

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

/// What becomes of an answer about some inodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lend {
    /// It may be kept.
    Kept,
    /// It may be given, and not be kept.
    NotKept,
    /// It may be older than what others have written to these inodes.
    Written(Vec<InodeId>),
    /// A change of another session is under way, and to be waited for by who wants to keep bytes.
    Changing,
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
    /// The session was recalled by a change that is under way: if it makes this one in order to
    /// answer, it must not wait for others to forget, who may be in the same position.
    pub answers: bool,
    /// Those of the recalled that hold write leases: what they wrote has to be waited for.
    pub writers: Vec<SessionId>,
}

/// Who holds the write lease on a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Writer {
    /// Which session.
    pub session: SessionId,
    /// Tells this lease from an earlier one of the same session.
    pub claim: u64,
    /// The number, among the events of its session, of the one by which it was asked to share, if it
    /// was.
    pub asked: Option<u64>,
}

#[derive(Debug, Default)]
struct Held {
    writer: Option<Writer>,
    holders: Vec<(SessionId, Duration)>,
    /// Sessions that were recalled by changes that are under way, each with the number of the event
    /// once that is told.
    recalled_from: Vec<(SessionId, Option<u64>)>,
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
    /// Write leases given so far.
    claimed: u64,
}

impl Leases {
    /// None yet, for the leader of this boot: write leases are numbered from it on.
    pub fn of(boot: u64) -> Leases {
        Leases {
            shards: (0..SHARDS).map(|_| HashMap::new()).collect(),
            swept: 0,
            names: BTreeSet::new(),
            claimed: boot << COUNTER_BITS,
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

    /// Another session that holds the write lease.
    fn foreign_writer(&self, session: SessionId) -> Option<SessionId> {
        let writer = self.writer.map(|writer| writer.session);
        writer.filter(|writer| *writer != session)
    }

    fn is_changed_by_others(&self, session: SessionId) -> bool {
        self.changers.iter().any(|changer| *changer != session)
    }

    /// Whether a change waits for a session that has acknowledged events up to `heard`.
    fn waits_for(&self, session: SessionId, heard: u64) -> bool {
        let mut recalled = self.recalled_from.iter();
        recalled.any(|(one, number)| *one == session && number.is_none_or(|n| n > heard))
    }

    fn holds(&self, session: SessionId) -> bool {
        self.holders.iter().any(|(one, _)| *one == session)
    }

    /// Forgets holders whose leases are too old. That of the writer does not age.
    fn age(&mut self, now: Duration) {
        let writer = self.writer.map(|writer| writer.session);
        self.holders
            .retain(|(one, since)| !is_over(*since, now) || writer == Some(*one));
    }

    fn let_go(&mut self, gone: impl Fn(SessionId) -> bool) {
        self.holders.retain(|(one, _)| !gone(*one));
        self.writer = self.writer.filter(|writer| !gone(writer.session));
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
    /// cannot be changed meanwhile: on all, if the answer is [`Lend::Kept`]. Who wants to keep bytes
    /// says up to which event it has `heard`, and has to wait for changes of others, but for those
    /// that wait for it.
    pub fn grant(
        &mut self,
        session: SessionId,
        inodes: impl IntoIterator<Item = InodeId>,
        heard: Option<u64>,
        now: Duration,
    ) -> Lend {
        let full = self.shards[0].len() > INODES_MAX / SHARDS;
        let mut all = !full;
        let mut written = Vec::new();
        for inode in inodes {
            let shard = self.shard(inode);
            let held = match all {
                true => shard.entry(inode).or_default(),
                false => match shard.get_mut(&inode) {
                    Some(held) => held,
                    None => continue,
                },
            };
            if held.foreign_writer(session).is_some() {
                written.push(inode);
            } else if held.is_changed_by_others(session) {
                if heard.is_some_and(|heard| !held.waits_for(session, heard)) {
                    return Lend::Changing;
                }
                all = false;
            } else if now < held.hot_until {
                all = false;
            } else if all && written.is_empty() {
                held.hold(session, now);
            }
        }
        match (written.is_empty(), all) {
            (false, _) => Lend::Written(written),
            (true, true) => Lend::Kept,
            (true, false) => Lend::NotKept,
        }
    }

    /// Who holds the write lease on a file, if that is not `session`.
    pub fn writer(&mut self, inode: InodeId, session: SessionId) -> Option<Writer> {
        let writer = self.shard(inode).get(&inode)?.writer;
        writer.filter(|writer| writer.session != session)
    }

    /// This writer was asked to share by the event of this number.
    pub fn asked(&mut self, inode: InodeId, claim: u64, number: u64) {
        let held = self.shard(inode).get_mut(&inode);
        let writer = held.and_then(|held| held.writer.as_mut());
        if let Some(writer) = writer.filter(|writer| writer.claim == claim) {
            writer.asked = Some(number);
        }
    }

    /// The writer has shared what it wrote under this claim, as it was asked to. Not told by the
    /// number of the event: that of another session's may be the same.
    pub fn shared(&mut self, inode: InodeId, claim: u64) {
        if let Some(held) = self.shard(inode).get_mut(&inode) {
            held.writer = held.writer.filter(|writer| writer.claim != claim);
        }
    }

    /// Who holds leases on an inode.
    pub fn holders(&mut self, inode: InodeId) -> Vec<SessionId> {
        let held = self.shard(inode).get(&inode);
        let holders = held.map(|held| held.holders.iter().map(|(one, _)| *one).collect());
        holders.unwrap_or_default()
    }

    /// A session holds these files open no more, or has ended.
    pub fn closed(&mut self, session: SessionId, inodes: &[InodeId]) {
        for inode in inodes {
            if let Some(held) = self.shard(*inode).get_mut(inode) {
                held.writer = held.writer.filter(|writer| writer.session != session);
            }
        }
    }

    /// A session was told of the recall of an inode by the event of this number.
    pub fn told(&mut self, inode: InodeId, session: SessionId, number: u64) {
        if let Some(held) = self.shard(inode).get_mut(&inode) {
            let untold =
                |(one, told): &&mut (SessionId, Option<u64>)| *one == session && told.is_none();
            if let Some((_, told)) = held.recalled_from.iter_mut().find(untold) {
                *told = Some(number);
            }
        }
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
        let mut answers = false;
        let mut writers = Vec::new();
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
            let foreign = held.is_changed_by_others(session);
            answers |= foreign && content && held.holds(session);
            held.changers.push(session);
            writers.extend(held.foreign_writer(session));
            held.age(now);
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
                writes: None,
            };
            let writer = held.writer;
            let recall_of = |other| Recall {
                writes: writer.filter(|w| w.session == other).map(|w| w.claim),
                ..recall.clone()
            };
            held.recalled_from
                .extend(others.iter().map(|other| (*other, None)));
            recalls.extend(others.into_iter().map(|other| (other, recall_of(other))));
            let turn = (!foreign).then_some(held.turn);
            marks.push((inode, turn, hot || (!directory && content)));
        }
        Begun {
            session,
            marks,
            recalls,
            answers,
            writers,
        }
    }

    /// A change that may yet be applied will be answered to nobody: until it has ended, its session
    /// keeps what it touches as little as others do. Answers what it is to be recalled; nobody waits
    /// for that, so that it counts as a holder still.
    pub fn disown(&mut self, begun: &mut Begun) -> Vec<(SessionId, Recall)> {
        let session = std::mem::replace(&mut begun.session, NOBODY);
        let mut recalls = Vec::new();
        for (inode, turn, _) in &mut begun.marks {
            *turn = None;
            let Some(held) = self.shard(*inode).get_mut(inode) else {
                continue;
            };
            let mut changers = held.changers.iter_mut();
            if let Some(ours) = changers.find(|one| **one == session) {
                *ours = NOBODY;
            }
            held.last_changer = Some(NOBODY);
            held.turn += 1;
            if held.holds(session) {
                let writer = held.writer.filter(|writer| writer.session == session);
                let recall = Recall {
                    inode: *inode,
                    names: Vec::new(),
                    whole: true,
                    content: true,
                    writes: writer.map(|writer| writer.claim),
                };
                held.recalled_from.push((session, None));
                recalls.push((session, recall));
            }
        }
        recalls
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
            if held.changers.is_empty() {
                held.recalled_from.clear();
            }
            let recalled = |one: SessionId| {
                let mut all = begun.recalls.iter();
                all.any(|(other, recall)| *other == one && recall.inode == *inode)
            };
            if *whole {
                held.let_go(recalled);
            } else {
                // Whoever wrote has committed that, and was told to ask again.
                held.writer = held.writer.filter(|writer| !recalled(writer.session));
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

    /// After a change of `session` whose answer it keeps: it holds the write lease on this file
    /// from then on, if nobody else holds anything of it.
    pub fn claim(&mut self, session: SessionId, inode: InodeId) -> Option<u64> {
        self.claimed += 1;
        let claim = self.claimed;
        let held = self.shard(inode).get_mut(&inode)?;
        let others = held.holders.iter().any(|(one, _)| *one != session);
        let alone = held.holds(session) && !others && !held.is_changed_by_others(session);
        if alone {
            held.writer = Some(Writer {
                session,
                claim,
                asked: None,
            });
        }
        alone.then_some(claim)
    }

    /// As [`Leases::claim`], for a session that may hold it already. It is given no other then; and
    /// none where it is asked for.
    pub fn claim_or_keep(&mut self, session: SessionId, inode: InodeId) -> Option<u64> {
        let held = self.shard(inode).get(&inode)?;
        match held.writer.filter(|writer| writer.session == session) {
            Some(writer) => {
                let undisturbed = writer.asked.is_none() && !held.is_changed_by_others(session);
                undisturbed.then_some(writer.claim)
            }
            None => self.claim(session, inode),
        }
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
            held.age(now);
            held.let_go(|session| !is_open(session));
            !held.is_idle(now)
        });
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
