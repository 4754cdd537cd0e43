//! Exactly once: a request that was applied is not applied again, however often it arrives (N2).
//!
//! A session numbers its requests, and says with each that all answers below some number have
//! arrived. Until then they are kept here, and a request that comes again gets the answer that it
//! got before.

use crate::{
    namespace::{lookup, session},
    tables::{
        damage::Damage,
        rows::{ProgressRow, Remembered, ReplyRow},
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    change::{Changed, OUTSTANDING_MAX, Ticket},
    error::FsError,
};

/// An answer and the log entry that made it true.
pub type Answered = (u64, Result<Changed, FsError>);

/// Whether a request is to be carried out.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are the large variant, and none lives long"
)]
pub enum Admission {
    /// It is new; the progress of its session is to be written with its answer.
    New(ProgressRow),
    /// It was answered before.
    Again(Answered),
    /// It is refused, and that is not remembered: under this ticket it stays what it was.
    Refused(FsError),
}

/// Looks whether a request is to be carried out. Changes nothing.
pub fn admit(txn: &Txn<'_>, ticket: Ticket) -> Result<Admission, FsError> {
    let Ticket {
        session, sequence, ..
    } = ticket;
    let progress = match txn.row::<ProgressRow>(session)? {
        Some(progress) if session::is_alive(txn, session)? => progress,
        Some(_) | None => return Ok(Admission::Refused(FsError::SessionEnded(session))),
    };
    let all_below = progress.all_below.max(ticket.all_below);
    if sequence < all_below || sequence == 0 {
        return Ok(Admission::Refused(FsError::AnswerDropped(sequence)));
    }
    if sequence - all_below >= OUTSTANDING_MAX {
        return Ok(Admission::Refused(FsError::TooManyOutstanding));
    }
    // A sequence above all others cannot have an answer yet.
    if sequence <= progress.highest
        && let Some(reply) = txn.row::<ReplyRow>((session, sequence))?
    {
        let answer = match reply.answer {
            Remembered::Answer(answer) => answer,
            Remembered::Opened(inode) => lookup::view(txn, inode).map(Changed::Opened),
        };
        return Ok(Admission::Again((reply.index, answer)));
    }
    Ok(Admission::New(progress))
}

/// Keeps the answer to a new request, and drops those that have arrived.
pub fn remember(
    txn: &mut Txn<'_>,
    ticket: Ticket,
    progress: ProgressRow,
    index: u64,
    answer: &Result<Changed, FsError>,
) -> Result<(), Damage> {
    let Ticket {
        session, sequence, ..
    } = ticket;
    let answer = match answer {
        Ok(Changed::Opened(view)) => Remembered::Opened(view.attr.inode),
        other => Remembered::Answer(other.clone()),
    };
    txn.insert((session, sequence), &ReplyRow { index, answer });
    // Sequences below the smallest that can be outstanding have no rows: the loop is bounded.
    let first = progress.all_below.max(1);
    for arrived in first..ticket.all_below.min(progress.highest + 1) {
        txn.delete::<ReplyRow>((session, arrived));
    }
    let progress = ProgressRow {
        all_below: progress.all_below.max(ticket.all_below),
        highest: progress.highest.max(sequence),
    };
    txn.put(session, &progress);
    Ok(())
}
