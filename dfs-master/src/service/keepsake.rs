//! What keepers and backups are sent.

use crate::{
    cluster::wants_snapshot,
    engine::leader::Leader,
    folder::Outdated,
    keepsake::Whom,
    raft::{GroupError, Kinship},
};
use dfs_proto::{
    error::FsError,
    id::MinionId,
    log::{
        BackupPart, KEEPSAKE_PART_MAX, Keep, Keeping, Kept, SnapshotPart, StreamSpot, record::Spot,
    },
    payload::Payload,
};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// How long a question hangs while there is nothing new.
const HANG: Duration = Duration::from_millis(2500);
/// How long a backup waits for the checkpoint that it is made of, and between two looks at that.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn stopped(error: GroupError) -> FsError {
    FsError::Unavailable(error.to_string())
}

/// What comes next for a minion, after what it has.
pub(super) async fn keep(leader: &Leader, keep: Keep) -> Result<Keeping, FsError> {
    let Keep {
        minion,
        incarnation,
        have,
    } = keep;
    let until = Instant::now() + HANG;
    if leader.roster.lock().current(minion, incarnation).is_none() {
        return Err(FsError::UnknownMinion(minion));
    }
    if let Some(later) = have
        .map(|have| have.epoch)
        .filter(|epoch| *epoch > leader.ids.boot())
    {
        leader
            .outdated
            .send_replace(Some(Outdated::Replaced(later)));
        return Err(FsError::Unavailable(
            "a later master has taken its place".to_owned(),
        ));
    }
    if let Some(have) = have
        && has_forgotten(leader, &have)?
    {
        tracing::error!(%minion, "a keeper has more of the log than this master: it was set back");
        leader.outdated.send_replace(Some(Outdated::Forgetful));
        return Err(FsError::Unavailable(
            "this master has lost a part of its log".to_owned(),
        ));
    }
    let (chosen, suffice) = {
        let mut keepers = leader.keepers.lock();
        keepers.hear(minion, have, leader.now());
        (keepers.is_chosen(minion), keepers.suffice())
    };
    leader.told.notify_waiters();
    if !chosen && have.is_some() && suffice {
        return Ok(Keeping::Others);
    }
    if !chosen {
        sleep_until(until).await;
        return Ok(Keeping::Nothing);
    }
    let mut synced = leader.group.synced();
    loop {
        synced.borrow_and_update();
        if let Some(answer) = next(leader, minion, have).await? {
            leader.metrics.note_keepsake(&answer);
            return Ok(answer);
        }
        if timeout_at(until, synced.changed()).await.is_err() {
            return Ok(Keeping::Nothing);
        }
    }
}

/// Whether a keeper has of the log what is not in it any more, though only what is synced is copied.
/// One that was made of another copy lacks what that had not.
fn has_forgotten(leader: &Leader, have: &Kept) -> Result<bool, FsError> {
    let since = leader.recovered.map_or(0, |(recovered, _)| recovered.boot);
    let kinship = leader.group.kinship(have);
    Ok(kinship.map_err(stopped)? == Kinship::Stranger && have.epoch >= since)
}

async fn next(
    leader: &Leader,
    minion: MinionId,
    have: Option<Kept>,
) -> Result<Option<Keeping>, FsError> {
    let epoch = leader.ids.boot();
    let group = &leader.group;
    let usable = match have.filter(|have| have.epoch <= epoch) {
        Some(have) => group.kinship(&have).map_err(stopped)? == Kinship::GoesOn,
        None => false,
    };
    let (from, anew) = match have.filter(|_| usable) {
        Some(have) => {
            let offset = have.end.offset.saturating_add(have.beyond);
            (Spot { offset, ..have.end }, false)
        }
        None => {
            let checkpointed = leader.reader.checkpointed().index;
            let segment = group.segment_after(checkpointed).map_err(stopped)?;
            (Spot { segment, offset: 0 }, true)
        }
    };
    let log = group.stretch(from, KEEPSAKE_PART_MAX).await;
    let log = log.map_err(stopped)?;
    // Log and snapshot take turns, so that neither holds up the other.
    let turn = log.is_none() || leader.keepers.lock().take_turn(minion);
    if let Some(have) = have.filter(|_| usable && turn)
        && let Some(part) = snapshot(leader, minion, &have).await?
    {
        return Ok(Some(Keeping::Snapshot { epoch, part }));
    }
    Ok(log.map(|(at, bytes)| Keeping::Log {
        epoch,
        anew,
        at,
        bytes: Payload(bytes),
    }))
}

/// The next part of the snapshot that a keeper is to have, if it is to have one.
async fn snapshot(
    leader: &Leader,
    minion: MinionId,
    have: &Kept,
) -> Result<Option<SnapshotPart>, FsError> {
    let (now, whom) = (leader.now(), Whom::Keeper(minion));
    if let Some(at) = have.arriving
        && let Some(part) = leader.outgoing.part(whom, at, now).await?
    {
        return Ok(Some(part));
    }
    if !wants_snapshot(have) || leader.reader.checkpointed().index == 0 {
        return Ok(None);
    }
    let rows = leader.reader.snapshot()?;
    let index = rows.position().index;
    let oldest = leader.group.segment_after(index).map_err(stopped)?;
    let (whom, at) = leader.outgoing.begin(Some(minion), rows, oldest, now)?;
    tracing::info!(%minion, index, "a snapshot goes to the keeper");
    leader.outgoing.part(whom, at, now).await
}

/// A part of a backup; the first one begins it, as of now.
pub(super) async fn backup(leader: &Leader, at: Option<StreamSpot>) -> Result<BackupPart, FsError> {
    let begun = match at {
        Some(at) => (Whom::Backup(at.stream), at),
        None => begin_backup(leader).await?,
    };
    let part = leader.outgoing.part(begun.0, begun.1, leader.now()).await?;
    let gone = || FsError::Invalid("this backup is not under way any more: begin again".to_owned());
    Ok(BackupPart {
        filesystem: leader.filesystem,
        part: part.ok_or_else(gone)?,
    })
}

async fn begin_backup(leader: &Leader) -> Result<(Whom, StreamSpot), FsError> {
    let upto = leader.reader.applied();
    let until = Instant::now() + CHECKPOINT_TIMEOUT;
    while leader.reader.checkpointed().index < upto {
        if let Some(why) = leader.reader.checkpoint_failure() {
            return Err(FsError::Unavailable(format!(
                "the tables cannot be written: {why}"
            )));
        }
        if Instant::now() > until {
            return Err(FsError::Unavailable(
                "the tables take too long to write".to_owned(),
            ));
        }
        leader.group.checkpoint().await.map_err(stopped)?;
        sleep(LOOK_AGAIN).await;
    }
    let rows = leader.reader.snapshot()?;
    let oldest = leader.group.segment_after(rows.position().index);
    let oldest = oldest.map_err(stopped)?;
    leader.outgoing.begin(None, rows, oldest, leader.now())
}
