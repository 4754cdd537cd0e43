//! Changes of a range that move no bytes, in order with what was written: after all that came before
//! is committed.

use super::state::{File, State};
use crate::{
    error::Error,
    link::{Source, Told},
};
use dfs_proto::{
    attr::Attr,
    change::{Change, Changed, RangeMode},
    extent::FileRange,
};
use std::sync::Arc;

impl File {
    /// Gives up the bytes of a range, or has the file reach to its end. Each step of it is seen
    /// whole; a file that is cut in very many extents takes several.
    pub(crate) async fn fallocate(
        self: &Arc<Self>,
        range: FileRange,
        mode: RangeMode,
        kill_privileges: bool,
    ) -> Result<(), Error> {
        self.settled().await?;
        self.flush().await?;
        let _lane = self.lane.lock().await;
        // What another thread wrote meanwhile and a flush took has its place before.
        self.commit_held(false).await?;
        let mut rest = range;
        loop {
            let change = Change::Fallocate {
                inode: self.inode,
                range: rest,
                mode,
                kill_privileges,
            };
            let told = self.core.master.change(&self.session(), change).await?;
            let Told { source, answer, .. } = told;
            let Changed::Ranged { attr, until } = answer else {
                return Err(Error::Unfitting("to Fallocate".to_owned()));
            };
            if until <= rest.start {
                return Err(Error::Unfitting("to Fallocate: nothing is done".to_owned()));
            }
            let done = FileRange {
                start: rest.start,
                end: until,
            };
            self.changed(&attr, source, |state| {
                if mode != RangeMode::Extend {
                    state.content.punch(done);
                }
            });
            if until >= rest.end {
                return Ok(());
            }
            rest.start = until;
        }
    }

    /// Takes in the answer to an own change of the content that is no commit: what is known follows,
    /// unless somebody else was there too. For who holds the lane.
    pub(super) fn changed(&self, attr: &Attr, source: Source, follow: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        let base = state.attr.data_version;
        if attr.data_version == base + 1 && !state.moved {
            follow(&mut state);
        } else if attr.data_version != base {
            // Inline bytes that are kept could be written back with a block, as if they were of
            // the version that is learned here.
            state.doubt();
        }
        if source.index > state.index {
            state.attr.clone_from(attr);
            state.index = source.index;
        }
        drop(state);
        self.core
            .attrs
            .learn_own(attr, base, source, self.core.now());
    }
}
