//! What a leader does as time passes: judging minions, ending sessions, settling and reclaiming
//! blocks, surveying, checkpoints, watching its disk. Everything in bounded steps, once a tick.

mod heal;
mod rewrite;
mod wear;

use super::leader::{Leader, Unsettled};
use crate::{
    cluster::Candidate,
    engine::{
        command::{Act, Outcome, ReplicaNews},
        reader::{BlockRow, BlockState, ReplicaHealth, is_due},
    },
    lease::TERM,
    repair::{Settling, next},
};
use dfs_proto::{
    error::FsError,
    extent::BLOCK_BYTES_MAX,
    id::{BlockId, SessionId},
    minion::{Liveness, Task},
    session::Event,
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Between two ticks.
pub const TICK: Duration = Duration::from_millis(500);
/// A tick that is so late means that nobody could be heard for a while.
const LATE: Duration = Duration::from_secs(2);
/// Between two checkpoints.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// How long the bytes of a block that nothing names stay readable.
const RECLAIM_GRACE: Duration = Duration::from_secs(10);
/// An open block may have fewer copies than it should for so long, while there is a minion for one more: its
/// writer may have left out one that was slow, and will try it again.
const THIN_MAX: Duration = Duration::from_secs(20);
/// Rows looked at in one step.
const PAGE: usize = 1024;
/// Steps of one kind in one tick.
const STEPS_MAX: usize = 16;
const RECLAIM_BLOCKS_MAX: u32 = 512;
const RECLAIM_ROWS_MAX: u32 = 4096;
/// Entries that one step counts: nothing else is applied meanwhile.
const COUNT_ENTRIES_MAX: u32 = 1024;
/// Steps of counting in one tick: 65,000 entries a second at the most, with others in between.
const COUNT_STEPS_MAX: usize = 32;

/// What ticks remember of each other.
#[derive(Debug, Default)]
pub struct Ticks {
    last: Option<Duration>,
    checkpointed: Duration,
    /// Blocks of which nothing is known are left alone.
    spares: bool,
    told_to_seal: BTreeSet<BlockId>,
    /// Sessions that are open, and nobody watches over, and since when.
    unwatched: BTreeMap<SessionId, Duration>,
    /// Open blocks that could have more copies, and since when.
    thin: BTreeMap<BlockId, Duration>,
    wear: wear::Round,
}

/// The parts of a tick that failed, and why.
pub type Failed = BTreeMap<&'static str, FsError>;

/// Ticks until `shutdown`.
pub async fn run(leader: Arc<Leader>, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = Ticks::default();
    let ticking = async {
        let mut known = Failed::new();
        loop {
            interval.tick().await;
            let failed = ticks.tick(&leader).await;
            // Once for each reason.
            for (part, error) in failed
                .iter()
                .filter(|(part, error)| known.get(*part) != Some(*error))
            {
                tracing::warn!(
                    "a part of the master's housekeeping did not succeed, {part}: {error}"
                );
            }
            known = failed;
        }
    };
    shutdown.run_until_cancelled(ticking).await;
}

impl Ticks {
    /// One tick. A part that fails is tried again with the next; the others go on.
    pub async fn tick(&mut self, leader: &Leader) -> Failed {
        let now = leader.now();
        let late = now
            .saturating_sub(self.last.unwrap_or(now))
            .saturating_sub(TICK);
        self.last = Some(now);
        if late > LATE {
            tracing::info!("the clock went on by {late:?} unseen: everyone gets a full term");
            leader.roster.lock().forgive(late);
            leader.seats.lock().renew_all(now);
        }
        let mut failed = Failed::new();
        let mut note = |part, done: Result<(), FsError>| {
            if let Err(error) = done {
                failed.insert(part, error);
            }
        };
        note("the watch over its disk", watch_disk(leader));
        judge(leader, now);
        note("the choice of keepers", keepers(leader, now));
        self.grace_ends(leader);
        note("the end of sessions", expire(leader, now).await);
        let unwatched = self.end_unwatched(leader, now).await;
        note("the end of sessions that nobody watches over", unwatched);
        sweep_leases(leader, now);
        leader.lines.lock().lapse(now);
        note("the end of blocks", self.settle(leader).await);
        note("reclaiming", reclaim(leader).await);
        note("counting", count(leader).await);
        note("rewriting", rewrite::go_on(leader).await);
        note("the search for worn blocks", self.wear.step(leader).await);
        note("the survey of blocks", survey(leader).await);
        note("healing", heal::go_on(leader).await);
        if now.saturating_sub(self.checkpointed) >= CHECKPOINT_INTERVAL {
            self.checkpointed = now;
            let done = leader.group.checkpoint().await;
            let done = done.map_err(|error| FsError::Unavailable(error.to_string()));
            note("the checkpoint", done);
        }
        failed
    }

    /// When blocks of which nothing is known are not left alone any more, all minions say once more
    /// what they hold.
    fn grace_ends(&mut self, leader: &Leader) {
        let spared = leader.may_be_lost(BlockId(0));
        if std::mem::replace(&mut self.spares, spared) && !spared {
            let unknown = std::mem::take(&mut *leader.unknown.lock());
            if !unknown.is_empty() {
                leader.roster.lock().want_reports();
            }
        }
    }

    /// Goes over the blocks that are not settled, and takes the next step with each.
    async fn settle(&mut self, leader: &Leader) -> Result<(), FsError> {
        let mut after = (SessionId(0), BlockId(0));
        let mut found = Unsettled::default();
        let mut steps = Vec::new();
        let mut soon = BTreeSet::new();
        let mut thin = BTreeMap::new();
        let ending = leader.ending.lock().clone();
        for _ in 0..STEPS_MAX {
            let page = leader.reader.unsettled(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = *last;
            for (session, block) in page {
                let row = leader.reader.block(block)?;
                let Some(row) = row.filter(|row| row.session == session) else {
                    continue;
                };
                let gone = !leader.seats.lock().is_open(session)
                    && !leader.rewrites.lock().is_written(block);
                if gone && row.state == BlockState::Open {
                    found.waiting.push(block);
                    found.fenced.push(session);
                } else if row.state == BlockState::Open
                    && (self.is_thin(leader, block, &row, &mut thin)
                        || ending.contains(&block)
                        || is_better_ended(leader, block, &row))
                {
                    soon.insert((session, block));
                }
                let told = leader.measures.lock().of(block);
                let roster = leader.roster.lock();
                match next(&row, gone, &told, |minion| roster.liveness(minion)) {
                    Settling::Wait => {}
                    step => steps.push((block, step)),
                }
            }
        }
        for (session, block) in &soon {
            if !self.told_to_seal.contains(block) {
                leader.seats.lock().tell(*session, Event::SealSoon(*block));
            }
        }
        self.thin = thin;
        leader.ending.lock().retain(|block| !ending.contains(block));
        self.told_to_seal = soon.into_iter().map(|(_, block)| block).collect();
        found.fenced.dedup();
        *leader.unsettled.lock() = found;
        if !steps.is_empty() {
            // Orders follow only what a power cut cannot take back.
            leader.settled().await?;
        }
        // One that cannot be ended does not keep the others from it.
        let mut first = Ok(());
        for (block, step) in steps {
            let taken = take(leader, block, step).await;
            if matches!(taken, Err(FsError::Unavailable(_))) {
                return taken;
            }
            first = first.and(taken);
        }
        first
    }

    /// Ends sessions that are open and that nobody has watched over for a term: that is what an opening
    /// leaves whose caller hung up, and an end that was not logged. One that is just being opened waits
    /// for the log, however long that takes to sync.
    async fn end_unwatched(&mut self, leader: &Leader, now: Duration) -> Result<(), FsError> {
        let before = std::mem::take(&mut self.unwatched);
        let open = leader.reader.totals()?.sessions;
        if usize::try_from(open).is_ok_and(|open| open <= leader.seats.lock().len()) {
            return Ok(());
        }
        let mut after = SessionId(0);
        loop {
            let page = leader.reader.sessions(after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let open = page.iter().filter(|(_, row)| !row.ended);
            let seats = leader.seats.lock();
            let unwatched = open.filter(|(session, _)| !seats.is_open(*session));
            let since = |session| before.get(session).copied().unwrap_or(now);
            self.unwatched
                .extend(unwatched.map(|(session, _)| (*session, since(session))));
        }
        let late = self.unwatched.iter();
        let late = late.filter(|(_, since)| now.saturating_sub(**since) > TERM);
        for session in late.map(|(session, _)| *session).collect::<Vec<_>>() {
            tracing::info!(%session, "nobody watches over the session: it ends");
            leader.end_session(session).await?;
        }
        Ok(())
    }

    /// Whether an open block has had fewer copies than it could for too long; notes since when.
    fn is_thin(
        &self,
        leader: &Leader,
        block: BlockId,
        row: &BlockRow,
        thin: &mut BTreeMap<BlockId, Duration>,
    ) -> bool {
        if !lacks_copies(leader, row) {
            return false;
        }
        let now = leader.now();
        let since = self.thin.get(&block).copied().unwrap_or(now);
        thin.insert(block, since);
        now.saturating_sub(since) >= THIN_MAX
    }
}

/// Whether an open block is to be ended soon: because a minion that has it is silent or leaves, or because
/// a replica is lost or damaged, or policies want more or fewer than there are: only then can some be
/// made or given up.
fn is_better_ended(leader: &Leader, block: BlockId, row: &BlockRow) -> bool {
    let minions = || row.replicas.iter().map(|(minion, _)| *minion);
    if row.counting().count() < row.replicas.len() {
        return true;
    }
    let is_damaged = {
        let damaged = leader.damaged.lock();
        minions().any(|minion| damaged.contains(&(block, minion)))
    };
    is_damaged || on_shaky_minion(leader, row) || has_other_copies(leader, row)
}

/// Whether a block has more replicas than it should; or fewer, because it was placed when it wanted less.
fn has_other_copies(leader: &Leader, row: &BlockRow) -> bool {
    row.replicas.len() > wanted_copies(leader, row) || row.outgrown && lacks_copies(leader, row)
}

fn wanted_copies(leader: &Leader, row: &BlockRow) -> usize {
    let usual = usize::try_from(leader.copies(None).wanted).unwrap_or(usize::MAX);
    row.wants.copies(usual, leader.roster.lock().staying())
}

/// Whether a block has fewer replicas than it should, and there is a minion for one more.
fn lacks_copies(leader: &Leader, row: &BlockRow) -> bool {
    if row.replicas.len() >= wanted_copies(leader, row) {
        return false;
    }
    let room = u64::from(BLOCK_BYTES_MAX);
    let has = |minion| row.replicas.iter().any(|(of, _)| *of == minion);
    let takes = |one: &Candidate| one.liveness == Liveness::Alive && one.free >= room;
    let candidates = leader.roster.lock().candidates();
    candidates.iter().any(|one| takes(one) && !has(one.minion))
}

fn on_shaky_minion(leader: &Leader, row: &BlockRow) -> bool {
    let roster = leader.roster.lock();
    row.replicas
        .iter()
        .any(|(minion, _)| !roster.is_alive(*minion) || roster.drains(*minion))
}

async fn take(leader: &Leader, block: BlockId, step: Settling) -> Result<(), FsError> {
    match step {
        Settling::Wait => {}
        Settling::Order(minions, task) => {
            let mut desk = leader.desk.lock();
            for minion in minions {
                desk.issue(minion, block, task.clone());
            }
        }
        Settling::Seal { measured, waited } => {
            let outcome = leader
                .act(Act::SealMeasured {
                    block,
                    measured,
                    waited,
                })
                .await?;
            if let Outcome::Sealed(Some(length)) = outcome {
                tracing::info!(%block, length, "ended a block whose writer is gone");
                // Files may have become shorter: who keeps their sizes is not known.
                leader.seats.lock().tell_all(&Event::ForgetAll);
                leader.measures.lock().forget(block);
            }
        }
    }
    Ok(())
}

fn watch_disk(leader: &Leader) -> Result<(), FsError> {
    let mut reserve = leader.reserve.lock();
    let before = reserve.read_only();
    let watched = reserve.watch(&*leader.disk);
    let after = reserve.read_only();
    drop(reserve);
    match (before, after) {
        (false, true) => tracing::error!(
            "the disk of the master is full: the file system is read-only. Delete files, or make \
             space on the disk with the master's data"
        ),
        (true, false) => tracing::info!("the disk of the master has space again: writable"),
        _ => {}
    }
    watched.map_err(|error| FsError::Unavailable(format!("the master's disk: {error}")))
}

/// Sees to it that somebody keeps a copy of this master.
fn keepers(leader: &Leader, now: Duration) -> Result<(), FsError> {
    let all = leader.aspirants();
    let synced = leader.group.progress().2;
    let hold = {
        let mut keepers = leader.keepers.lock();
        keepers.note_synced(synced, now);
        keepers.choose(&all, now);
        keepers.hold(now)
    };
    let full = leader.reserve.lock().read_only();
    let held = leader.group.hold(if full { u32::MAX } else { hold });
    leader.outgoing.sweep(now);
    held.map_err(|error| FsError::Unavailable(error.to_string()))
}

fn judge(leader: &Leader, now: Duration) {
    let patience = &leader.patience;
    let changed = leader.roster.lock().judge(patience, now);
    if changed.is_empty() {
        return;
    }
    for (minion, liveness) in &changed {
        match liveness {
            Liveness::Alive => tracing::info!(%minion, "minion is alive"),
            Liveness::Suspect => {
                tracing::warn!(%minion, "minion has not been heard of for {:?}", patience.suspect);
            }
            Liveness::Dead => {
                tracing::warn!(%minion, "minion is dead: silent for {:?}", patience.dead);
            }
        }
    }
    leader.survey.lock().restart();
    leader.tell_roster();
}

fn sweep_leases(leader: &Leader, now: Duration) {
    // The holders first: who opens and is leased something meanwhile is not among them.
    let mut gone = leader.leases.lock().holders_to_sweep();
    gone.retain(|session| !leader.seats.lock().is_open(*session));
    leader
        .leases
        .lock()
        .sweep(now, |session| !gone.contains(&session));
}

async fn expire(leader: &Leader, now: Duration) -> Result<(), FsError> {
    let expired = leader.seats.lock().expired(now);
    for session in expired {
        tracing::info!(%session, "session did not renew: fenced");
        leader.end_session(session).await?;
    }
    Ok(())
}

/// What was so at the first of these moments every reader knows; the second is now. `None` as long as
/// nothing is certain to have been so for as long: what an earlier leader noted by a clock that was set
/// back since lies in the future.
fn grace_ago(leader: &Leader) -> Option<(Timestamp, Timestamp)> {
    if leader.now() < leader.since + RECLAIM_GRACE {
        return None;
    }
    let now = leader.proposer.now();
    let grace = i128::try_from(RECLAIM_GRACE.as_nanos()).unwrap_or(0);
    Some((Timestamp::from_nanos(now.as_nanos() - grace), now))
}

async fn reclaim(leader: &Leader) -> Result<(), FsError> {
    let Some((before, now)) = grace_ago(leader) else {
        return drop_decided(leader).await;
    };
    for _ in 0..STEPS_MAX {
        let unused = leader.reader.unused(BlockId(0), PAGE)?;
        let due = unused
            .iter()
            .any(|(_, since, decided)| !decided && is_due(*since, (before, now)));
        if !due && !leader.reader.has_rows_to_reclaim()? {
            break;
        }
        let blocks_max = RECLAIM_BLOCKS_MAX;
        let act = Act::Reclaim {
            before,
            blocks_max,
            rows_max: RECLAIM_ROWS_MAX,
        };
        match leader.act(act).await? {
            Outcome::Reclaimed { more: true, .. } => {}
            _ => break,
        }
    }
    drop_decided(leader).await
}

/// Counts some of what was there before a quota was set or taken away, and passes policies on.
async fn count(leader: &Leader) -> Result<(), FsError> {
    for _ in 0..COUNT_STEPS_MAX {
        if !leader.reader.is_counting()? || leader.reserve.lock().read_only() {
            break;
        }
        let entries_max = COUNT_ENTRIES_MAX;
        match leader.act(Act::Count { entries_max }).await? {
            Outcome::Counted { more: true } => {}
            _ => break,
        }
    }
    Ok(())
}

/// Counts at once what is little. What cannot be counted now is left to the ticks.
pub async fn count_at_once(leader: &Leader) {
    if let Err(error) = count(leader).await {
        tracing::warn!("it is counted later: {error}");
    }
}

/// Orders the replicas of blocks that are decided to go to be dropped. One that counts for lost and
/// whose minion is not there is not waited for: a minion that comes back is told what to drop.
async fn drop_decided(leader: &Leader) -> Result<(), FsError> {
    let mut after = BlockId(0);
    let mut settled = false;
    let mut given_up = Vec::new();
    for _ in 0..STEPS_MAX {
        let page = leader.reader.unused(after, PAGE)?;
        let Some((last, _, _)) = page.last() else {
            break;
        };
        after = *last;
        for (block, _, _) in page.iter().filter(|(_, _, decided)| *decided) {
            if !settled {
                leader.settled().await?;
                if !leader.kept().await {
                    return Ok(());
                }
                settled = true;
            }
            // Whatever is noted: only what says so itself goes, and nothing that a file names.
            let row = leader.reader.block(*block)?;
            let Some(row) = row.filter(|row| row.state == BlockState::Reclaiming) else {
                continue;
            };
            if leader.reader.is_used(*block)? {
                continue;
            }
            let roster = leader.roster.lock();
            let mut desk = leader.desk.lock();
            let placement = row.placement;
            for (minion, health) in &row.replicas {
                let is_gone = roster.get(*minion).is_none();
                if is_gone || *health == ReplicaHealth::Lost && !roster.is_alive(*minion) {
                    given_up.push((*block, *minion, ReplicaNews::Dropped { placement }));
                } else {
                    desk.issue(*minion, *block, Task::Drop { placement });
                }
            }
        }
    }
    if !given_up.is_empty() {
        leader.act(Act::Replicas(given_up)).await?;
    }
    Ok(())
}

async fn survey(leader: &Leader) -> Result<(), FsError> {
    let carers = heal::carers(leader);
    let stay = leader.roster.lock().staying();
    let copies = (carers.1.copies, stay);
    let mut found = heal::Found::default();
    for _ in 0..STEPS_MAX {
        let after = leader.survey.lock().after.unwrap_or(BlockId(0));
        let page = leader.reader.blocks(after, PAGE)?;
        let liveness: BTreeMap<_, _> = {
            let roster = leader.roster.lock();
            roster
                .iter()
                .map(|(minion, member)| (minion, member.liveness))
                .collect()
        };
        let of = |minion| liveness.get(&minion).copied().unwrap_or(Liveness::Dead);
        leader.survey.lock().page(&page, copies, of);
        found.look(leader, &page, &carers);
        if page.is_empty() {
            break;
        }
    }
    found.act(leader).await
}
