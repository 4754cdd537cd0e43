//! An open directory: a window of its entries, and where the kernel goes on reading.
//!
//! The kernel reads a directory in answers of some hundred entries; the master is asked for many
//! more at once, and what is left over waits here. Offsets are stable: the master's cookies, moved
//! up by two to make room for `.` and `..`, whatever comes and goes meanwhile. A name that was
//! removed through this mount is never told again, not even from a window that still has it: the
//! kernel would take it for a living entry.

use dfs_proto::{
    id::InodeId,
    name::Name,
    view::{Cookie, ENTRIES_PER_ANSWER_MAX, Entry, Listing},
};
use parking_lot::{Mutex, MutexGuard};
use std::{collections::HashSet, time::Duration};

/// Entries that the first window asks for; each window that follows one asks for twice as many.
const FIRST_ENTRIES: u32 = 256;

/// How long a window may be answered from.
const WINDOW_AGE: Duration = Duration::from_millis(500);

/// The offset that goes on after `.`.
pub(crate) const AFTER_DOT: u64 = 1;

/// The offset that goes on after `..`.
pub(crate) const AFTER_DOTS: u64 = 2;

/// The offset that goes on after the entry with this cookie.
pub(crate) fn offset_after(cookie: Cookie) -> u64 {
    cookie.saturating_add(AFTER_DOTS)
}

/// The cookie after which the entries at `offset` go on.
pub(crate) fn cookie_before(offset: u64) -> Cookie {
    offset.saturating_sub(AFTER_DOTS)
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct OpenDirectory {
    /// Which.
    pub(crate) inode: InodeId,
    /// Whether the kernel keeps the names that it is told.
    pub(crate) kept: bool,
    /// Whether reading it sets its access time.
    pub(crate) counted: bool,
    window: Mutex<Window>,
}

/// A part of a directory as it was a moment ago.
#[derive(Debug)]
pub(crate) struct Window {
    after: Cookie,
    entries: Vec<Entry>,
    complete: bool,
    attrs: bool,
    fetched: Option<Duration>,
    /// Of which version of the directory it is, if that is certain.
    version: Option<u64>,
    gone: HashSet<Name>,
    next_limit: u32,
}

impl OpenDirectory {
    /// Directory `inode`, of which nothing was read yet.
    pub(crate) fn new(inode: InodeId, kept: bool, counted: bool) -> OpenDirectory {
        OpenDirectory {
            inode,
            kept,
            counted,
            window: Mutex::new(Window {
                after: 0,
                entries: Vec::new(),
                complete: false,
                attrs: false,
                fetched: None,
                version: None,
                gone: HashSet::new(),
                next_limit: FIRST_ENTRIES,
            }),
        }
    }

    /// The window.
    pub(crate) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock()
    }
}

impl Window {
    /// Whether it tells, at `now` (monotonic), what comes after `after`, with attributes if `attrs`.
    pub(crate) fn tells(&self, after: Cookie, attrs: bool, now: Duration) -> bool {
        let young = self
            .fetched
            .is_some_and(|at| now.saturating_sub(at) < WINDOW_AGE);
        let last = self.entries.last().map_or(self.after, |last| last.cookie);
        let inside = after >= self.after && (after < last || (self.complete && after == last));
        young && inside && (self.attrs || !attrs)
    }

    /// The entries after `after`, without those that were removed meanwhile.
    pub(crate) fn entries_after(&self, after: Cookie) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.cookie <= after);
        let rest = self.entries[from..].iter();
        rest.filter(|entry| !self.gone.contains(&entry.name))
    }

    /// Whether nothing is left after `after`: the directory ends there.
    pub(crate) fn is_at_end(&self, after: Cookie) -> bool {
        self.complete && self.entries_after(after).next().is_none()
    }

    /// How many entries to ask for after `after`: more and more while the reading goes on, few
    /// again where it starts over.
    pub(crate) fn limit_after(&mut self, after: Cookie) -> u32 {
        let goes_on = self.entries.last().is_some_and(|last| last.cookie == after);
        if !goes_on {
            self.next_limit = FIRST_ENTRIES;
        }
        let limit = self.next_limit;
        self.next_limit = (limit * 2).min(ENTRIES_PER_ANSWER_MAX);
        limit
    }

    /// Takes in what the master answered, at `now`, when asked for the entries after `after`. The
    /// kernel holds the directory's lock while it waits for them: no name was removed meanwhile.
    pub(crate) fn take(&mut self, after: Cookie, listing: Listing, attrs: bool, now: Duration) {
        self.after = after;
        self.entries = listing.entries;
        // A reading that were told to go back would never end.
        self.entries.retain(|entry| entry.cookie > after);
        self.entries.sort_by_key(|entry| entry.cookie);
        self.complete = listing.complete;
        self.attrs = attrs;
        self.fetched = Some(now);
        self.version = None;
        self.gone.clear();
    }

    /// Which version of the directory it is certain to be of; set after [`Window::take`].
    pub(crate) fn version(&self) -> Option<u64> {
        self.version
    }

    /// It is of this version of the directory.
    pub(crate) fn is_of(&mut self, version: Option<u64>) {
        self.version = version;
    }

    /// Forgets the window, so that the next reading asks the master.
    pub(crate) fn forget(&mut self) {
        self.fetched = None;
    }

    /// The name was removed through this mount.
    pub(crate) fn remove(&mut self, name: &Name) {
        if self.fetched.is_some() {
            self.gone.insert(name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::attr::FileKind;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The oracle of a directory: its entries by cookie, all of them looked at each time.
    #[derive(Default)]
    struct Directory {
        entries: BTreeMap<Cookie, Name>,
        cookies: Cookie,
    }

    impl Directory {
        fn add(&mut self) {
            self.cookies += 1;
            let name = Name::new(format!("n{}", self.cookies).as_bytes()).expect("a valid name");
            self.entries.insert(self.cookies, name);
        }

        fn remove_nth(&mut self, n: usize) -> Option<Name> {
            let cookie = *self.entries.keys().nth(n)?;
            self.entries.remove(&cookie)
        }

        fn list(&self, after: Cookie, limit: usize) -> Listing {
            let rest = self.entries.range(after + 1..);
            let entries: Vec<Entry> = rest
                .clone()
                .take(limit)
                .map(|(&cookie, name)| Entry {
                    cookie,
                    name: name.clone(),
                    inode: InodeId(cookie + 100),
                    kind: FileKind::File,
                    attr: None,
                })
                .collect();
            Listing {
                complete: rest.count() <= limit,
                entries,
            }
        }
    }

    proptest! {
        /// While names come and go, a reading tells each name that stays throughout exactly once,
        /// and never one that is gone.
        #[test]
        fn a_reading_tells_what_stays_and_nothing_that_is_gone(
            names in 0usize..60,
            window_entries in 1usize..20,
            answer_entries in 1usize..8,
            events in prop::collection::vec((0usize..3, 0usize..60), 0..60),
        ) {
            let start = Duration::from_secs(3600);
            let mut directory = Directory::default();
            (0..names).for_each(|_| directory.add());
            let at_first: HashSet<Cookie> = directory.entries.keys().copied().collect();
            let open = OpenDirectory::new(InodeId(9), false, false);
            let mut events = events.into_iter();
            let mut told = Vec::new();
            let mut after = 0;
            loop {
                if !open.window().tells(after, false, start) {
                    let listing = directory.list(after, window_entries);
                    open.window().take(after, listing, false, start);
                }
                let window = open.window();
                let answer: Vec<Cookie> =
                    window.entries_after(after).take(answer_entries).map(|e| e.cookie).collect();
                drop(window);
                for cookie in &answer {
                    prop_assert!(directory.entries.contains_key(cookie), "told a name that is gone");
                }
                let Some(&last) = answer.last() else {
                    // Everything in the window was removed: go on after it, unless it was the last.
                    let window = open.window();
                    let end = window.entries.last().map_or(after, |e| e.cookie);
                    if window.complete { break; }
                    after = end;
                    continue;
                };
                told.extend(answer);
                after = last;
                match events.next() {
                    Some((0, _)) => directory.add(),
                    Some((_, n)) => if let Some(name) = directory.remove_nth(n) {
                        open.window().remove(&name);
                    },
                    None => {}
                }
            }
            let unique: HashSet<Cookie> = told.iter().copied().collect();
            prop_assert_eq!(unique.len(), told.len(), "a name was told twice");
            for cookie in at_first.iter().filter(|c| directory.entries.contains_key(c)) {
                prop_assert!(unique.contains(cookie), "a name that stayed was not told");
            }
        }
    }

    #[test]
    fn an_old_window_and_one_without_attributes_tell_nothing() {
        let start = Duration::from_secs(3600);
        let mut directory = Directory::default();
        directory.add();
        let open = OpenDirectory::new(InodeId(9), false, false);
        assert!(
            !open.window().tells(0, false, start),
            "nothing was read yet"
        );
        open.window().take(0, directory.list(0, 10), false, start);
        assert!(open.window().tells(0, false, start));
        assert!(open.window().tells(1, false, start), "the end is known");
        assert!(!open.window().tells(0, true, start));
        assert!(!open.window().tells(0, false, start + WINDOW_AGE));
        assert!(!open.window().tells(2, false, start));
        open.window().forget();
        assert!(!open.window().tells(0, false, start));
    }

    #[test]
    fn windows_grow_while_reading_goes_on() {
        let mut directory = Directory::default();
        (0..2000).for_each(|_| directory.add());
        let open = OpenDirectory::new(InodeId(9), false, false);
        let (mut after, mut limits) = (0, Vec::new());
        for _ in 0..3 {
            let limit = open.window().limit_after(after);
            let listing = directory.list(after, limit as usize);
            let last = listing.entries.last().map_or(after, |e| e.cookie);
            limits.push(limit);
            open.window().take(after, listing, false, Duration::ZERO);
            after = last;
        }
        assert_eq!(limits, [256, 512, 1024]);
        assert_eq!(open.window().limit_after(0), 256, "rewound");
    }
}
