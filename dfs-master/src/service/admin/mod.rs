//! `dfs` -> master.

mod check;
mod health;
mod minions;
mod paths;
mod policy;
mod quota;

use crate::{engine::leader::Leader, repair::Healed, service::keepsake};
use bytes::Bytes;
use dfs_proto::{
    attr::Attr,
    block::{Copies, ReplicaState},
    error::FsError,
    id::{BlockId, InodeId, MinionId, SessionId},
    log::{BackupPart, StreamSpot},
    name::Name,
    service::{
        Admin, BlockRecord, Healing, MinionStatus, PolicyStatus, QuotaStatus, SessionStatus,
        Status, TablesCheck, TablesWish,
    },
    session::BadReplica,
    view::{Content, Cookie, ENTRIES_PER_ANSWER_MAX, Layout, Limits, Listing},
};
use health::{Health, alarms};
use std::{sync::Arc, time::Duration};
use tarpc::context::Context;

/// Sessions that are shown, at the most.
const SESSIONS_MAX: usize = 1000;
/// Open inodes that are counted for a session, at the most.
const OPENS_MAX: usize = 100_000;

/// The service that people call.
#[derive(Clone)]
pub struct AdminService {
    /// Who answers.
    pub leader: Arc<Leader>,
}

fn healing(leader: &Leader) -> Healing {
    let now = leader.now();
    let heals = leader.heals.lock();
    let (wanting, moving, under_way) = heals.counts();
    let Healed {
        copies,
        bytes,
        failures,
    } = heals.healed;
    Healing {
        wanting: wanting as u64,
        moving: moving as u64,
        under_way: under_way as u64,
        copies,
        bytes,
        failures,
        bytes_per_s: heals.rate.bytes(now),
        left_ms: heals.rate.left((wanting + moving) as u64, now).map(millis),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl AdminService {
    fn minions(&self, now: Duration) -> Vec<MinionStatus> {
        let replicas = {
            let survey = self.leader.survey.lock();
            survey
                .last()
                .map(|tally| tally.replicas.clone())
                .unwrap_or_default()
        };
        let roster = self.leader.roster.lock();
        let status = roster.iter().map(|(minion, member)| MinionStatus {
            minion,
            host: member.registration.host.clone(),
            rack: member.registration.rack.clone(),
            addresses: member.registration.addresses.clone(),
            liveness: member.liveness,
            beat_age_ms: millis(now.saturating_sub(member.heard)),
            up_ms: millis(now.saturating_sub(member.since)),
            disks: member.disks.clone(),
            replicas: replicas.get(&minion).copied().unwrap_or(0),
            drains: member.drains,
            build: member.registration.build.clone(),
        });
        status.collect()
    }

    fn sessions(&self, now: Duration) -> Result<Vec<SessionStatus>, FsError> {
        let rows = self.leader.reader.sessions(SessionId(0), SESSIONS_MAX)?;
        let mut sessions = Vec::with_capacity(rows.len());
        for (session, row) in rows.into_iter().filter(|(_, row)| !row.ended) {
            let silence = self.leader.seats.lock().silence(session, now);
            let opens = self
                .leader
                .reader
                .opens(session, InodeId(0), OPENS_MAX)?
                .len();
            sessions.push(SessionStatus {
                session,
                host: row.host,
                purpose: row.purpose,
                renewed_age_ms: silence.map_or(u64::MAX, millis),
                open_inodes: opens as u64,
                calls: self.leader.metrics.calls.of(session),
            });
        }
        Ok(sessions)
    }
}

impl Admin for AdminService {
    async fn status(self, _: Context) -> Result<Status, FsError> {
        let leader = &self.leader;
        let now = leader.now();
        let copies = leader.copies(None);
        let (endangered, surveyed) = {
            let survey = leader.survey.lock();
            let last = survey.last();
            (
                last.map(|tally| tally.endangered.clone())
                    .unwrap_or_default(),
                last.is_some(),
            )
        };
        let minions = self.minions(now);
        let log = leader.group.progress();
        let (keepsakes, unkept) = {
            let all = leader.aspirants();
            let keepers = leader.keepers.lock();
            let missing = keepers.missing(all.len(), now);
            (keepers.status(&all, log.2, now), missing)
        };
        let damaged_replicas = leader.damaged.lock().len() as u64;
        let unwritable = policy::unwritable(leader)?;
        let reserve = leader.reserve.lock();
        let health = Health {
            copies: (leader.copies.0.unwrap_or(3), copies),
            minions: &minions,
            damaged_replicas,
            endangered: &endangered,
            waiting: leader.unsettled.lock().waiting.len(),
            read_only: reserve.read_only(),
            reserve: reserve.held(),
            unkept,
            unwritable,
            unknown: leader.unknown.lock().len() as u64,
            checkpoint_failure: leader
                .reader
                .checkpoint_failure()
                .map(|why| why.to_string()),
        };
        let alarms = alarms(&health);
        drop(reserve);
        Ok(Status {
            filesystem: leader.filesystem,
            build: leader.build.clone(),
            up_ms: millis(now.saturating_sub(leader.since)),
            space: leader.space(None)?,
            copies: copies.wanted,
            copies_min: copies.least,
            sessions: self.sessions(now)?,
            blocks: leader.reader.totals()?.blocks,
            endangered,
            healing: healing(leader),
            damaged_replicas,
            surveyed,
            log,
            alarms,
            minions,
            keepsakes,
        })
    }

    async fn find(self, _: Context, path: Bytes) -> Result<Attr, FsError> {
        if path.first() != Some(&b'/') {
            return Err(FsError::Invalid("the path must begin with /".to_owned()));
        }
        let reader = &self.leader.reader;
        let mut attr = reader.getattr(InodeId::ROOT)?.answer;
        for part in path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
        {
            attr = match part {
                b"." => attr,
                b".." => reader.parent(attr.inode)?.answer,
                name => reader.lookup(attr.inode, &Name::new(name)?)?.answer,
            };
        }
        Ok(attr)
    }

    async fn list(
        self,
        _: Context,
        inode: InodeId,
        after: Cookie,
        limit: u32,
    ) -> Result<Listing, FsError> {
        let limit = limit.min(ENTRIES_PER_ANSWER_MAX);
        self.leader
            .reader
            .readdir(inode, after, limit, true, |_| false)
            .map(|logged| logged.answer)
    }

    async fn layout(
        self,
        _: Context,
        inode: InodeId,
        from: u64,
    ) -> Result<Option<Layout>, FsError> {
        let view = self.leader.reader.view(inode)?.answer;
        match view.content {
            Content::Inline(_) => Ok(None),
            Content::Extents(_) => self
                .leader
                .reader
                .locate(inode, from)
                .map(|logged| Some(logged.answer)),
        }
    }

    async fn target(self, _: Context, inode: InodeId) -> Result<Bytes, FsError> {
        self.leader
            .reader
            .readlink(inode)
            .map(|logged| logged.answer)
    }

    async fn set_quota(
        self,
        _: Context,
        directory: InodeId,
        limits: Limits,
    ) -> Result<QuotaStatus, FsError> {
        quota::set(&self.leader, directory, limits).await
    }

    async fn remove_quota(self, _: Context, directory: InodeId) -> Result<(), FsError> {
        quota::remove(&self.leader, directory).await
    }

    async fn quotas_of(self, _: Context, inode: InodeId) -> Result<Vec<QuotaStatus>, FsError> {
        quota::of(&self.leader, inode).await
    }

    async fn quotas(
        self,
        _: Context,
        after: InodeId,
        limit: u32,
    ) -> Result<Vec<QuotaStatus>, FsError> {
        quota::page(&self.leader, after, limit).await
    }

    async fn set_policy(
        self,
        _: Context,
        directory: InodeId,
        copies: Option<Copies>,
    ) -> Result<(), FsError> {
        policy::set(&self.leader, directory, copies).await
    }

    async fn policies(
        self,
        _: Context,
        after: InodeId,
        limit: u32,
    ) -> Result<Vec<PolicyStatus>, FsError> {
        policy::page(&self.leader, after, limit).await
    }

    async fn drain(self, _: Context, minion: MinionId, drains: bool) -> Result<(), FsError> {
        minions::drain(&self.leader, minion, drains).await
    }

    async fn remove_minion(self, _: Context, minion: MinionId, lose: bool) -> Result<(), FsError> {
        minions::remove(&self.leader, minion, lose).await
    }

    async fn blocks(
        self,
        _: Context,
        after: BlockId,
        limit: u32,
    ) -> Result<Vec<BlockRecord>, FsError> {
        check::blocks(&self.leader, after, limit).await
    }

    async fn blocks_of(
        self,
        _: Context,
        blocks: Vec<BlockId>,
    ) -> Result<Vec<BlockRecord>, FsError> {
        check::blocks_of(&self.leader, blocks).await
    }

    async fn paths_of(
        self,
        _: Context,
        inodes: Vec<InodeId>,
    ) -> Result<Vec<(InodeId, Bytes)>, FsError> {
        paths::of(&self.leader, inodes).await
    }

    async fn heal(self, _: Context, bad: Vec<BadReplica>) -> Result<(), FsError> {
        check::heal(&self.leader, bad).await
    }

    async fn compare(
        self,
        _: Context,
        minion: MinionId,
        held: Vec<ReplicaState>,
    ) -> Result<(), FsError> {
        check::compare(&self.leader, minion, held).await
    }

    async fn check_tables(self, _: Context, wish: TablesWish) -> Result<TablesCheck, FsError> {
        check::tables(&self.leader, wish).await
    }

    async fn backup(self, _: Context, at: Option<StreamSpot>) -> Result<BackupPart, FsError> {
        keepsake::backup(&self.leader, at).await
    }
}
