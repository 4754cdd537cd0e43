//! Attributes and names, as the master last told them.
//!
//! Answers are given for as long as they are fresh; an older one is kept, to tell at the next open
//! whether what the kernel was told still holds. Answers can overtake each other: the one with the
//! larger log index wins.

use dfs_proto::{attr::Attr, id::InodeId, name::Name};
use lru::LruCache;
use parking_lot::Mutex;
use std::{num::NonZeroUsize, time::Duration};

const INODES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
const NAMES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

#[derive(Debug)]
struct Known {
    attr: Attr,
    index: u64,
    at: Duration,
    /// The data version that pages in the kernel are right for.
    pages: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Named {
    inode: Option<InodeId>,
    at: Duration,
}

/// What an open should do about what the kernel has cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reopened {
    /// Cached pages are right.
    pub(crate) keep_pages: bool,
    /// Size or version moved since they were last answered.
    pub(crate) moved: bool,
}

/// The cache of attributes and names.
#[derive(Debug)]
pub(crate) struct Attrs {
    fresh_for: Duration,
    inodes: Mutex<LruCache<InodeId, Known>>,
    names: Mutex<LruCache<(InodeId, Name), Named>>,
}

impl Attrs {
    /// Answers are fresh for this long.
    pub(crate) fn new(fresh_for: Duration) -> Attrs {
        Attrs {
            fresh_for,
            inodes: Mutex::new(LruCache::new(INODES_MAX)),
            names: Mutex::new(LruCache::new(NAMES_MAX)),
        }
    }

    /// The attributes of an inode, if they are fresh.
    pub(crate) fn attr(&self, inode: InodeId, now: Duration) -> Option<Attr> {
        let mut inodes = self.inodes.lock();
        let known = inodes.get(&inode)?;
        (known.at + self.fresh_for > now).then(|| known.attr.clone())
    }

    /// The attributes of an inode, however old.
    pub(crate) fn old_attr(&self, inode: InodeId) -> Option<Attr> {
        self.inodes.lock().peek(&inode).map(|k| k.attr.clone())
    }

    /// Takes in attributes that were true at log index `index`.
    pub(crate) fn learn(&self, attr: &Attr, index: u64, now: Duration) {
        let mut inodes = self.inodes.lock();
        if let Some(known) = inodes.get_mut(&attr.inode) {
            if known.index <= index {
                known.attr.clone_from(attr);
                known.index = index;
                known.at = now;
            }
            return;
        }
        let known = Known {
            attr: attr.clone(),
            index,
            at: now,
            pages: None,
        };
        inodes.put(attr.inode, known);
    }

    /// Takes in the attributes after an own commit that was based on data version `base`: pages
    /// that were right before are right now, because the kernel has the same writes.
    pub(crate) fn learn_own(&self, attr: &Attr, base: u64, index: u64, now: Duration) {
        self.learn(attr, index, now);
        let mut inodes = self.inodes.lock();
        if let Some(known) = inodes.get_mut(&attr.inode) {
            let only_ours = attr.data_version == base + 1 || attr.data_version == base;
            if known.pages == Some(base) && only_ours {
                known.pages = Some(attr.data_version);
            }
        }
    }

    /// Takes in what a file is at the moment it is opened; `told_size` is the size that the kernel
    /// knows, with what was written and not yet committed.
    pub(crate) fn open(&self, attr: &Attr, index: u64, now: Duration) -> Reopened {
        let mut inodes = self.inodes.lock();
        let before = inodes
            .peek(&attr.inode)
            .map(|k| (k.attr.data_version, k.attr.size, k.pages));
        let reopened = Reopened {
            keep_pages: before.is_some_and(|(_, _, pages)| pages == Some(attr.data_version)),
            moved: before != Some((attr.data_version, attr.size, before.and_then(|b| b.2))),
        };
        let known = Known {
            attr: attr.clone(),
            index,
            at: now,
            pages: Some(attr.data_version),
        };
        inodes.put(attr.inode, known);
        reopened
    }

    /// What a name names: `None` if that is not known, `Some(None)` if it names nothing.
    pub(crate) fn name(
        &self,
        parent: InodeId,
        name: &Name,
        now: Duration,
    ) -> Option<Option<InodeId>> {
        let mut names = self.names.lock();
        let named = names.get(&(parent, name.clone()))?;
        (named.at + self.fresh_for > now).then_some(named.inode)
    }

    /// Takes in what a name names.
    pub(crate) fn learn_name(
        &self,
        parent: InodeId,
        name: &Name,
        inode: Option<InodeId>,
        now: Duration,
    ) {
        let key = (parent, name.clone());
        self.names.lock().put(key, Named { inode, at: now });
    }

    /// Forgets a name.
    pub(crate) fn forget_name(&self, parent: InodeId, name: &Name) {
        self.names.lock().pop(&(parent, name.clone()));
    }

    /// Has every question go to the master.
    pub(crate) fn age_all(&self) {
        self.names.lock().clear();
        for (_, known) in self.inodes.lock().iter_mut() {
            known.at = Duration::ZERO;
            known.index = 0;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use dfs_proto::{attr::FileKind, time::Timestamp};

    pub(in crate::cache) fn attr(data_version: u64, size: u64) -> Attr {
        Attr {
            inode: InodeId(5),
            kind: FileKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            links: 1,
            size,
            stored: 0,
            rdev: 0,
            atime: Timestamp::EPOCH,
            mtime: Timestamp::EPOCH,
            ctime: Timestamp::EPOCH,
            btime: Timestamp::EPOCH,
            data_version,
            truncations: 0,
            xattrs: 0,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_answer_is_given_while_it_is_fresh_and_the_later_one_wins() {
        let cache = Attrs::new(SECOND);
        cache.learn(&attr(2, 10), 7, SECOND);
        cache.learn(&attr(1, 5), 6, SECOND);
        assert_eq!(cache.attr(InodeId(5), SECOND).map(|a| a.size), Some(10));
        assert_eq!(cache.attr(InodeId(5), SECOND * 2), None);
        assert_eq!(cache.old_attr(InodeId(5)).map(|a| a.size), Some(10));
    }

    #[test]
    fn pages_are_kept_over_own_writes_and_dropped_after_those_of_others() {
        let cache = Attrs::new(SECOND);
        let first = cache.open(&attr(1, 5), 1, SECOND);
        assert!(!first.keep_pages);
        let again = cache.open(&attr(1, 5), 1, SECOND);
        assert_eq!(
            again,
            Reopened {
                keep_pages: true,
                moved: false
            }
        );
        cache.learn_own(&attr(2, 9), 1, 2, SECOND);
        let again = cache.open(&attr(2, 9), 2, SECOND);
        assert_eq!(
            again,
            Reopened {
                keep_pages: true,
                moved: false
            }
        );
        let other = cache.open(&attr(3, 9), 3, SECOND);
        assert_eq!(
            other,
            Reopened {
                keep_pages: false,
                moved: true
            }
        );
        cache.learn(&attr(4, 9), 4, SECOND);
        let other = cache.open(&attr(4, 9), 4, SECOND);
        assert_eq!(
            other,
            Reopened {
                keep_pages: false,
                moved: false
            }
        );
    }
}
