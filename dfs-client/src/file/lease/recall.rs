//! What happens to a file when the master wants a lease on it back: what was written is committed,
//! what others have from here is forgotten, and only then does the client say so.

use super::Forgetting;
use crate::file::{File, state::State};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// What was written is committed within so long, or kept and committed later: others can wait no
/// longer, and it must not be lost for that.
const COMMIT_WAIT: Duration = Duration::from_secs(20);

/// Nothing takes longer: then reads that wait are answered, and a second time later it is given up.
const FORGET_WAIT: Duration = Duration::from_secs(1);

impl File {
    /// Others want to know what was written, or are about to change the file and, perhaps, its
    /// `bytes`: nothing more is written until [`File::give_up`]. Answers whether the audience has bytes
    /// to forget; it forgets the attributes with them.
    pub(crate) fn is_recalled(&self, bytes: bool) -> bool {
        let leased = self.is_leased();
        let mut state = self.state.lock();
        state.sharing = true;
        // Of a file that is not open nobody uses bytes before the next open, which tells whether
        // they are right.
        if bytes && state.handles > 0 {
            state.forgetting = Some(Forgetting::everything(leased));
        }
        state.forgetting.is_some()
    }

    /// Answers a recall. Of what was written, all is committed when this is done; where `changes`, all
    /// that is known of the file is asked for again before it is used, and what others have from
    /// here of its bytes they have forgotten, if it was said that they have to.
    pub(crate) async fn give_up(self: &Arc<Self>, changes: bool, lease: Option<u64>) {
        self.give_up_locks().await;
        self.commit_all().await;
        self.forget_bytes().await;
        // The kernel sends what was written through mappings before it forgets it.
        self.commit_all().await;
        let mut state = self.state.lock();
        state.given_up = state.given_up.max(lease.unwrap_or(0));
        state.claimed &= state.granted > state.given_up && lease.is_some();
        state.sharing = false;
        state.forgetting = None;
        state.moved |= changes;
        drop(state);
        self.progress.notify_waiters();
    }

    async fn commit_all(self: &Arc<Self>) {
        if !self.is_unsent() {
            return;
        }
        match timeout(COMMIT_WAIT, self.flush()).await {
            // What failed is noted at the file.
            Ok(_) => {}
            Err(_) => tracing::warn!(
                inode = %self.inode,
                "others do not see what was written here: it cannot be sent now"
            ),
        }
    }

    async fn forget_bytes(&self) {
        if self.state.lock().forgetting.is_none() {
            return;
        }
        self.core.audience.settle(self.inode).await;
        self.state.lock().part_waiting();
        let since = Instant::now();
        loop {
            let range = self.state.lock().forgetting.as_mut().map(Forgetting::next);
            let Some(Some(range)) = range else {
                return;
            };
            // Who waits and holds some of this is answered now.
            self.progress.notify_waiters();
            while !self.core.audience.forget_bytes(self.inode, range).await {
                if self.state.lock().skip_waiting() {
                    break;
                }
                if since.elapsed() > FORGET_WAIT * 2 {
                    tracing::warn!(inode = %self.inode, "the kernel does not forget {range:?}");
                    return;
                }
                if since.elapsed() > FORGET_WAIT {
                    self.state.lock().answer_all();
                    self.progress.notify_waiters();
                }
            }
        }
    }
}

impl State {
    /// What writes that wait may hold is forgotten apart.
    fn part_waiting(&mut self) {
        let part = |all: &mut Forgetting| self.waiting.iter().for_each(|w| all.part(w.range));
        self.forgetting.iter_mut().for_each(part);
    }

    /// What is being forgotten is held up: goes around what a write that waits may hold; answers
    /// whether that is a way on.
    fn skip_waiting(&mut self) -> bool {
        let mut writes = self.waiting.iter();
        let forgetting = self.forgetting.as_mut();
        forgetting.is_some_and(|all| writes.any(|w| all.skip(w.range, !w.read)))
    }

    fn answer_all(&mut self) {
        if let Some(forgetting) = &mut self.forgetting {
            forgetting.yield_to_all();
        }
    }
}
