//! Names that a directory is known not to have.
//!
//! Before it makes a file, the kernel asks whether the name is there. In a directory that this
//! client made itself, and in which nobody else has changed anything since, it knows the answer:
//! each answer to a change carries the directory's data version, which counts the changes, and
//! where the versions of the own changes leave no gap there were no others. It is asked only while
//! the directory's attributes are leased, and so its version is the one that holds.
//!
//! Of the names that are there only a hash is kept, and none is ever taken out: what is found
//! here is asked for, what is not found is not there.

use dfs_proto::{attr::Attr, id::InodeId, name::Name};
use lru::LruCache;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasher, RandomState},
    num::NonZeroUsize,
};

const DIRECTORIES_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Names of one directory, above which it is given up.
const NAMES_MAX: usize = 65_536;

/// Names of all directories, above which the one used longest ago is given up.
const ALL_NAMES_MAX: usize = 4 * NAMES_MAX;

/// Answers to changes that came before those of earlier ones, above which it is given up.
const EARLY_MAX: usize = 128;

#[derive(Debug, Default)]
struct Directory {
    names: HashSet<u64>,
    /// Every change up to this version was ours.
    version: u64,
    /// Versions above it that were ours too.
    early: BTreeSet<u64>,
}

#[derive(Debug)]
struct World {
    directories: LruCache<InodeId, Directory>,
    names: usize,
}

/// The directories that are known whole.
#[derive(Debug)]
pub(crate) struct Absences {
    hasher: RandomState,
    world: Mutex<World>,
}

impl Default for Absences {
    fn default() -> Absences {
        Absences {
            hasher: RandomState::new(),
            world: Mutex::new(World {
                directories: LruCache::new(DIRECTORIES_MAX),
                names: 0,
            }),
        }
    }
}

impl Absences {
    /// Whether `directory`, which is so now, has nothing under `name`; `false` where that is not
    /// known.
    pub(crate) fn is_absent(&self, directory: &Attr, name: &Name) -> bool {
        let hash = self.hasher.hash_one(name);
        let mut world = self.world.lock();
        let Some(known) = world.directories.get(&directory.inode) else {
            return false;
        };
        let whole = known.early.is_empty() && known.version == directory.data_version;
        whole && !known.names.contains(&hash)
    }

    /// This client made a directory: it is empty.
    pub(crate) fn made(&self, directory: &Attr) {
        let fresh = Directory {
            version: directory.data_version,
            ..Directory::default()
        };
        let mut world = self.world.lock();
        let gone = world.directories.push(directory.inode, fresh);
        world.names -= gone.map_or(0, |(_, d)| d.names.len());
    }

    /// This client changed a directory, which is now as `directory` says, and has `name` in it if
    /// something was put there.
    pub(crate) fn changed(&self, directory: &Attr, name: Option<&Name>) {
        let hash = name.map(|name| self.hasher.hash_one(name));
        let mut world = self.world.lock();
        let Some(known) = world.directories.peek_mut(&directory.inode) else {
            return;
        };
        known.early.insert(directory.data_version);
        while known.early.remove(&(known.version + 1)) {
            known.version += 1;
        }
        let added = hash.is_some_and(|hash| known.names.insert(hash));
        let too_much = known.names.len() > NAMES_MAX || known.early.len() > EARLY_MAX;
        world.names += usize::from(added);
        if too_much {
            world.forget(directory.inode);
        }
        while world.names > ALL_NAMES_MAX {
            let gone = world.directories.pop_lru();
            world.names -= gone.map_or(0, |(_, d)| d.names.len());
        }
    }

    /// Something may have happened to a directory that this client will not be told.
    pub(crate) fn doubt(&self, directory: InodeId) {
        self.world.lock().forget(directory);
    }

    /// Forgets everything.
    pub(crate) fn doubt_all(&self) {
        let mut world = self.world.lock();
        world.directories.clear();
        world.names = 0;
    }
}

impl World {
    fn forget(&mut self, directory: InodeId) {
        let gone = self.directories.pop(&directory);
        self.names -= gone.map_or(0, |d| d.names.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::attrs::tests::attr;
    use proptest::prelude::*;

    fn name(number: u8) -> Name {
        Name::new(format!("n{number}").as_bytes()).expect("a name")
    }

    fn known() -> Absences {
        let known = Absences::default();
        known.made(&attr(1, 0));
        known
    }

    #[test]
    fn what_was_put_there_is_not_absent_and_everything_else_is() {
        let known = known();
        let now = attr(2, 1);
        known.changed(&now, Some(&name(1)));
        assert!(!known.is_absent(&now, &name(1)));
        assert!(known.is_absent(&now, &name(2)));
        known.doubt(now.inode);
        assert!(!known.is_absent(&now, &name(2)));
    }

    #[test]
    fn a_change_by_another_ends_it() {
        let known = known();
        known.changed(&attr(2, 1), Some(&name(1)));
        assert!(!known.is_absent(&attr(3, 2), &name(2)));
        known.changed(&attr(4, 3), Some(&name(3)));
        assert!(!known.is_absent(&attr(4, 3), &name(2)));
    }

    proptest! {
        /// Own changes whose answers come in any order, and perhaps one of somebody else: once all
        /// are in, absence is known exactly where nobody else was there.
        #[test]
        fn answers_may_come_in_any_order(
            order in Just((0..40_u8).collect::<Vec<_>>()).prop_shuffle(),
            foreign in proptest::option::of(0..40_u8),
        ) {
            let known = known();
            for number in order {
                if Some(number) != foreign {
                    let now = attr(2 + u64::from(number), 1);
                    known.changed(&now, Some(&name(number)));
                }
            }
            let now = attr(41, 40);
            prop_assert_eq!(known.is_absent(&now, &name(41)), foreign.is_none());
            prop_assert!(!known.is_absent(&now, &name(7)));
        }
    }
}
