//! Minion -> master.

use crate::{
    engine::{
        command::{Act, Outcome, ReplicaNews},
        leader::{Leader, unexpected},
        reader::{BlockRow, BlockState, Holes},
    },
    repair::{Remedy, missing, remedy},
    service::keepsake,
};
use dfs_proto::{
    block::ReplicaState,
    error::FsError,
    id::{BlockId, MinionId},
    log::{Keep, Keeping},
    minion::{Beat, BeatAnswer, Finished, Registered, Registration, Report, Task},
    service::Control,
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tarpc::context::Context;

/// Milliseconds between beats.
const BEAT_INTERVAL_MS: u32 = 1000;
/// Rows compared with a report at a time.
const PAGE: usize = 1024;

pub(super) type News = Vec<(BlockId, MinionId, ReplicaNews)>;

/// The service that minions call.
#[derive(Clone)]
pub struct ControlService {
    /// Who answers.
    pub leader: Arc<Leader>,
    /// Where the report of each minion is: number of the next page, last block named.
    pub reports: Arc<Mutex<HashMap<MinionId, (u32, BlockId)>>>,
}

impl ControlService {
    /// The service of this leader.
    pub fn of(leader: Arc<Leader>) -> ControlService {
        ControlService {
            leader,
            reports: Arc::default(),
        }
    }

    pub(super) async fn tell(&self, news: News) -> Result<(), FsError> {
        if news.is_empty() {
            return Ok(());
        }
        self.leader.act(Act::Replicas(news)).await.map(drop)
    }

    /// Takes in what became of an order; a failure is logged, and the order given anew when the
    /// block comes round again.
    fn finish(&self, minion: MinionId, finished: &Finished, news: &mut News) {
        let Some(order) = self.leader.desk.lock().finish(minion, finished) else {
            return;
        };
        let block = order.block;
        let state = match &finished.outcome {
            Ok(state) => state,
            Err(why) => {
                self.leader.rewrites.lock().fail(block);
                let now = self.leader.now();
                self.leader.heals.lock().fail(block, minion, now);
                tracing::warn!(%block, %minion, task = order.task.name(), "order not carried out: {why}");
                return;
            }
        };
        match (&order.task, state) {
            (Task::Seal { length }, Some(state)) if state.sealed && state.length == *length => {
                let length = *length;
                // What others have, who could not keep it, decides nothing any more.
                self.leader.measures.lock().forget(block);
                news.push((block, minion, ReplicaNews::Sealed { length }));
            }
            (Task::Seal { length: 1.. }, state) if self.may_be_the_best(block, minion) => {
                // Perhaps no replica can keep the seal. Nothing can be kept without a replica, too.
                let length = state.as_ref().map(|state| state.length);
                self.leader.measures.lock().tell(block, minion, length);
            }
            (Task::Seal { .. }, Some(_)) => news.push((block, minion, ReplicaNews::Worthless)),
            (Task::Seal { .. }, None) => news.push((block, minion, ReplicaNews::Lost)),
            (Task::Measure, state) => {
                let length = state.as_ref().map(|state| state.length);
                self.leader.measures.lock().tell(block, minion, length);
            }
            (Task::Drop { placement }, _) => {
                let placement = *placement;
                self.leader.damaged.lock().remove(&(block, minion));
                self.leader.punches.lock().forget(block);
                news.push((block, minion, ReplicaNews::Dropped { placement }));
            }
            (Task::Rewrite { .. }, state) => {
                let length = state.as_ref().map_or(0, |state| state.length);
                self.leader.rewrites.lock().copied(block, length);
            }
            (Task::Copy { length, .. }, Some(state))
                if state.sealed && state.length == *length && !state.damaged =>
            {
                let length = *length;
                self.leader.damaged.lock().remove(&(block, minion));
                let now = self.leader.now();
                self.leader.heals.lock().end(block, minion, length, now);
                news.push((block, minion, ReplicaNews::Copied { length }));
            }
            (Task::Copy { .. }, _) => {
                let now = self.leader.now();
                self.leader.heals.lock().fail(block, minion, now);
            }
            (Task::Punch { count, .. }, _) => {
                let mut punches = self.leader.punches.lock();
                punches.carried_out(block, minion, *count);
            }
        }
        if let Some(state) = state.as_ref().filter(|state| state.damaged) {
            self.leader.note_damaged(state.block, minion);
        }
    }

    /// Whether nobody else has the block whole. A row that cannot be read says no more than a block
    /// that is gone: news of either change nothing.
    fn may_be_the_best(&self, block: BlockId, minion: MinionId) -> bool {
        let row = self.leader.reader.block(block).ok().flatten();
        row.is_some_and(|row| !row.is_kept_beside(minion))
    }

    pub(super) fn act_on(
        &self,
        minion: MinionId,
        block: BlockId,
        remedy: Remedy,
        news: &mut News,
    ) -> Result<(), FsError> {
        match remedy {
            Remedy::Nothing => {}
            Remedy::Tell(what) => news.push((block, minion, what)),
            Remedy::Order(task) => {
                let mut desk = self.leader.desk.lock();
                // What a copy leaves unfinished its minion removes, and what is finished is compared then.
                let is_copied = desk.copies(minion, block);
                if !is_copied || !matches!(task, Task::Drop { .. }) {
                    desk.issue(minion, block, task);
                }
            }
            Remedy::End => {
                self.leader.ending.lock().insert(block);
            }
            Remedy::Punch => {
                // What is decided and has not waited for readers yet is ordered in its time.
                let holes = self.leader.reader.holes(block)?;
                let due = !self.leader.reader.is_worn_by_decision(block)?;
                if let Some(Holes { count, ranges }) = holes.filter(|_| due) {
                    let task = Task::Punch { count, ranges };
                    self.leader.desk.lock().issue(minion, block, task);
                }
            }
        }
        Ok(())
    }

    pub(super) fn compare(
        &self,
        minion: MinionId,
        replicas: &[ReplicaState],
        news: &mut News,
    ) -> Result<(), FsError> {
        for held in replicas {
            let row = self.leader.reader.block(held.block)?;
            if held.damaged {
                self.leader.note_damaged(held.block, minion);
            }
            let goes = row
                .as_ref()
                .is_none_or(|row| row.state == BlockState::Reclaiming);
            let may_be_lost = row.is_none() && self.leader.may_be_lost(held.block);
            // What a file names is not dropped, whatever is said of its block.
            if may_be_lost || goes && self.leader.reader.is_used(held.block)? {
                self.leader.note_unknown(held.block, minion);
                continue;
            }
            self.act_on(minion, held.block, remedy(minion, held, row.as_ref()), news)?;
        }
        Ok(())
    }

    /// What was copied may have changed meanwhile: more was given up of it, or nothing names it any more.
    async fn compare_copied(&self, minion: MinionId, finished: &[Finished]) -> Result<(), FsError> {
        let copied = finished
            .iter()
            .filter_map(|one| *one.outcome.as_ref().ok()?);
        let sealed: Vec<ReplicaState> = copied.filter(|state| state.sealed).collect();
        let mut news = Vec::new();
        self.compare(minion, &sealed, &mut news)?;
        self.tell(news).await
    }

    /// Looks for blocks in `(from, to]` that the minion should have and did not name.
    async fn find_missing(
        &self,
        minion: MinionId,
        from: BlockId,
        to: BlockId,
        named: &[ReplicaState],
        news: &mut News,
    ) -> Result<(), FsError> {
        let mut after = from;
        loop {
            let page = self.leader.reader.blocks(after, PAGE)?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = *last;
            let unnamed = |(block, _): &&(BlockId, BlockRow)| {
                *block <= to
                    && named
                        .binary_search_by_key(block, |held| held.block)
                        .is_err()
            };
            for (block, row) in page.iter().filter(unnamed) {
                if row.state == BlockState::Reclaiming && self.leader.reader.is_used(*block)? {
                    continue;
                }
                self.act_on(minion, *block, missing(minion, row), news)?;
            }
            if after >= to {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Control for ControlService {
    async fn register(self, _: Context, registration: Registration) -> Result<Registered, FsError> {
        let leader = &self.leader;
        let ours = leader.filesystem;
        if let Some(theirs) = registration.filesystem.filter(|theirs| *theirs != ours) {
            return Err(FsError::WrongFilesystem { ours, theirs });
        }
        let outcome = leader
            .act(Act::RegisterMinion(registration.clone()))
            .await?;
        let Outcome::Registered {
            minion,
            incarnation,
        } = outcome
        else {
            return Err(unexpected(&outcome));
        };
        let host = registration.host.clone();
        leader
            .roster
            .lock()
            .register(minion, registration, incarnation, leader.now());
        self.reports.lock().remove(&minion);
        tracing::info!(%minion, host, incarnation, "minion registered");
        leader.survey.lock().restart();
        leader.tell_roster();
        let filesystem = ours;
        Ok(Registered {
            filesystem,
            minion,
            beat_interval_ms: BEAT_INTERVAL_MS,
            incarnation,
        })
    }

    async fn beat(self, _: Context, beat: Beat) -> Result<BeatAnswer, FsError> {
        let leader = &self.leader;
        let Beat {
            minion,
            incarnation,
            disks,
            finished,
            changed,
            lost,
        } = beat;
        let heard = leader
            .roster
            .lock()
            .beat(minion, incarnation, disks, leader.now());
        if heard.ok_or(FsError::UnknownMinion(minion))? {
            tracing::info!(%minion, "minion is back");
            leader.tell_roster();
        }
        let mut news = Vec::new();
        for finished in &finished {
            self.finish(minion, finished, &mut news);
        }
        self.compare(minion, &changed, &mut news)?;
        news.extend(
            lost.into_iter()
                .map(|block| (block, minion, ReplicaNews::Lost)),
        );
        self.tell(news).await?;
        self.compare_copied(minion, &finished).await?;
        let orders = leader.desk.lock().for_minion(minion);
        let fenced = leader.unsettled.lock().fenced.clone();
        let report = leader
            .roster
            .lock()
            .get(minion)
            .is_some_and(|m| m.report_wanted);
        Ok(BeatAnswer {
            orders,
            fenced,
            report,
        })
    }

    async fn keep(self, _: Context, keep: Keep) -> Result<Keeping, FsError> {
        keepsake::keep(&self.leader, keep).await
    }

    async fn report(self, _: Context, report: Report) -> Result<(), FsError> {
        let Report {
            minion,
            incarnation,
            page,
            last,
            mut replicas,
        } = report;
        let leader = &self.leader;
        if leader.roster.lock().current(minion, incarnation).is_none() {
            return Err(FsError::UnknownMinion(minion));
        }
        replicas.sort_unstable_by_key(|held| held.block);
        let from = match page {
            0 => BlockId(0),
            _ => match self.reports.lock().get(&minion) {
                Some((next, after)) if *next == page => *after,
                _ => {
                    let why = format!("page {page} of the report does not follow the last one");
                    return Err(FsError::Invalid(why));
                }
            },
        };
        let named_to = replicas.last().map_or(from, |held| held.block);
        let to = if last { BlockId(u64::MAX) } else { named_to };
        let mut news = Vec::new();
        // Orders follow only what a power cut cannot take back.
        leader.settled().await?;
        self.compare(minion, &replicas, &mut news)?;
        self.find_missing(minion, from, to, &replicas, &mut news)
            .await?;
        self.tell(news).await?;
        if last {
            self.reports.lock().remove(&minion);
            if let Some(member) = leader.roster.lock().current(minion, incarnation) {
                member.report_wanted = false;
            }
        } else {
            self.reports.lock().insert(minion, (page + 1, named_to));
        }
        Ok(())
    }
}
