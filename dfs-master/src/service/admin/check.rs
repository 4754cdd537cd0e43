//! What `dfs check` asks: the blocks as they should be, care for replicas that are not, and whether the
//! tables fit together.

use crate::{
    engine::{
        audit::{Mend, Run, with_place},
        command::{Act, Outcome},
        leader::Leader,
        reader::{BlockRow, BlockState, ReplicaHealth},
    },
    repair::missing,
    service::control::ControlService,
};
use dfs_host::threads;
use dfs_proto::{
    block::ReplicaState,
    error::FsError,
    id::{BlockId, MinionId},
    service::{
        BLOCKS_PER_ANSWER_MAX, BlockRecord, HELD_PER_ANSWER_MAX, ReplicaRecord, Standing,
        TablesCheck, TablesWish,
    },
    session::BadReplica,
};
use std::{sync::Arc, time::Duration};

/// Files that are named of each block.
const INODES: usize = 4;
/// Blocks between two pauses for others.
const AT_ONCE: usize = 16;
/// What one command puts right.
const MENDS: usize = 256;
/// An answer comes after so long, whether there is news or not.
const HANG: Duration = Duration::from_secs(1);

fn many(what: &str, most: u32) -> FsError {
    FsError::Invalid(format!("too many {what} at once: {most} at the most"))
}

/// A page of all blocks.
pub(super) async fn blocks(
    leader: &Leader,
    after: BlockId,
    limit: u32,
) -> Result<Vec<BlockRecord>, FsError> {
    let limit = usize::try_from(limit.min(BLOCKS_PER_ANSWER_MAX)).expect("few");
    let page = leader.reader.blocks(after, limit)?;
    let mut records = Vec::with_capacity(page.len());
    for (n, (block, row)) in page.into_iter().enumerate() {
        records.push(record(leader, block, &row)?);
        if n % AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(records)
}

/// These blocks, as far as they are there.
pub(super) async fn blocks_of(
    leader: &Leader,
    blocks: Vec<BlockId>,
) -> Result<Vec<BlockRecord>, FsError> {
    if blocks.len() > BLOCKS_PER_ANSWER_MAX as usize {
        return Err(many("blocks", BLOCKS_PER_ANSWER_MAX));
    }
    let mut records = Vec::with_capacity(blocks.len());
    for (n, block) in blocks.into_iter().enumerate() {
        if let Some(row) = leader.reader.block(block)? {
            records.push(record(leader, block, &row)?);
        }
        if n % AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(records)
}

fn record(leader: &Leader, block: BlockId, row: &BlockRow) -> Result<BlockRecord, FsError> {
    let named_end = match row.state {
        BlockState::Open => leader.reader.named_end(block)?,
        BlockState::Sealed(_) | BlockState::Reclaiming => 0,
    };
    let replicas = row.replicas.iter().map(|(minion, health)| ReplicaRecord {
        minion: *minion,
        standing: match health {
            ReplicaHealth::Writing => Standing::Writing,
            ReplicaHealth::Whole => Standing::Whole,
            ReplicaHealth::Lost => Standing::Lost,
        },
    });
    let stay = leader.roster.lock().staying();
    let usual = usize::try_from(leader.copies(None).wanted).unwrap_or(usize::MAX);
    let copies = row.wants.copies(usual, stay);
    Ok(BlockRecord {
        block,
        sealed: row.sealed(),
        goes: row.state == BlockState::Reclaiming,
        named_end,
        punched: row.punched,
        placement: row.placement,
        copies: u32::try_from(copies).unwrap_or(u32::MAX),
        replicas: replicas.collect(),
        ordered: leader.desk.lock().minions_of(block),
        inodes: leader.reader.users(block, INODES)?,
    })
}

/// Replicas that are not what they should be are looked after, as if their minions had told.
pub(super) async fn heal(leader: &Arc<Leader>, bad: Vec<BadReplica>) -> Result<(), FsError> {
    if bad.len() > BLOCKS_PER_ANSWER_MAX as usize {
        return Err(many("replicas", BLOCKS_PER_ANSWER_MAX));
    }
    let control = ControlService::of(Arc::clone(leader));
    let mut news = Vec::new();
    leader.settled().await?;
    for one in bad {
        let BadReplica {
            block,
            minion,
            why,
            damaged,
        } = one;
        let Some(row) = leader.reader.block(block)? else {
            continue;
        };
        if damaged {
            tracing::warn!(%block, %minion, "a check found a damaged replica: {why}");
            leader.note_damaged(block, minion);
        } else if row.state == BlockState::Open {
            leader.ending.lock().insert(block);
        } else if !leader.desk.lock().waits(minion, block) {
            tracing::warn!(%block, %minion, "a check missed a replica: {why}");
            control.act_on(minion, block, missing(minion, &row), &mut news)?;
        }
        let left = row.counting().count().saturating_sub(1);
        leader.heals.lock().want(block, left);
    }
    control.tell(news).await
}

/// What a minion holds is compared, but for what it is working on.
pub(super) async fn compare(
    leader: &Arc<Leader>,
    minion: MinionId,
    mut held: Vec<ReplicaState>,
) -> Result<(), FsError> {
    if held.len() > HELD_PER_ANSWER_MAX as usize {
        return Err(many("replicas", HELD_PER_ANSWER_MAX));
    }
    if leader.roster.lock().get(minion).is_none() {
        return Err(FsError::UnknownMinion(minion));
    }
    leader.settled().await?;
    held.retain(|replica| !leader.desk.lock().waits(minion, replica.block));
    let control = ControlService::of(Arc::clone(leader));
    let mut news = Vec::new();
    control.compare(minion, &held, &mut news)?;
    control.tell(news).await
}

/// Begins a check of the tables, or joins the one that is under way; how far it is.
pub(super) async fn tables(leader: &Arc<Leader>, wish: TablesWish) -> Result<TablesCheck, FsError> {
    let run = match wish.run {
        Some(number) => leader.checks.get(number).ok_or_else(|| {
            FsError::Invalid(format!("check {number} is over: another one began since"))
        })?,
        None => {
            let totals = leader.reader.totals()?;
            let of = totals.inodes + totals.blocks;
            let (run, fresh) = leader.checks.begin(of, &leader.clock);
            if fresh {
                tokio::spawn(carry_out(Arc::clone(leader), Arc::clone(&run), wish));
            }
            run
        }
    };
    let asked = threads::blocking(move || run.ask(HANG)).await;
    asked.map_err(|error| FsError::Unavailable(error.to_string()))
}

async fn carry_out(leader: Arc<Leader>, run: Arc<Run>, wish: TablesWish) {
    let mended = check_and_mend(&leader, &run, wish).await;
    run.end(mended.map_err(|error| error.to_string()));
}

async fn check_and_mend(
    leader: &Arc<Leader>,
    run: &Arc<Run>,
    wish: TablesWish,
) -> Result<u64, FsError> {
    // The first may have been begun before what is asked about.
    for _ in 0..2 {
        let begun = leader.group.checkpoint().await;
        begun.map_err(|error| FsError::Unavailable(error.to_string()))?;
        let reader = leader.reader.clone();
        let written = threads::blocking(move || reader.await_checkpoint()).await;
        written.map_err(|error| FsError::Unavailable(error.to_string()))?;
    }
    let (reader, carried) = (leader.reader.clone(), Arc::clone(run));
    let looking = threads::blocking(move || carried.carry_out(&reader, wish.hurry));
    let mends: Vec<Mend> = looking
        .await
        .map_err(|error| FsError::Unavailable(error.to_string()))?;
    if !wish.repair {
        return Ok(0);
    }
    let mends = with_place(mends, || leader.ids.inode());
    let mut mended = 0;
    for part in mends.chunks(MENDS) {
        mend(leader, part).await?;
        mended += part.len() as u64;
    }
    Ok(mended)
}

/// Puts right what is so still; whoever keeps anything of it has forgotten it before.
async fn mend(leader: &Leader, part: &[Mend]) -> Result<(), FsError> {
    let touch = leader.touch_mends(part).await?;
    let known = leader.proposer.propose(Act::Mend(part.to_vec())).await;
    let (_, outcome) = known.inspect_err(|_| leader.abandon(&touch))?;
    leader.touched(&touch, false);
    match outcome {
        Outcome::Refused(error) => Err(error),
        _ => Ok(()),
    }
}
