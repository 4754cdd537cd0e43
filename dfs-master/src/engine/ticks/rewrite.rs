//! Rewriting worn blocks: a minion copies, its copy is sealed, and then it takes the old one's place.

use crate::{
    cluster::{Wish, choose},
    engine::{
        command::{Act, Outcome, RewriteStep},
        leader::Leader,
        reader::{BlockRow, moves},
    },
    lease::Touched,
    repair::{Rewrite, Stage},
};
use dfs_proto::{
    error::FsError,
    extent::BLOCK_BYTES_MAX,
    id::{BlockId, InodeId, MinionId, SessionId},
    minion::Task,
    session::Event,
};
use std::time::Duration;

/// A minion may copy for so long, and replicas may take so long to be sealed.
const STAGE_MAX: Duration = Duration::from_secs(120);
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
    let fit = |minion: &MinionId| {
        let alive = leader.roster.lock().is_alive(*minion);
        alive && !leader.damaged.lock().contains(&(source, *minion))
    };
    let fit: Vec<MinionId> = row.counting().map(|(of, _)| *of).filter(fit).collect();
    let free = |minion: &&MinionId| !leader.rewrites.lock().is_busy(**minion);
    let Some(by) = fit.iter().find(free).copied() else {
        return Ok(if fit.is_empty() {
            Begun::Never
        } else {
            Begun::Soon
        });
    };
    let block = leader.ids.block();
    let Some(replicas) = place(leader, block, by, row.counting().count()) else {
        return Ok(Begun::Never);
    };
    let sources = leader.reader.alive(source)?;
    if sources.is_empty() {
        return Ok(Begun::Never);
    }
    let session = leader.ids.session();
    let rewrite = Rewrite {
        session,
        by,
        source,
        moves: moves(&sources),
        stage: Stage::Copying,
        since: now,
    };
    // Before the block is there: it is not one whose writer is gone.
    leader.rewrites.lock().begin(block, rewrite);
    let begun = step(leader, block, session, RewriteStep::Begin(replicas.clone())).await;
    if let Err(error) = begun {
        leader.rewrites.lock().give_up(block, now);
        return Err(error);
    }
    tracing::debug!(%source, %block, %by, "rewriting a worn block");
    let chain = {
        let roster = leader.roster.lock();
        let others = replicas.iter().filter(|minion| **minion != by);
        let addresses = |minion: &MinionId| {
            let member = roster.get(*minion);
            member.map_or_else(Vec::new, |m| m.registration.addresses.clone())
        };
        others.map(|minion| (*minion, addresses(minion))).collect()
    };
    leader.settled().await;
    let task = Task::Rewrite {
        session,
        sources,
        chain,
    };
    leader.desk.lock().issue(by, block, task);
    Ok(Begun::Soon)
}

/// Minions for the new block, as many as have the old one at the least, the one that copies first.
fn place(leader: &Leader, block: BlockId, by: MinionId, copies: usize) -> Option<Vec<MinionId>> {
    let wish = Wish {
        copies: leader.copies(),
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
    let Some(rewrite) = leader.rewrites.lock().end(block) else {
        return Ok(());
    };
    let mut files = 0;
    for moves in rewrite.moves.chunks(MOVES_AT_ONCE) {
        let swap = RewriteStep::Swap(moves.to_vec());
        let changed = step(leader, block, rewrite.session, swap).await?;
        files += changed.len();
        recall(leader, rewrite.session, changed);
    }
    let source = rewrite.source;
    tracing::debug!(%source, %block, files, "a worn block was rewritten");
    Ok(())
}

fn recall(leader: &Leader, session: SessionId, files: Vec<InodeId>) {
    let touched = files.into_iter().map(|inode| Touched {
        inode,
        directory: false,
        names: Vec::new(),
        content: false,
    });
    let begun = {
        let mut leases = leader.leases.lock();
        let begun = leases.begin(session, touched.collect(), leader.now());
        leases.end(&begun, false, leader.now());
        begun
    };
    for (other, recall) in begun.recalls {
        leader.seats.lock().tell(other, Event::Recall(recall));
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
