//! Attributes are set in order with what was written: after all that came before is committed, also
//! what is cut off next, because until that is done it is there for whoever reads.

use super::state::File;
use crate::{
    error::Error,
    link::{Source, Told},
};
use dfs_proto::{
    attr::{Attr, SetAttr},
    change::{Change, Changed},
    view::View,
};
use std::sync::Arc;

impl File {
    /// Sets attributes, size included.
    pub(crate) async fn setattr(self: &Arc<Self>, set: SetAttr) -> Result<Attr, Error> {
        self.flush().await?;
        let _lane = self.lane.lock().await;
        // What another thread wrote meanwhile and a flush took has its place before.
        self.commit_held(false).await?;
        let resized = set.size;
        let change = Change::SetAttr {
            inode: self.inode,
            set,
        };
        let told = self.core.master.change(&self.session(), change).await?;
        let Told { source, answer, .. } = told;
        let Changed::Attr(attr) = answer else {
            return Err(Error::Unfitting("to SetAttr".to_owned()));
        };
        self.changed(&attr, source, |state| {
            if let Some(size) = resized {
                state.content.resize(size);
            }
        });
        Ok(self.attr())
    }

    /// Truncates to nothing while opening, in one change; answers the file afterwards.
    pub(crate) async fn open_truncated(
        self: &Arc<Self>,
        kill_privileges: bool,
    ) -> Result<(View, Source), Error> {
        self.flush().await?;
        let _lane = self.lane.lock().await;
        self.commit_held(false).await?;
        let change = Change::Open {
            inode: self.inode,
            truncate: true,
            kill_privileges,
        };
        let told = self.core.master.change(&self.session(), change).await?;
        let Changed::Opened(view) = told.answer else {
            return Err(Error::Unfitting("to Open".to_owned()));
        };
        self.learn(view.clone(), told.source.index);
        self.is_claimed(told.source, told.writes);
        Ok((view, told.source))
    }
}
