//! Directories whose names the kernel may go on answering from its pages.
//!
//! The kernel puts the names that it is told into pages of the directory, and a later reading is
//! answered from those if its open says that they may be kept. An open that does not say so empties
//! them. So they are right if all that was told since such an open was of one version of the directory,
//! and that is the version of now. They are kept for a moment only: what the kernel was told of the
//! entries themselves it may not use for long, and asking for each is slower than reading all anew.

use dfs_proto::id::InodeId;
use lru::LruCache;
use parking_lot::Mutex;
use std::{num::NonZeroUsize, time::Duration};

/// Directories that are remembered.
const DIRECTORIES_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// How long the names may be kept.
const KEPT: Duration = Duration::from_secs(4);

#[derive(Debug)]
struct Filled {
    version: u64,
    /// When it was emptied.
    since: Duration,
}

/// What the kernel does with the names of a directory that is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// It asks for them each time.
    Asked,
    /// It asks, and keeps what it is told for the next reading.
    Kept,
    /// It has them.
    Known,
}

/// What the kernel's pages of directories were filled with.
#[derive(Debug)]
pub(crate) struct Listed(Mutex<LruCache<InodeId, Filled>>);

impl Default for Listed {
    fn default() -> Listed {
        Listed(Mutex::new(LruCache::new(DIRECTORIES_MAX)))
    }
}

impl Listed {
    /// A directory is opened, `now`, which is of this version, if that is certain.
    pub(crate) fn opens(&self, directory: InodeId, version: Option<u64>, now: Duration) -> Names {
        let mut listed = self.0.lock();
        let Some(version) = version else {
            listed.pop(&directory);
            return Names::Asked;
        };
        let kept = listed.get(&directory).is_some_and(|filled| {
            filled.version == version && now.saturating_sub(filled.since) < KEPT
        });
        if kept {
            return Names::Known;
        }
        let since = now;
        listed.put(directory, Filled { version, since });
        Names::Kept
    }

    /// The kernel is told names of a directory, of this version if that is certain.
    pub(crate) fn tells(&self, directory: InodeId, version: Option<u64>) {
        let mut listed = self.0.lock();
        let filled = listed.peek(&directory);
        if filled.is_some_and(|filled| version != Some(filled.version)) {
            listed.pop(&directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: InodeId = InodeId(7);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn names_are_known_while_all_of_them_are_of_the_version_of_now() {
        let listed = Listed::default();
        let opens = |version, now| listed.opens(DIRECTORY, version, at(now));
        assert_eq!(opens(Some(1), 0), Names::Kept);
        listed.tells(DIRECTORY, Some(1));
        assert_eq!(opens(Some(1), 1), Names::Known);
        assert_eq!(listed.opens(InodeId(8), Some(1), at(1)), Names::Kept);
        assert_eq!(opens(Some(2), 1), Names::Kept, "it has changed");
        assert_eq!(opens(Some(2), 2), Names::Known);
        assert_eq!(opens(None, 2), Names::Asked);
        assert_eq!(opens(Some(2), 2), Names::Kept, "it was emptied");
    }

    #[test]
    fn names_of_another_version_spoil_them() {
        for spoilt in [Some(1), None] {
            let listed = Listed::default();
            let opens = || listed.opens(DIRECTORY, Some(2), at(0));
            opens();
            // From a reading that began before.
            listed.tells(DIRECTORY, spoilt);
            assert_eq!([opens(), opens()], [Names::Kept, Names::Known]);
        }
    }

    #[test]
    fn names_are_not_known_for_long() {
        let listed = Listed::default();
        let opens = |now| listed.opens(DIRECTORY, Some(1), at(now));
        assert_eq!([opens(0), opens(3)], [Names::Kept, Names::Known]);
        assert_eq!([opens(4), opens(7)], [Names::Kept, Names::Known]);
    }
}
