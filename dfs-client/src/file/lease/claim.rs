//! The write lease: with it, bytes are written without telling anybody before they are committed.

use crate::{
    error::Error,
    file::{File, state::State},
    link::{Source, Told},
};
use dfs_proto::{id::SessionId, service::MasterClient};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// How long a lease that is asked back may take to arrive and to be used.
const USE_WAIT: Duration = Duration::from_secs(1);

/// Whoever writes all the time keeps a lease that others claim for so long: about what it takes to
/// pass it on and have the kernel forget, which many writes pay for then instead of each one.
const HELD_MIN: Duration = Duration::from_millis(10);

/// Who has not written for so long does not write all the time.
const PAUSE_MAX: Duration = Duration::from_micros(500);

/// Between two looks whether it still does.
const LOOK: Duration = Duration::from_millis(1);

/// A write that the write lease was claimed for: what is given up waits for it, a moment.
struct Owed<'a>(&'a File);

impl Owed<'_> {
    fn of(file: &File) -> Owed<'_> {
        file.state.lock().owed += 1;
        Owed(file)
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        let Owed(file) = self;
        file.state.lock().owed -= 1;
        file.progress.notify_waiters();
    }
}

impl File {
    /// Whether bytes may be written now, without asking.
    pub(crate) fn may_write(&self) -> bool {
        let claimed = self.state.lock().may_write();
        claimed && !self.core.master.lease.left(self.core.now()).is_zero()
    }

    /// Writes as [`File::put`] does, once this client holds the write lease; there is no room taken
    /// for the bytes yet. Answers where they went.
    pub(crate) async fn write(
        self: &Arc<Self>,
        offset: Option<u64>,
        data: &[u8],
        kill_privileges: bool,
    ) -> Result<u64, Error> {
        let len = u32::try_from(data.len()).expect("at most a few MiB");
        let until = Instant::now() + self.core.settings.operation_timeout;
        self.settled().await?;
        let mut may = self.may_write();
        loop {
            // Before it may be asked back, so that each lease is worth a write.
            self.core.room(len).await?;
            let claimed = match may {
                true => None,
                false => match self.claim(until).await {
                    Ok(owed) => Some(owed),
                    Err(error) => {
                        self.core.give_back(u64::from(len));
                        return Err(error);
                    }
                },
            };
            let put = self.put(offset, data, kill_privileges, true);
            drop(claimed);
            if let Some(at) = put? {
                return Ok(at);
            }
            may = false;
        }
    }

    /// Asks for the write lease. It may be gone again by the time that this returns.
    async fn claim(&self, until: Instant) -> Result<Owed<'_>, Error> {
        let gave_up = || self.gave_up("the write lease");
        let claiming = timeout_at(until, self.claiming.lock()).await;
        let _one_for_all = claiming.map_err(|_| gave_up())?;
        if self.may_write() {
            return Ok(Owed::of(self));
        }
        // What is being given back is not asked for before it is.
        let given_back = |file: &File| !file.state.lock().sharing;
        self.wait_until(given_back, until, "others to see what was written")
            .await?;
        self.settled().await?;
        self.check_lost()?;
        let inode = self.inode;
        let claim = |client: MasterClient, context, session: SessionId| async move {
            client.claim(context, session, inode).await
        };
        let asked = self.core.master.ask("the write lease", claim);
        let told = timeout_at(until, asked).await.map_err(|_| gave_up())?;
        let Told {
            source,
            writes,
            answer,
        } = told?;
        self.core.attrs.learn(&answer.attr, source, self.core.now());
        self.learn(answer, source.index);
        let owed = Owed::of(self);
        self.is_claimed(source, writes);
        self.progress.notify_waiters();
        Ok(owed)
    }

    /// Takes in the write lease that an answer came with, unless that was given up since.
    pub(crate) fn is_claimed(&self, source: Source, writes: Option<u64>) {
        let attrs = &self.core.attrs;
        let keeps = |stamp| attrs.keeps_claim(self.inode, stamp);
        let Some(number) = writes.filter(|_| source.stamp.is_some_and(keeps)) else {
            return;
        };
        let now = self.core.now();
        let mut state = self.state.lock();
        if number > state.granted {
            state.granted = number;
            state.granted_at = now;
        }
        state.claimed |= number > state.given_up && !state.session.ended.is_cancelled();
    }

    /// A lease of this number is asked back: it is on its way, if it has not come, and has yet to be
    /// used. Waits for that, a moment.
    pub(crate) async fn has_used(&self, number: u64) {
        let used = |file: &File| {
            let state = file.state.lock();
            let coming = state.granted < number && file.claiming.try_lock().is_err();
            !coming && state.owed == 0
        };
        let until = Instant::now() + USE_WAIT;
        if self.wait_until(used, until, "a write").await.is_err() {
            tracing::debug!(inode = %self.inode, "a write lease was not used");
        }
    }

    /// A lease of this number is claimed by another: it is worth giving up. Waits for that, a moment.
    pub(crate) async fn has_used_up(&self, number: u64) {
        self.has_used(number).await;
        let goes_on = |state: &State, now: Duration| {
            let held = now.saturating_sub(state.granted_at);
            let pause = now.saturating_sub(state.written_at);
            state.granted == number && held < HELD_MIN && pause < PAUSE_MAX
        };
        while goes_on(&self.state.lock(), self.core.now()) {
            sleep(LOOK).await;
        }
    }
}
