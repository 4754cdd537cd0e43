//! Directories that were listed, as far as they were, from the beginning.
//!
//! A listing is of one version of its directory, and is asked for only while the directory's
//! attributes are leased, and so its version is the one that holds.

use dfs_proto::{
    attr::Attr,
    id::InodeId,
    view::{Cookie, Entry, Listing},
};
use lru::LruCache;
use parking_lot::Mutex;

/// Entries of all directories, above which the one used longest ago is given up.
const ENTRIES_MAX: usize = 262_144;

#[derive(Debug, Default)]
struct Listed {
    version: u64,
    /// In the order of their cookies, without attributes.
    entries: Vec<Entry>,
    complete: bool,
}

#[derive(Debug)]
struct World {
    directories: LruCache<InodeId, Listed>,
    entries: usize,
}

/// The listings.
#[derive(Debug)]
pub(crate) struct Listings(Mutex<World>);

impl Default for Listings {
    fn default() -> Listings {
        Listings(Mutex::new(World {
            directories: LruCache::unbounded(),
            entries: 0,
        }))
    }
}

impl Listings {
    /// At most `limit` entries after a cookie, of a directory that is so now; `None` if none is
    /// known and there may be some.
    pub(crate) fn part(&self, directory: &Attr, after: Cookie, limit: usize) -> Option<Listing> {
        let mut world = self.0.lock();
        let listed = world.directories.get(&directory.inode)?;
        if listed.version != directory.data_version {
            return None;
        }
        let from = listed.entries.partition_point(|e| e.cookie <= after);
        let rest = &listed.entries[from..];
        let some = &rest[..rest.len().min(limit)];
        let complete = listed.complete && some.len() == rest.len();
        (complete || !some.is_empty()).then(|| Listing {
            entries: some.to_vec(),
            complete,
        })
    }

    /// Takes in what a directory of this version was told to have after a cookie.
    pub(crate) fn learn(&self, directory: &Attr, after: Cookie, told: &Listing) {
        let mut world = self.0.lock();
        let inode = directory.inode;
        let known = world.directories.get(&inode);
        let goes_on = known.is_some_and(|listed| {
            let last = listed.entries.last().map_or(0, |last| last.cookie);
            listed.version == directory.data_version && last == after
        });
        if !goes_on {
            if after != 0 {
                return;
            }
            let fresh = Listed {
                version: directory.data_version,
                ..Listed::default()
            };
            let gone = world.directories.put(inode, fresh);
            world.entries -= gone.map_or(0, |listed| listed.entries.len());
        }
        world.entries += told.entries.len();
        if let Some(listed) = world.directories.get_mut(&inode) {
            let bare = told.entries.iter().map(|entry| Entry {
                attr: None,
                ..entry.clone()
            });
            listed.entries.extend(bare);
            listed.complete = told.complete;
        }
        while world.entries > ENTRIES_MAX {
            let gone = world.directories.pop_lru();
            world.entries -= gone.map_or(0, |(_, listed)| listed.entries.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::attrs::tests::attr;
    use dfs_proto::{attr::FileKind, name::Name};
    use proptest::prelude::*;

    fn entry(cookie: Cookie) -> Entry {
        Entry {
            cookie,
            name: Name::new(format!("n{cookie}").as_bytes()).expect("a name"),
            inode: InodeId(cookie),
            kind: FileKind::File,
            attr: None,
        }
    }

    /// What the master would tell: the oracle.
    fn part(all: &[Entry], after: Cookie, limit: usize) -> Listing {
        let rest: Vec<Entry> = all.iter().filter(|e| e.cookie > after).cloned().collect();
        Listing {
            complete: rest.len() <= limit,
            entries: rest.into_iter().take(limit).collect(),
        }
    }

    proptest! {
        /// Whatever was learned in whatever parts, what is told is what the master would tell, or
        /// the beginning of it.
        #[test]
        fn a_listing_is_told_as_the_master_would(
            cookies in prop::collection::btree_set(1_u64..200, 0..60),
            asked in prop::collection::vec((0_u64..200, 1_usize..20), 1..40),
        ) {
            let all: Vec<Entry> = cookies.into_iter().map(entry).collect();
            let listings = Listings::default();
            let directory = attr(7, 0);
            let mut next = 0;
            for (after, limit) in asked {
                let told = part(&all, next, limit);
                listings.learn(&directory, next, &told);
                next = told.entries.last().map_or(next, |last| last.cookie);
                prop_assert!(listings.part(&attr(8, 0), after, limit).is_none());
                if let Some(found) = listings.part(&directory, after, limit) {
                    let wanted = part(&all, after, limit);
                    prop_assert!(wanted.entries.starts_with(&found.entries));
                    prop_assert!(!found.complete || found == wanted);
                }
            }
        }
    }

    #[test]
    fn the_listing_used_longest_ago_makes_room() {
        let listings = Listings::default();
        let of = |inode| Attr {
            inode: InodeId(inode),
            ..attr(1, 0)
        };
        let many = Listing {
            entries: (1..=100_000).map(entry).collect(),
            complete: true,
        };
        for inode in 1..=3 {
            listings.learn(&of(inode), 0, &many);
        }
        assert!(listings.part(&of(1), 0, 10).is_none());
        assert!(listings.part(&of(2), 0, 10).is_some());
        assert!(
            listings
                .part(&of(3), 100_000, 10)
                .is_some_and(|end| end.complete)
        );
    }
}
