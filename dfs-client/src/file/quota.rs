//! What becomes of written bytes that a quota does not allow.
//!
//! The master refuses the commit; whoever wrote has been answered long ago and is told at the next
//! fsync or close, as of every error of write-behind. For a second after, who writes beyond the end
//! that is committed is told at once, so that a long copy ends soon and does not send all it has.
//! Bytes inside the file may replace others, and go on.

use super::state::{File, Met, State};
use crate::error::Error;
use dfs_proto::error::FsError;
use std::time::Duration;

/// How long a refusal is believed before it is tried again.
const BELIEVED: Duration = Duration::from_secs(1);

/// Whether the master refused because of a quota.
pub(super) fn is_quota(error: &Error) -> bool {
    matches!(
        error,
        Error::Refused(FsError::QuotaOfBytes { .. } | FsError::QuotaOfInodes { .. })
    )
}

impl State {
    /// Why bytes that end at `end` are not taken in, if they are not.
    pub(super) fn refuses(&mut self, end: u64, now: Duration) -> Option<FsError> {
        let truncations = self.attr.truncations;
        let over = |met: &Met| met.until <= now || met.truncations != truncations;
        if self.met.as_ref().is_some_and(over) {
            self.met = None;
        }
        let met = self.met.as_ref().filter(|_| end > self.attr.size)?;
        Some(met.refusal.clone())
    }

    /// Gives up what would grow the file beyond what is committed; of what does not, the batches up to
    /// `upto` where nothing else is left to blame. Answers how many bytes that were.
    fn give_up_growth(&mut self, upto: u64) -> u64 {
        let size = self.attr.size;
        let before = self.in_flight();
        let grows = self
            .batches
            .iter()
            .any(|b| b.number <= upto && b.end() > size);
        self.batches.retain(|b| match grows {
            true => b.end() <= size,
            false => b.number > upto,
        });
        let cut = match grows {
            true => self.dirty.cut(size),
            false => 0,
        };
        before - self.in_flight() + cut
    }
}

impl File {
    /// A quota refused the batches up to `upto`: notes it, to be told once by every handle.
    pub(super) fn met_quota(&self, error: &Error, upto: u64) {
        let mut state = self.state.lock();
        state.failed(error.clone());
        if let Error::Refused(refusal) = error {
            state.met = Some(Met {
                refusal: refusal.clone(),
                until: self.core.now() + BELIEVED,
                truncations: state.attr.truncations,
            });
        }
        let bytes = state.give_up_growth(upto);
        drop(state);
        tracing::debug!(inode = %self.inode, bytes, "written bytes are given up: {error}");
        self.core.give_back(bytes);
        // The kernel was told of a larger file, with these bytes in it.
        self.core.audience.forget_attributes(self.inode);
        self.core.audience.forget_content(self.inode);
        self.progress.notify_waiters();
    }
}
