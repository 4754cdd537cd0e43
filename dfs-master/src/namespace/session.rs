//! Sessions: they begin, and when they end, everything that they held is let go.
//!
//! A session that held very much ends at once and is cleared in bounded steps.

use crate::{
    blocks::{seal, space},
    locks::held,
    namespace::open,
    tables::{
        key::{Key, all},
        rows::{OpenRow, ProgressRow, ReplyRow, SessionRow},
        txn::{Direction, Read, Rows, Txn},
    },
};
use dfs_proto::{
    error::FsError,
    id::{InodeId, SessionId},
    time::Timestamp,
};
use std::ops::ControlFlow;

/// Rows that the end of a session removes at once, at the most.
const ROWS_AT_ONCE_MAX: u32 = 4096;

/// Begins a session. Beginning it again is the same as once.
pub fn begin(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    host: &str,
    purpose: &str,
) -> Result<(), FsError> {
    if txn.has::<SessionRow>(session)? {
        return Ok(());
    }
    let row = SessionRow {
        host: host.to_owned(),
        purpose: purpose.to_owned(),
        opened: now,
        ended: false,
    };
    txn.insert(session, &row);
    txn.insert(session, &ProgressRow::default());
    space::count(txn, |totals| totals.sessions += 1)?;
    Ok(())
}

/// Whether a session is there and has not ended.
pub fn is_alive(read: &impl Rows, session: SessionId) -> Result<bool, FsError> {
    let row = read.row::<SessionRow>(session)?;
    Ok(row.is_some_and(|row| !row.ended))
}

/// Ends a session. One that is not there is passed over.
pub fn end(txn: &mut Txn<'_>, now: Timestamp, session: SessionId) -> Result<(), FsError> {
    let Some(mut row) = txn.row::<SessionRow>(session)? else {
        return Ok(());
    };
    if row.ended {
        return Ok(());
    }
    row.ended = true;
    txn.put(session, &row);
    space::count(txn, |totals| {
        totals.sessions = totals.sessions.saturating_sub(1);
    })?;
    seal::by_end_of_session(txn, now, session)?;
    // At once, whatever else is to be cleared: others wait for them.
    held::release_all(txn, session)?;
    clear(txn, now, session, ROWS_AT_ONCE_MAX)?;
    Ok(())
}

/// Removes at most `budget` rows of sessions that have ended; says how many of the budget are left.
pub fn clear_step(txn: &mut Txn<'_>, now: Timestamp, budget: u32) -> Result<u32, FsError> {
    let mut ended = Vec::new();
    txn.each(
        all::sessions().prefix(),
        Direction::Up,
        |key, row: SessionRow| {
            if let Key::Session(session) = key
                && row.ended
            {
                ended.push(session);
            }
            ControlFlow::Continue(())
        },
    )?;
    let mut left = budget;
    for session in ended {
        if left == 0 {
            break;
        }
        left = clear(txn, now, session, left)?;
    }
    Ok(left)
}

fn clear(
    txn: &mut Txn<'_>,
    now: Timestamp,
    session: SessionId,
    budget: u32,
) -> Result<u32, FsError> {
    let limit = usize::try_from(budget).expect("32 bits");
    let opens: Vec<InodeId> = txn.page(
        all::opens(session).prefix(),
        limit,
        |key, _: OpenRow| match key {
            Key::Open { inode, .. } => inode,
            _ => unreachable!("the range is of open inodes"),
        },
    )?;
    open::close(txn, now, session, &opens)?;
    let limit = limit - opens.len();
    let replies = reply_sequences(txn, session, limit)?;
    for sequence in &replies {
        txn.delete::<ReplyRow>((session, *sequence));
    }
    let left = limit - replies.len();
    if left > 0 {
        txn.delete::<SessionRow>(session);
    }
    Ok(u32::try_from(left).expect("below the budget"))
}

/// Sequences of the reply rows of a session, that of its progress included.
fn reply_sequences(txn: &Txn<'_>, session: SessionId, limit: usize) -> Result<Vec<u64>, FsError> {
    let mut sequences = Vec::new();
    if limit == 0 {
        return Ok(sequences);
    }
    let range = all::replies(session).prefix();
    txn.visit(&range, Direction::Up, &mut |key, _| {
        if let Key::Reply { sequence, .. } = Key::parse(key)? {
            sequences.push(sequence);
        }
        Ok(if sequences.len() < limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    })?;
    Ok(sequences)
}
