//! Rewriting worn blocks: a minion copies, its copy is sealed, and then it takes the old one's place.

use crate::{
    cluster::{Wish, choose},
    engine::{
        command::{Act, Outcome, RewriteStep},
        leader::Leader,
        reader::{BlockRow, Wants, moves},
    },
    repair::{Rewrite, Stage},
};
use dfs_proto::{
    block::Copies,
    error::FsError,
    extent::BLOCK_BYTES_MAX,
    id::{BlockId, InodeId, MinionId, SessionId},
    minion::{BlockRange, Task},
    session::{Event, Recall},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

/// A minion may copy for so long, and replicas may take so long to be sealed.
const STAGE_MAX: Duration = Duration::from_secs(500);
/// Ranges that take their new place in one step.
const MOVES_AT_ONCE: usize = 512;

/// What came of the wish to rewrite a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begun {
    /// It is under way, or will be when a minion has time.
    Soon,
    /// It cannot be done now: too few minions, too little space.
    Never,
}

/// Begins to rewrite a worn block, if a minion that has it is free.
pub(super) async fn begin(
    leader: &Leader,
    source: BlockId,
    row: &BlockRow,
) -> Result<Begun, FsError> {
    let now = leader.now();
    if leader.rewrites.lock().is_source(source) {
        return Ok(Begun::Soon);
    }
    if !leader.rewrites.lock().may_begin(source, now) {
        return Ok(Begun::Never);
    }
    let by = match free(leader, source, row) {
        Ok(by) => by,
        Err(begun) => return Ok(begun),
    };
    let sources = leader.reader.alive(source)?;
    let copies = (row.counting().count(), row.wants);
    copy(leader, by, copies, (source, None), sources).await
}

/// Begins to copy the stretch of a file that most extents of a block belong to, if it is cut into very
/// many, and a minion is free that has the most of it.
pub(super) async fn compact(
    leader: &Leader,
    source: BlockId,
    row: &BlockRow,
) -> Result<Begun, FsError> {
    let now = leader.now();
    if !leader.rewrites.lock().may_begin(source, now) {
        return Ok(Begun::Never);
    }
    let Some(cut) = leader.reader.cut(source)? else {
        return Ok(Begun::Never);
    };
    if !leader.rewrites.lock().may_compact(cut.inode, now) {
        return Ok(Begun::Never);
    }
    let by = match free(leader, source, row) {
        Ok(by) => by,
        Err(begun) => return Ok(begun),
    };
    let mut rows = BTreeMap::new();
    for extent in &cut.extents {
        if let Entry::Vacant(entry) = rows.entry(extent.block) {
            entry.insert(leader.reader.block(extent.block)?);
        }
    }
    let may = |block: BlockId| {
        let row = rows.get(&block).and_then(Option::as_ref);
        row.is_some_and(|row| {
            row.is_settled()
                && row.counting().any(|(of, _)| *of == by)
                && !leader.rewrites.lock().is_source(block)
                && !leader.damaged.lock().contains(&(block, by))
        })
    };
    let Some(sources) = cut.sources(may) else {
        return Ok(Begun::Never);
    };
    let copied = |range: &BlockRange| rows.get(&range.block).and_then(Option::as_ref);
    let copied = || sources.iter().filter_map(copied);
    let has = copied().map(|row| row.counting().count()).max();
    let wants = copied().fold(Wants::default(), |wants, row| wants.and(row.wants));
    let copies = (has.unwrap_or(0), wants);
    copy(leader, by, copies, (source, Some(cut.inode)), sources).await
}

/// A minion that has a block and does not copy already.
fn free(leader: &Leader, source: BlockId, row: &BlockRow) -> Result<MinionId, Begun> {
    let fit = |minion: &MinionId| {
        let alive = leader.roster.lock().is_alive(*minion);
        alive && !leader.damaged.lock().contains(&(source, *minion))
    };
    let fit: Vec<MinionId> = row.counting().map(|(of, _)| *of).filter(fit).collect();
    let free = |minion: &&MinionId| !leader.rewrites.lock().is_busy(**minion);
    match fit.iter().find(free) {
        Some(by) => Ok(*by),
        None if fit.is_empty() => Err(Begun::Never),
        None => Err(Begun::Soon),
    }
}

/// Makes the new block, and orders a minion to copy.
async fn copy(
    leader: &Leader,
    by: MinionId,
    copies: (usize, Wants),
    (source, file): (BlockId, Option<InodeId>),
    sources: Vec<BlockRange>,
) -> Result<Begun, FsError> {
    let now = leader.now();
    let block = leader.ids.block();
    let Some(replicas) = place(leader, block, by, copies) else {
        return Ok(Begun::Never);
    };
    if sources.is_empty() {
        return Ok(Begun::Never);
    }
    let session = leader.ids.session();
    let rewrite = Rewrite {
        session,
        by,
        source,
        file,
        sources: sources.iter().map(|range| range.block).collect(),
        moves: moves(&sources),
        stage: Stage::Copying,
        since: now,
    };
    // Before the block is there: it is not one whose writer is gone.
    leader.rewrites.lock().begin(block, rewrite);
    let begun = step(
        leader,
        block,
        session,
        RewriteStep::Begin(replicas.clone(), copies.1),
    )
    .await;
    if let Err(error) = begun {
        leader.rewrites.lock().give_up(block, now);
        return Err(error);
    }
    tracing::debug!(%source, %block, %by, ?file, "rewriting a worn block, or a file");
    let chain = {
        let roster = leader.roster.lock();
        let others = replicas.iter().filter(|minion| **minion != by);
        let addresses = |minion: &MinionId| {
            let member = roster.get(*minion);
            member.map_or_else(Vec::new, |m| m.registration.addresses.clone())
        };
        others.map(|minion| (*minion, addresses(minion))).collect()
    };
    leader.settled().await?;
    let task = Task::Rewrite {
        session,
        sources,
        chain,
    };
    leader.desk.lock().issue(by, block, task);
    Ok(Begun::Soon)
}

/// Minions for the new block, as many as are wanted and as have the old one at the least, the one that
/// copies first.
fn place(
    leader: &Leader,
    block: BlockId,
    by: MinionId,
    (copies, wants): (usize, Wants),
) -> Option<Vec<MinionId>> {
    let usual = leader.copies(None);
    let stay = leader.roster.lock().staying();
    let wanted = wants.copies(usize::try_from(usual.wanted).unwrap_or(usize::MAX), stay);
    let wanted = u32::try_from(wanted.max(copies)).unwrap_or(u32::MAX);
    let wish = Wish {
        copies: Copies {
            wanted,
            least: usual.least.min(wanted),
        },
        avoid: &[],
        near: Some(by),
        room: u64::from(BLOCK_BYTES_MAX),
        turn: block.0,
    };
    let candidates = leader.roster.lock().candidates();
    let chosen = choose(&candidates, &wish).ok()?;
    (chosen.first() == Some(&by) && chosen.len() >= copies).then_some(chosen)
}

/// The next step of each rewrite under way.
pub(super) async fn go_on(leader: &Leader) -> Result<(), FsError> {
    let stages = leader.rewrites.lock().stages();
    for (block, by, stage, since) in stages {
        let now = leader.now();
        let late = now.saturating_sub(since) > STAGE_MAX;
        match stage {
            Stage::Copying if !late && leader.roster.lock().is_alive(by) => {}
            Stage::Copied(length) => {
                let right = leader.rewrites.lock().get(block).map(|one| {
                    let right = one.length() == length;
                    right.then_some(one.session)
                });
                let Some(Some(session)) = right else {
                    leader.rewrites.lock().give_up(block, now);
                    continue;
                };
                step(leader, block, session, RewriteStep::End(length)).await?;
                leader.rewrites.lock().seal(block, now);
            }
            Stage::Sealing if !late => {
                let row = leader.reader.block(block)?;
                if row.is_some_and(|row| row.is_settled()) {
                    take_place(leader, block).await?;
                }
            }
            Stage::Copying | Stage::Sealing | Stage::Failed => {
                leader.rewrites.lock().give_up(block, now);
            }
        }
    }
    Ok(())
}

/// Points files at the new block, and tells who knows where their bytes were. Nobody is waited for:
/// the old block stays for longer than anyone uses what he was told.
async fn take_place(leader: &Leader, block: BlockId) -> Result<(), FsError> {
    let Some(rewrite) = leader.rewrites.lock().end(block, leader.now()) else {
        return Ok(());
    };
    let mut files = 0;
    for moves in rewrite.moves.chunks(MOVES_AT_ONCE) {
        let swap = RewriteStep::Swap(moves.to_vec());
        let changed = step(leader, block, rewrite.session, swap).await?;
        files += changed.len();
        recall(leader, changed);
    }
    let source = rewrite.source;
    tracing::debug!(%source, %block, files, "a worn block was rewritten");
    Ok(())
}

/// Has those who know where the bytes were ask again. What the files are has not changed, so nobody is
/// waited for and leases stay.
fn recall(leader: &Leader, files: Vec<InodeId>) {
    for inode in files {
        let holders = leader.leases.lock().holders(inode);
        for session in holders {
            let recall = Recall {
                inode,
                names: Vec::new(),
                whole: false,
                content: false,
                writes: None,
            };
            leader.seats.lock().tell(session, Event::Recall(recall));
        }
    }
}

async fn step(
    leader: &Leader,
    block: BlockId,
    session: SessionId,
    step: RewriteStep,
) -> Result<Vec<InodeId>, FsError> {
    let act = Act::Rewrite {
        block,
        session,
        step,
    };
    match leader.act(act).await? {
        Outcome::Swapped(files) => Ok(files),
        other => Err(crate::engine::leader::unexpected(&other)),
    }
}
