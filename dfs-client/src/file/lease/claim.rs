//! The write lease: with it, bytes are written without telling anybody before they are committed.

use crate::{
    error::Error,
    file::File,
    link::{Source, Told},
};
use dfs_proto::{extent::FileRange, id::SessionId, service::MasterClient};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// A write that waits. The kernel may hold its pages meanwhile.
pub(crate) struct Waiting<'a> {
    file: &'a File,
    range: FileRange,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.file.state.lock();
        let at = state.waiting.iter().position(|one| *one == self.range);
        if let Some(at) = at {
            state.waiting.swap_remove(at);
        }
    }
}

impl File {
    /// Whether bytes may be written now, without asking.
    pub(crate) fn may_write(&self) -> bool {
        let claimed = self.state.lock().may_write();
        claimed && !self.core.master.lease.left(self.core.now()).is_zero()
    }

    /// A write of `range` may wait from now on, until what is returned is dropped.
    pub(crate) fn waits(&self, range: FileRange) -> Waiting<'_> {
        self.state.lock().waiting.push(range);
        Waiting { file: self, range }
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
            if !may {
                self.claim(until).await?;
            }
            self.core.room(len).await?;
            if let Some(at) = self.put(offset, data, kill_privileges, true)? {
                return Ok(at);
            }
            may = false;
        }
    }

    /// Asks for the write lease. It may be gone again by the time that this returns.
    async fn claim(&self, until: Instant) -> Result<(), Error> {
        let gave_up = || self.gave_up("the write lease");
        let claiming = timeout_at(until, self.claiming.lock()).await;
        let _one_for_all = claiming.map_err(|_| gave_up())?;
        if self.may_write() {
            return Ok(());
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
        self.is_claimed(source, writes);
        Ok(())
    }

    /// Takes in whether an answer came with the write lease, unless that was asked back since.
    pub(crate) fn is_claimed(&self, source: Source, writes: bool) {
        let attrs = &self.core.attrs;
        let kept = writes
            && source
                .stamp
                .is_some_and(|s| attrs.keeps_claim(self.inode, s));
        let mut state = self.state.lock();
        state.claimed |= kept && !state.sharing && !state.session.ended.is_cancelled();
    }
}
