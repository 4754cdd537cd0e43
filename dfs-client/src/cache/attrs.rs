//! Attributes and names, as the master last told them.
//!
//! Answers are given for as long as they are leased; an older one is kept, to tell at the next open
//! whether what the kernel was told still holds. Answers can overtake each other: the one with the
//! larger log index wins. One that was asked for before a recall of its inode is not kept as leased,
//! whenever it comes.

use super::{accesses::Accesses, recalls::Recalls};
use crate::{
    audience::Audience,
    link::{Lease, Source},
};
use dfs_proto::{attr::Attr, id::InodeId, name::Name, session::Recall};
use lru::LruCache;
use parking_lot::Mutex;
use std::{collections::HashMap, num::NonZeroUsize, sync::Arc, time::Duration};

const INODES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
const NAMES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// The master forgets a lease some time after it was last given; this client a little earlier.
const LEASE_AGE: Duration = Duration::from_secs(270);

#[derive(Debug)]
struct Known {
    attr: Attr,
    index: u64,
    /// See [`Source::stamp`].
    stamp: Option<u64>,
    at: Duration,
    /// The data version that pages in the kernel are right for.
    pages: Option<u64>,
    /// Where it was last found; of a directory that is the one place, as long as it is leased.
    parent: Option<InodeId>,
}

#[derive(Debug, Clone, Copy)]
struct Named {
    inode: Option<InodeId>,
    index: u64,
    stamp: Option<u64>,
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
    lease: Arc<Lease>,
    /// Who keeps what was told, and is told what is not remembered here any more.
    audience: Arc<dyn Audience>,
    /// Of attributes, and of single names.
    recalls: Recalls,
    /// Of all names of a directory.
    whole: Recalls,
    /// Of write leases on files that are not open yet.
    claims: Recalls,
    /// What was read, beside what is known.
    pub(crate) accesses: Accesses,
    inodes: Mutex<LruCache<InodeId, Known>>,
    names: Mutex<LruCache<(InodeId, Name), Named>>,
}

impl Attrs {
    /// Answers are given while this lease holds.
    pub(crate) fn new(lease: Arc<Lease>, audience: Arc<dyn Audience>) -> Attrs {
        Attrs {
            lease,
            audience,
            recalls: Recalls::default(),
            whole: Recalls::default(),
            claims: Recalls::default(),
            accesses: Accesses::default(),
            inodes: Mutex::new(LruCache::new(INODES_MAX)),
            names: Mutex::new(LruCache::new(NAMES_MAX)),
        }
    }

    /// For how long something of this stamp and age may be answered; `None` if it may not.
    fn left(&self, stamp: Option<u64>, at: Duration, now: Duration) -> Option<Duration> {
        let kept = stamp.is_some_and(|stamp| self.lease.keeps(stamp));
        let left = self
            .lease
            .left(now)
            .min((at + LEASE_AGE).saturating_sub(now));
        (kept && !left.is_zero()).then_some(left)
    }

    /// Whether what was just told of an inode, beside its attributes, may be kept.
    pub(crate) fn keeps(&self, inode: InodeId, source: Source, now: Duration) -> bool {
        let keeps = |stamp: &u64| self.recalls.keeps(inode, *stamp);
        self.left(source.stamp.filter(keeps), now, now).is_some()
    }

    /// The attributes of an inode, if they may be answered, and for how long.
    pub(crate) fn attr(&self, inode: InodeId, now: Duration) -> Option<(Attr, Duration)> {
        let mut inodes = self.inodes.lock();
        let known = inodes.get(&inode)?;
        let left = self.left(known.stamp, known.at, now)?;
        Some((known.attr.clone(), left))
    }

    /// The attributes of an inode, however old.
    pub(crate) fn old_attr(&self, inode: InodeId) -> Option<Attr> {
        self.inodes.lock().peek(&inode).map(|k| k.attr.clone())
    }

    /// The directory that has directory `inode` as an entry, if it is known.
    pub(crate) fn parent(&self, inode: InodeId, now: Duration) -> Option<InodeId> {
        let mut inodes = self.inodes.lock();
        let known = inodes.get(&inode)?;
        self.left(known.stamp, known.at, now)?;
        known.parent
    }

    /// Takes in where an inode was found, right after its attributes.
    pub(crate) fn learn_parent(&self, inode: InodeId, parent: InodeId) {
        // Recalled in between, it may have moved since.
        let mut inodes = self.inodes.lock();
        if let Some(known) = inodes
            .peek_mut(&inode)
            .filter(|known| known.stamp.is_some())
        {
            known.parent = Some(parent);
        }
    }

    /// The inodes that something is known of.
    pub(crate) fn inodes(&self) -> Vec<InodeId> {
        self.inodes.lock().iter().map(|(inode, _)| *inode).collect()
    }

    /// The names that something is known of, by their directories.
    pub(crate) fn names(&self) -> Vec<(InodeId, Vec<Name>)> {
        let mut by_directory: HashMap<InodeId, Vec<Name>> = HashMap::new();
        for ((parent, name), _) in self.names.lock().iter() {
            by_directory.entry(*parent).or_default().push(name.clone());
        }
        by_directory.into_iter().collect()
    }

    /// The names of one directory that something is known of.
    pub(crate) fn names_in(&self, directory: InodeId) -> Vec<Name> {
        let names = self.names.lock();
        let inside = names.iter().filter(|((parent, _), _)| *parent == directory);
        inside.map(|((_, name), _)| name.clone()).collect()
    }

    /// Takes in attributes.
    pub(crate) fn learn(&self, attr: &Attr, source: Source, now: Duration) {
        let mut inodes = self.inodes.lock();
        let keeps = |stamp: &u64| self.recalls.keeps(attr.inode, *stamp);
        let stamp = source.stamp.filter(keeps);
        if let Some(known) = inodes.get_mut(&attr.inode) {
            if known.index <= source.index {
                // Several changes share a place in the log, and which of them was last is not known.
                let unsure = known.index == source.index && known.attr != *attr;
                let leased = self.left(known.stamp, known.at, now).is_some();
                // Then only this session can have changed it since.
                let only_ours = leased && stamp.is_some() && !unsure;
                let before = only_ours.then_some(known.attr.ctime);
                self.accesses.learn(attr, before);
                known.attr.clone_from(attr);
                known.index = source.index;
                known.stamp = stamp.filter(|_| !unsure);
                known.at = now;
            }
            return;
        }
        let known = Known {
            attr: attr.clone(),
            index: source.index,
            stamp,
            at: now,
            pages: None,
            parent: None,
        };
        self.accesses.learn(attr, None);
        let gone = inodes.push(attr.inode, known);
        drop(inodes);
        if let Some((gone, _)) = gone.filter(|(gone, _)| *gone != attr.inode) {
            self.audience.forget_attributes(gone);
        }
    }

    /// Takes in the attributes after an own commit that was based on data version `base`: pages
    /// that were right before are right now, because the kernel has the same writes.
    pub(crate) fn learn_own(&self, attr: &Attr, base: u64, source: Source, now: Duration) {
        self.learn(attr, source, now);
        let mut inodes = self.inodes.lock();
        if let Some(known) = inodes.get_mut(&attr.inode) {
            let only_ours = attr.data_version == base + 1 || attr.data_version == base;
            if known.pages == Some(base) && only_ours {
                known.pages = Some(attr.data_version);
            }
        }
    }

    /// Takes in what a file is at the moment it is opened.
    pub(crate) fn open(&self, attr: &Attr, source: Source, now: Duration) -> Reopened {
        let before = {
            let inodes = self.inodes.lock();
            let known = inodes.peek(&attr.inode);
            known.map(|k| (k.attr.data_version, k.attr.size, k.pages))
        };
        let reopened = Reopened {
            keep_pages: before.is_some_and(|(_, _, pages)| pages == Some(attr.data_version)),
            moved: before != Some((attr.data_version, attr.size, before.and_then(|b| b.2))),
        };
        self.learn(attr, source, now);
        if let Some(known) = self.inodes.lock().get_mut(&attr.inode) {
            known.pages = Some(attr.data_version);
        }
        reopened
    }

    /// As [`Attrs::open`], for a file that is held and leased: it is as it was. `None` if it is not
    /// leased.
    pub(crate) fn reopen(&self, inode: InodeId, now: Duration) -> Option<Reopened> {
        let mut inodes = self.inodes.lock();
        let known = inodes.get_mut(&inode)?;
        self.left(known.stamp, known.at, now)?;
        let version = Some(known.attr.data_version);
        let keep_pages = std::mem::replace(&mut known.pages, version) == version;
        let moved = false;
        Some(Reopened { keep_pages, moved })
    }

    /// What a name names, and for how long that may be answered: `None` if it is not known,
    /// `Some(None)` if it names nothing.
    pub(crate) fn name(
        &self,
        parent: InodeId,
        name: &Name,
        now: Duration,
    ) -> Option<(Option<InodeId>, Duration)> {
        let mut names = self.names.lock();
        let named = names.get(&(parent, name.clone()))?;
        let whole = named.stamp.filter(|stamp| self.whole.keeps(parent, *stamp));
        let left = self.left(whole, named.at, now)?;
        Some((named.inode, left))
    }

    /// Takes in what a name names.
    pub(crate) fn learn_name(
        &self,
        parent: InodeId,
        name: &Name,
        inode: Option<InodeId>,
        source: Source,
        now: Duration,
    ) {
        let key = (parent, name.clone());
        let mut names = self.names.lock();
        let known = names.peek(&key);
        if known.is_some_and(|known| known.index > source.index) {
            return;
        }
        let same_place = |known: &Named| known.index == source.index && known.inode != inode;
        let unsure = known.is_some_and(same_place);
        let keeps = |stamp: &u64| !unsure && self.recalls.keeps(parent, *stamp);
        let named = Named {
            inode,
            index: source.index,
            stamp: source.stamp.filter(keeps),
            at: now,
        };
        let gone = names.push(key, named);
        drop(names);
        let gone = gone.filter(|((directory, gone), _)| (*directory, gone) != (parent, name));
        if let Some(((directory, gone), _)) = gone {
            self.audience.forget_name(directory, &gone);
        }
    }

    /// Pages in the kernel are not right for any version: the next open drops them.
    pub(crate) fn doubt_pages(&self, inode: InodeId) {
        if let Some(known) = self.inodes.lock().peek_mut(&inode) {
            known.pages = None;
        }
    }

    /// Forgets a name.
    pub(crate) fn forget_name(&self, parent: InodeId, name: &Name) {
        if let Some(named) = self.names.lock().peek_mut(&(parent, name.clone())) {
            named.stamp = None;
        }
    }

    /// Forgets what is recalled; the attributes are kept, to be compared, and not answered.
    pub(crate) fn recall(&self, recall: &Recall) {
        let number = self.lease.recall();
        self.recalls.note(recall.inode, number);
        if recall.whole {
            self.whole.note(recall.inode, number);
        }
        for name in &recall.names {
            self.forget_name(recall.inode, name);
        }
        if let Some(known) = self.inodes.lock().peek_mut(&recall.inode) {
            known.stamp = None;
            known.parent = None;
        }
    }

    /// The write lease on a file that is not open yet is asked back.
    pub(crate) fn share(&self, inode: InodeId) {
        self.claims.note(inode, self.lease.recall());
    }

    /// Whether a write lease that came with an answer of this stamp was not asked back since.
    pub(crate) fn keeps_claim(&self, inode: InodeId, stamp: u64) -> bool {
        self.claims.keeps(inode, stamp) && self.lease.keeps(stamp)
    }

    /// Whether an inode is leased and will not be for much longer, unless it is asked for again.
    pub(crate) fn is_aging(&self, inode: InodeId, now: Duration) -> bool {
        let inodes = self.inodes.lock();
        let known = inodes.peek(&inode);
        known.is_some_and(|known| known.stamp.is_some() && now > known.at + LEASE_AGE / 2)
    }

    /// Forgets everything, also what is on its way. Log places of another session's may come.
    pub(crate) fn forget_all(&self) {
        self.lease.forget_all();
        self.names.lock().clear();
        for (_, known) in self.inodes.lock().iter_mut() {
            known.stamp = None;
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
            inode: FILE,
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
            policy: None,
            xattrs: 0,
            acls: dfs_proto::attr::Acls::default(),
        }
    }

    const FILE: InodeId = InodeId(5);
    const DIR: InodeId = InodeId(6);
    const SECOND: Duration = Duration::from_secs(1);

    fn leased() -> (Arc<Lease>, Attrs) {
        let lease = Arc::new(Lease::default());
        lease.renew(Duration::ZERO, SECOND * 8, Duration::ZERO);
        let attrs = Attrs::new(lease.clone(), Arc::new(crate::audience::Nobody));
        (lease, attrs)
    }

    fn source(lease: &Lease, index: u64) -> Source {
        let stamp = Some(lease.stamp());
        Source { index, stamp }
    }

    fn recall(inode: InodeId, names: Vec<Name>, whole: bool) -> Recall {
        Recall {
            inode,
            names,
            whole,
            content: false,
            writes: None,
        }
    }

    #[test]
    fn an_answer_is_given_while_it_is_leased_and_the_later_one_wins() {
        let (lease, cache) = leased();
        cache.learn(&attr(2, 10), source(&lease, 7), SECOND);
        cache.learn(&attr(1, 5), source(&lease, 6), SECOND);
        let told = cache.attr(FILE, SECOND).map(|(a, left)| (a.size, left));
        assert_eq!(told, Some((10, SECOND * 7)));
        assert_eq!(cache.attr(FILE, SECOND * 9), None);
        assert_eq!(cache.old_attr(FILE).map(|a| a.size), Some(10));
        let (index, stamp) = (8, None);
        cache.learn(&attr(3, 11), Source { index, stamp }, SECOND);
        assert_eq!(cache.attr(FILE, SECOND), None, "not leased");
    }

    #[test]
    fn what_was_asked_for_before_a_recall_is_not_kept() {
        let (lease, cache) = leased();
        let before = source(&lease, 7);
        cache.recall(&recall(FILE, Vec::new(), true));
        cache.learn(&attr(2, 10), before, SECOND);
        assert_eq!(cache.attr(FILE, SECOND), None);
        cache.learn(&attr(2, 10), source(&lease, 8), SECOND);
        assert!(cache.attr(FILE, SECOND).is_some());
        cache.forget_all();
        assert_eq!(cache.attr(FILE, SECOND), None);
    }

    #[test]
    fn a_recalled_name_is_forgotten_and_its_neighbours_are_not() {
        let (lease, cache) = leased();
        let name = |text: &str| Name::new(text.as_bytes()).expect("a name");
        let (one, two) = (name("one"), name("two"));
        cache.learn_name(DIR, &one, Some(FILE), source(&lease, 1), SECOND);
        cache.learn_name(DIR, &two, None, source(&lease, 1), SECOND);
        cache.recall(&recall(DIR, vec![one.clone()], false));
        assert_eq!(cache.name(DIR, &one, SECOND), None);
        assert_eq!(
            cache.name(DIR, &two, SECOND).map(|(named, _)| named),
            Some(None)
        );
        cache.learn_name(DIR, &one, None, source(&lease, 3), SECOND);
        cache.learn_name(DIR, &one, Some(FILE), source(&lease, 2), SECOND);
        assert_eq!(
            cache.name(DIR, &one, SECOND).map(|(named, _)| named),
            Some(None)
        );
        cache.recall(&recall(DIR, Vec::new(), true));
        assert_eq!(cache.name(DIR, &one, SECOND), None);
        assert_eq!(cache.name(DIR, &two, SECOND), None);
    }

    #[test]
    fn pages_are_kept_over_own_writes_and_dropped_after_those_of_others() {
        let (lease, cache) = leased();
        let open = |version, size, index| {
            let opened = cache.open(&attr(version, size), source(&lease, index), SECOND);
            (opened.keep_pages, opened.moved)
        };
        assert!(!open(1, 5, 1).0);
        assert_eq!(open(1, 5, 1), (true, false));
        cache.learn_own(&attr(2, 9), 1, source(&lease, 2), SECOND);
        assert_eq!(open(2, 9, 2), (true, false));
        assert_eq!(open(3, 9, 3), (false, true));
        cache.learn(&attr(4, 9), source(&lease, 4), SECOND);
        assert_eq!(open(4, 9, 4), (false, false));
    }
}
