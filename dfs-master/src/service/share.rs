//! Write leases: asked for by who is about to write, and shared with who wants to know what was
//! written.
//!
//! A session with the write lease on a file answers for it alone. Before anybody else is told
//! anything of the file, the writer is asked to commit what it has; who does not answer is fenced, and
//! what it had not committed is lost with its session.

use crate::{
    engine::leader::Leader,
    lease::{Heard, Lend, Touched, Writer},
    namespace::lookup,
    tables::{
        rows::OpenRow,
        txn::{Rows, View as TablesView},
    },
};
use dfs_proto::{
    change::Logged,
    error::FsError,
    id::{InodeId, SessionId},
    session::Event,
    view::View,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a claim waits for those before it.
const CLAIMS_WAIT: Duration = Duration::from_secs(60);
/// How often a claim is tried, at the most, before its session has to ask again.
const CLAIM_ROUNDS: u32 = 8;
/// How long who wants to keep bytes waits for the changes of others.
const CHANGES_WAIT: Duration = Duration::from_secs(10);
/// How long a writer that renews its session may take to commit what it has.
const SHARE_MAX: Duration = Duration::from_secs(60);

/// An answer with something beside it, which is not told.
fn split<T, Beside>(logged: Logged<(T, Beside)>) -> (Logged<T>, Beside) {
    let Logged {
        index,
        leased,
        writes,
        answer: (answer, beside),
    } = logged;
    let logged = Logged {
        index,
        leased,
        writes,
        answer,
    };
    (logged, beside)
}

impl Leader {
    /// What the tables answer to a session, which holds leases on the inodes that `of` names from
    /// then on, if it can. Others that write to them share that before.
    pub(super) async fn read<T, Inodes: IntoIterator<Item = InodeId>>(
        &self,
        session: SessionId,
        heard: Option<u64>,
        read: impl Fn(&TablesView<'_>) -> Result<T, FsError>,
        of: impl Fn(&T) -> Inodes,
    ) -> Result<Logged<T>, FsError> {
        let until = Instant::now() + CHANGES_WAIT;
        // Who has yet to forget what an earlier leader leased to it is answered from that, at once:
        // it may be waiting for the answer in order to forget.
        let lends = self.keeps_nothing(session);
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            eased.as_mut().enable();
            let before = self.before();
            let mut lend = Lend::NotKept;
            let read = |view: &TablesView<'_>| {
                let answer = read(view)?;
                let waits = lends && before.may_have_written(view, of(&answer))?;
                Ok((answer, waits))
            };
            let answer = self.reader.lent(read, |(answer, waits)| {
                if lends && !waits {
                    lend = self.lend(session, of(answer), heard);
                }
                lend == Lend::Kept
            })?;
            let (answer, waits) = split(answer);
            if waits {
                before.changes().await;
                continue;
            }
            match lend {
                Lend::Kept | Lend::NotKept => return Ok(answer),
                Lend::Written(written) => self.share(session, &written).await,
                Lend::Changing => {
                    if timeout_at(until, eased).await.is_err() {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// Has the writers of these files commit what they have; afterwards they are writers no more,
    /// unless they ask again.
    pub(super) async fn share(&self, session: SessionId, written: &[InodeId]) {
        let mut told = Vec::with_capacity(written.len());
        for inode in written {
            let writer = self.leases.lock().writer(*inode, session);
            let Some(Writer {
                session: writer,
                claim,
                asked,
            }) = writer
            else {
                continue;
            };
            let number = match asked {
                Some(number) => Some(number),
                None => {
                    let number = self.seats.lock().tell(writer, Event::Share(*inode, claim));
                    if let Some(number) = number {
                        self.leases.lock().asked(*inode, claim, number);
                    }
                    number
                }
            };
            told.push((*inode, writer, claim, number));
        }
        for (inode, writer, claim, number) in told {
            match number {
                Some(number) => {
                    self.has_shared(writer, number).await;
                    self.leases.lock().shared(inode, claim);
                }
                None => self.leases.lock().closed(writer, &[inode]),
            }
        }
    }

    /// Waits until a writer has acknowledged an event, having committed what it had before; fences
    /// it if it is silent, or takes too long.
    pub(super) async fn has_shared(&self, writer: SessionId, number: u64) {
        let late = self.now() + SHARE_MAX;
        loop {
            let now = self.now();
            let heard = self.seats.lock().heard(writer, number, now);
            match heard {
                Heard::Yes => return,
                Heard::NotYet(mut change, until) if now < late => {
                    let wait = until.min(late).saturating_sub(now);
                    let _ = timeout(wait, change.changed()).await;
                }
                Heard::Silent | Heard::NotYet(..) => {
                    tracing::info!(
                        session = %writer,
                        "session wrote what others ask for, and does not answer: fenced"
                    );
                    if let Err(error) = self.end_session(writer).await {
                        tracing::warn!(session = %writer, "could not be fenced: {error}");
                    }
                }
            }
        }
    }

    /// Gives a session the write lease on a file, if nobody came in between, and answers what the
    /// file is.
    pub(super) async fn claim(
        &self,
        session: SessionId,
        inode: InodeId,
    ) -> Result<Logged<View>, FsError> {
        let turns = self.claims.lock().entry(inode).or_default().clone();
        let claimed = match timeout(CLAIMS_WAIT, turns.lock()).await {
            Ok(_turn) => self.claim_next(session, inode).await,
            Err(_) => Err(FsError::Unavailable(
                "earlier writers of the file".to_owned(),
            )),
        };
        let mut claims = self.claims.lock();
        // Nobody else waits, nor can come while the table is held.
        if Arc::strong_count(&turns) == 2 {
            claims.remove(&inode);
        }
        claimed
    }

    /// Where a writer has to commit what it had, that comes in between: then it is tried again.
    async fn claim_next(
        &self,
        session: SessionId,
        inode: InodeId,
    ) -> Result<Logged<View>, FsError> {
        let mut rounds = 0;
        loop {
            let claimed = self.try_claim(session, inode).await;
            self.eased.notify_waiters();
            rounds += 1;
            match claimed {
                Ok(viewed) if viewed.writes.is_none() && rounds < CLAIM_ROUNDS => {}
                claimed => return claimed,
            }
        }
    }

    async fn try_claim(&self, session: SessionId, inode: InodeId) -> Result<Logged<View>, FsError> {
        self.everyone_is_confirmed().await;
        let touched = Touched {
            inode,
            directory: false,
            names: Vec::new(),
            content: true,
        };
        let begun = self.begin(session, vec![touched], false).await;
        let (mut ended, mut writes) = (false, None);
        let viewed = self.reader.lent(
            |view| {
                // The next leader looks for writers among those that have the file open.
                let is_open = view.has::<OpenRow>((session, inode))?;
                Ok((lookup::view(view, inode)?, is_open))
            },
            |(_, is_open)| {
                let mut leases = self.leases.lock();
                let kept = leases.end(&begun, true, self.now());
                ended = true;
                writes = match kept && *is_open {
                    true => leases.claim(session, inode),
                    false => None,
                };
                kept
            },
        );
        if !ended {
            self.leases.lock().end(&begun, false, self.now());
        }
        let (viewed, _) = split(viewed?);
        Ok(Logged { writes, ..viewed })
    }
}
