//! What reads set, in the model: the latest access time of those that saw the inode as it is.

use crate::plain::{Answer, Plain};
use dfs_proto::{change::Access, time::Timestamp};

impl Plain {
    pub(crate) fn access(&mut self, now: Timestamp, accesses: &[Access]) -> Answer {
        for access in accesses {
            let Some(inode) = self.inodes.get_mut(&access.inode) else {
                continue;
            };
            if inode.ctime == access.ctime {
                let latest = now.max(inode.ctime);
                inode.atime = inode.atime.max(access.atime.min(latest));
            }
        }
        Ok(())
    }
}
