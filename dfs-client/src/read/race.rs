//! One read of a block: asked of the best replica, and of the next one when that is late.
//!
//! The first good answer wins, and who lost is told on the wire that nobody waits any more. A replica
//! is late when it has taken longer than nearly all its reads do; then the budget of extra reads says
//! whether another may be asked (a cluster that is slow because it has too much to do is not given
//! more). Who has answered nothing at all for a while is passed over in any case: what is frozen is
//! no busier for it. Every piece is verified against its checksum once, when it arrives.

use crate::{
    cache::Run,
    link::{Counts, Failure, MinionFailure, Minions, Order, PATIENCE_MAX},
};
use dfs_proto::{block::BlockPlace, checksum::Crc32c, id::MinionId, service::BlockBytes};
use futures::{StreamExt, stream::FuturesUnordered};
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, time::sleep};

/// One replica may take so long.
const ATTEMPT_MAX: Duration = Duration::from_secs(3);

/// Between two looks at whether the budget allows more, or a minion has answered anything.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What is read.
#[derive(Clone, Copy)]
pub(crate) struct Range<'a> {
    pub(crate) place: &'a BlockPlace,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Range<'_> {
    fn bytes(&self) -> u32 {
        self.end - self.start
    }
}

/// A replica that was asked.
#[derive(Clone, Copy)]
struct Asked {
    minion: MinionId,
    at: Duration,
    /// Another is asked when it has not answered by then.
    late_at: Duration,
}

/// Reads a range from the first replica that brings it; otherwise how each one failed, which `report`
/// was told at once.
pub(crate) async fn race(
    minions: &Arc<Minions>,
    range: Range<'_>,
    runtime: &Handle,
    report: impl Fn(&MinionFailure),
) -> Result<Run, Vec<MinionFailure>> {
    let Order { replicas, trial } = minions.order(range.place, range.bytes());
    if let Some(minion) = trial {
        attempt_unwaited(minions, range, runtime, minion);
    }
    let mut untried = replicas.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut waiting: Vec<Asked> = Vec::new();
    let mut failures: Vec<MinionFailure> = Vec::new();
    loop {
        if attempts.is_empty() {
            let Some(minion) = untried.next() else {
                return Err(failures);
            };
            waiting.push(ask(minions, range, minion));
            attempts.push(attempt(minions, range, minion));
        }
        let last = *waiting.last().expect("at least one attempt is under way");
        tokio::select! {
            biased;
            Some((minion, outcome)) = attempts.next() => {
                let hedged = waiting.first().is_some_and(|first| first.minion != minion);
                waiting.retain(|asked| asked.minion != minion);
                match outcome {
                    Ok(run) => {
                        if hedged {
                            Counts::count(&minions.counts.won);
                        }
                        lose(minions, range, &waiting);
                        return Ok(run);
                    }
                    Err(failure) => {
                        report(&failure);
                        failures.push(failure);
                    }
                }
            }
            () = lateness(minions, last), if untried.len() > 0 => {
                if let Some(minion) = untried.next() {
                    waiting.push(ask(minions, range, minion));
                    attempts.push(attempt(minions, range, minion));
                }
            }
        }
    }
}

fn ask(minions: &Minions, range: Range<'_>, minion: MinionId) -> Asked {
    let at = minions.now();
    let late_at = at + minions.patience(minion, range.place, range.bytes());
    Asked {
        minion,
        at,
        late_at,
    }
}

/// Notes of those who were late that another was faster; of others it says nothing.
fn lose(minions: &Minions, range: Range<'_>, waiting: &[Asked]) {
    let now = minions.now();
    for asked in waiting.iter().filter(|asked| asked.late_at <= now) {
        minions.lost(asked.minion, range.bytes(), asked.at);
    }
}

/// Waits until another replica is to be asked, too, because this one is late.
async fn lateness(minions: &Minions, asked: Asked) {
    sleep(asked.late_at.saturating_sub(minions.now())).await;
    while !minions.may_ask_more() {
        let waited = minions.now().saturating_sub(asked.at);
        if waited >= PATIENCE_MAX && !minions.has_answered(asked.minion, asked.at) {
            return minions.passed_over(asked.minion);
        }
        sleep(
            LOOK_AGAIN
                .min(PATIENCE_MAX.saturating_sub(waited))
                .max(LOOK_AGAIN / 10),
        )
        .await;
    }
}

async fn attempt(
    minions: &Minions,
    range: Range<'_>,
    minion: MinionId,
) -> (MinionId, Result<Run, MinionFailure>) {
    let Range { place, start, end } = range;
    let read = minions.read(minion, place, start, end, ATTEMPT_MAX);
    let verified = read.await.and_then(|bytes| {
        verify(bytes, start, end).map_err(|why| MinionFailure {
            minion,
            failure: Failure::Damaged(why),
        })
    });
    (minion, verified)
}

/// Reads from a minion to see how long it takes; what it brings is of no use to anybody, but how it
/// fails is noted as ever.
fn attempt_unwaited(minions: &Arc<Minions>, range: Range<'_>, runtime: &Handle, minion: MinionId) {
    let (minions, place) = (minions.clone(), range.place.clone());
    let (start, end) = (range.start, range.end);
    runtime.spawn(async move {
        let range = Range {
            place: &place,
            start,
            end,
        };
        if let (minion, Err(failure)) = attempt(&minions, range, minion).await {
            tracing::debug!(%minion, "a trial of a slow minion: {failure}");
        }
    });
}

/// The run of an answer, if it is contiguous, covers what was asked for, and is undamaged.
fn verify(answer: BlockBytes, start: u32, end: u32) -> Result<Run, String> {
    let BlockBytes { pieces, bytes } = answer;
    let bytes = bytes.joined();
    let begin = pieces.first().map_or(start, |p| p.block_offset);
    let (mut next, mut at) = (begin, 0);
    for piece in &pieces {
        let offset = piece.block_offset;
        let payload = bytes.get(at..at + piece.len as usize);
        let Some(payload) = payload.filter(|_| offset == next) else {
            return Err(format!("the piece at {offset} is not contiguous"));
        };
        if Crc32c::of(payload) != piece.crc {
            return Err(format!("the piece at {offset} does not match its checksum"));
        }
        next = piece.block_end();
        at += payload.len();
    }
    let run = Run::of(begin, bytes.slice(..at)).filter(|run| run.covers(start, end));
    run.ok_or_else(|| format!("it does not cover [{start}, {end})"))
}
