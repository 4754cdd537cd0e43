//! Healing: blocks with too few good copies get more, and those with too many fewer.

use crate::{
    engine::{
        command::{Act, ReplicaNews},
        leader::Leader,
        reader::BlockRow,
    },
    repair::{Care, Carer, Wanted, care},
};
use dfs_proto::{
    error::FsError,
    extent::BLOCK_BYTES_MAX,
    id::{BlockId, MinionId},
    minion::Task,
};

/// Blocks of the queue that are looked at in one tick.
const LOOKED_AT: usize = 256;
/// Copies that are given up in one tick.
const GIVEN_UP: usize = 256;

/// What the survey's look at some blocks means for them.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Copies to give up.
    give_up: Vec<(BlockId, MinionId, u32)>,
    /// Remains to remove.
    remove: Vec<(BlockId, Vec<MinionId>, u32)>,
}

/// The minions as the care for blocks sees them, and what is wished.
pub(super) fn carers(leader: &Leader) -> (Vec<Carer>, Wanted) {
    let copies = usize::try_from(leader.copies(None).wanted).unwrap_or(usize::MAX);
    let now = leader.now();
    let roster = leader.roster.lock();
    let carer = |(minion, member): (MinionId, &crate::cluster::Member)| Carer {
        minion,
        host: member.registration.host.clone(),
        rack: member.registration.rack.clone(),
        liveness: member.liveness,
        silence: now.saturating_sub(member.heard),
        free: member.largest_free(),
        fill: member.thousandths(member.room() - member.free()),
        share: member.thousandths(u64::from(BLOCK_BYTES_MAX)),
        leaves: member.drains,
    };
    let wanted = Wanted {
        copies,
        patience: leader.patience.repair,
        room: u64::from(BLOCK_BYTES_MAX),
    };
    (roster.iter().map(carer).collect(), wanted)
}

impl Found {
    /// Looks at blocks.
    pub(super) fn look(
        &mut self,
        leader: &Leader,
        page: &[(BlockId, BlockRow)],
        (carers, wanted): &(Vec<Carer>, Wanted),
    ) {
        for (block, row) in page {
            let damaged = |minion| leader.damaged.lock().contains(&(*block, minion));
            let care = care(row, *wanted, carers, damaged);
            let mut heals = leader.heals.lock();
            match care {
                Care::Copy { left, .. } => heals.want(*block, left),
                Care::Nothing => heals.unwant(*block),
                Care::GiveUp(minion) => {
                    heals.unwant(*block);
                    if self.give_up.len() < GIVEN_UP {
                        self.give_up.push((*block, minion, row.placement));
                    }
                }
                Care::Remove(minions) => {
                    heals.unwant(*block);
                    if self.remove.len() < GIVEN_UP {
                        self.remove.push((*block, minions, row.placement));
                    }
                }
            }
        }
    }

    /// Gives up what is to be given up.
    pub(super) async fn act(self, leader: &Leader) -> Result<(), FsError> {
        let Found { give_up, remove } = self;
        if !give_up.is_empty() {
            let news = give_up.into_iter().map(|(block, minion, placement)| {
                tracing::debug!(%block, %minion, "a copy is given up");
                (block, minion, ReplicaNews::Surplus { placement })
            });
            leader.act(Act::Replicas(news.collect())).await?;
        }
        if !remove.is_empty() {
            leader.settled().await?;
            let gone = order_removal(leader, remove)?;
            if !gone.is_empty() {
                leader.act(Act::Replicas(gone)).await?;
            }
        }
        Ok(())
    }
}

/// Orders remains to be removed; answers those whose minion was removed, which are gone. What counts
/// again meanwhile stays, and what is just looked at.
fn order_removal(
    leader: &Leader,
    remove: Vec<(BlockId, Vec<MinionId>, u32)>,
) -> Result<Vec<(BlockId, MinionId, ReplicaNews)>, FsError> {
    let mut gone = Vec::new();
    for (block, minions, placement) in remove {
        let row = leader.reader.block(block)?;
        if row.is_none_or(|row| row.placement != placement) {
            continue;
        }
        let roster = leader.roster.lock();
        let mut desk = leader.desk.lock();
        for minion in minions {
            match roster.get(minion) {
                Some(_) if desk.copies(minion, block) => {}
                Some(_) => desk.issue(minion, block, Task::Drop { placement }),
                None => gone.push((block, minion, ReplicaNews::Dropped { placement })),
            }
        }
    }
    Ok(gone)
}

/// Orders copies of the most endangered blocks from minions that have time.
pub(super) async fn go_on(leader: &Leader) -> Result<(), FsError> {
    let now = leader.now();
    let given_up = {
        let roster = leader.roster.lock();
        let mut heals = leader.heals.lock();
        heals.give_up(now, |minion| !roster.is_alive(minion))
    };
    for (block, minion) in given_up {
        tracing::info!(%block, %minion, "a copy was not made in time");
        leader.desk.lock().withdraw(minion, block);
    }
    let next: Vec<BlockId> = leader.heals.lock().next(now).take(LOOKED_AT).collect();
    if next.is_empty() {
        return Ok(());
    }
    let (carers, wanted) = carers(leader);
    let mut settled = false;
    for block in next {
        let row = leader.reader.block(block)?;
        let damaged = |minion| leader.damaged.lock().contains(&(block, minion));
        let found = row.as_ref().map(|row| care(row, wanted, &carers, damaged));
        let (Some(row), Some(Care::Copy { left, to, from })) = (&row, found) else {
            leader.heals.lock().unwant(block);
            continue;
        };
        let free = |minion: &&MinionId| !leader.heals.lock().is_busy(**minion);
        let Some(to) = to.iter().find(free).copied() else {
            continue;
        };
        if !settled {
            // Orders follow only what a power cut cannot take back.
            leader.settled().await?;
            settled = true;
        }
        order(leader, (block, row), left, to, &from);
    }
    Ok(())
}

fn order(
    leader: &Leader,
    (block, row): (BlockId, &BlockRow),
    left: usize,
    to: MinionId,
    from: &[MinionId],
) {
    let Some(length) = row.sealed() else { return };
    let sources = {
        let roster = leader.roster.lock();
        let addresses = |minion: &MinionId| {
            let member = roster.get(*minion);
            member.map_or_else(Vec::new, |m| m.registration.addresses.clone())
        };
        from.iter()
            .map(|minion| (*minion, addresses(minion)))
            .collect()
    };
    tracing::debug!(%block, %to, ?from, "a copy is to be made");
    let task = Task::Copy {
        session: row.session,
        length,
        urgent: left <= 1,
        sources,
    };
    leader.heals.lock().begin(block, to, leader.now());
    leader.desk.lock().issue(to, block, task);
}
