//! Reading directories: from windows of entries into the kernel's pages.
//!
//! A page with attributes makes the kernel believe them, so those of a window that waited are told
//! only if the client still vouches for each; else the window is fetched anew. While a fetch of this
//! very request is under way the kernel takes care itself: it holds the directory's lock, and it
//! ignores attributes that are older than what it changed since it asked.

use crate::{
    answer::{Answers, Refuse, Request},
    attr,
    forget::Invalidator,
    listing::{self, AFTER_DOT, AFTER_DOTS, Listed, Names, OpenDirectory, Window},
    root::Root,
};
use dfs_client::{Dfs, Kept, Vouch};
use dfs_host::clock::Clock;
use dfs_proto::{attr::FileKind, id::InodeId, view::Entry};
use fuser::{FileAttr, FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt, sync::Arc, time::Duration};

/// A page of entries on its way to the kernel.
pub(crate) trait Page: Refuse {
    /// Whether its entries carry attributes.
    const ATTRS: bool;

    /// Adds an entry, unless the page is full; says whether it was.
    fn full(&mut self, next: u64, name: &OsStr, attr: &FileAttr, ttl: Duration) -> bool;

    /// Answers with what was added.
    fn finish(self);
}

impl Page for ReplyDirectory {
    const ATTRS: bool = false;

    fn full(&mut self, next: u64, name: &OsStr, attr: &FileAttr, _ttl: Duration) -> bool {
        self.add(attr.ino, next, attr.kind, name)
    }

    fn finish(self) {
        self.ok();
    }
}

impl Page for ReplyDirectoryPlus {
    const ATTRS: bool = true;

    fn full(&mut self, next: u64, name: &OsStr, attr: &FileAttr, ttl: Duration) -> bool {
        self.add(attr.ino, next, name, &ttl, attr, Generation(0))
    }

    fn finish(self) {
        self.ok();
    }
}

/// Reads directories.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) dfs: Dfs,
    pub(crate) root: Arc<Root>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) invalidator: Invalidator,
    pub(crate) listed: Arc<Listed>,
}

impl Reader {
    /// A directory is opened.
    pub(crate) fn opens(&self, inode: InodeId) -> Names {
        let now = self.clock.monotonic();
        let vouch = self.dfs.vouch();
        self.listed.opens(inode, version(&vouch, inode), now)
    }

    /// Fills `page` with the entries of `directory` from `offset` on: from its window at once where
    /// that tells them, else in a task.
    pub(crate) fn read<P: Page>(
        &self,
        answers: &Answers,
        directory: Arc<OpenDirectory>,
        offset: u64,
        mut page: P,
    ) {
        if offset < AFTER_DOTS {
            directory.window().forget();
        } else if self.fill_from_window(&directory, offset, &mut page) {
            self.accessed(&directory);
            page.finish();
            return self.told(answers, &directory);
        }
        let request = Request {
            verb: if P::ATTRS { "readdirplus" } else { "readdir" },
            inode: directory.inode,
        };
        let (reader, open) = (self.clone(), directory.clone());
        let work = async move { reader.fetch(&open, offset, P::ATTRS).await };
        let (reader, then) = (self.clone(), answers.clone());
        answers.later(request, page, work, move |mut page, parent| {
            reader.fill(&directory, offset, parent, &mut page);
            reader.accessed(&directory);
            page.finish();
            reader.told(&then, &directory);
        });
    }

    /// The kernel was told names. If it keeps them and nobody would say when they change, it is to
    /// forget them as soon as it has taken them in.
    fn told(&self, answers: &Answers, directory: &OpenDirectory) {
        if directory.kept && directory.window().version().is_none() {
            let forget = self.invalidator.clone().list_soon(directory.inode);
            answers.whenever(forget);
        }
    }

    fn accessed(&self, directory: &OpenDirectory) {
        if directory.counted {
            self.dfs.accessed(directory.inode);
        }
    }

    /// Fetches the window at `offset`, and the number of `..` where that is needed.
    async fn fetch(
        &self,
        directory: &OpenDirectory,
        offset: u64,
        attrs: bool,
    ) -> Result<InodeId, dfs_client::Error> {
        let inode = directory.inode;
        let after = listing::cookie_before(offset);
        let limit = directory.window().limit_after(after);
        let parent = async {
            match inode {
                InodeId::ROOT => Ok(InodeId::ROOT),
                _ if offset < AFTER_DOTS => self.dfs.parent(inode).await,
                _ => Ok(inode),
            }
        };
        let before = version(&self.dfs.vouch(), inode);
        let listing = self.root.readdir(&self.dfs, inode, after, limit, attrs);
        let (listing, parent) = tokio::try_join!(listing, parent)?;
        let now = self.clock.monotonic();
        let unchanged = before.filter(|_| before == version(&self.dfs.vouch(), inode));
        let mut window = directory.window();
        window.take(after, listing, attrs, now);
        window.is_of(unchanged);
        Ok(parent)
    }

    /// Fills the page from a window that was just fetched.
    fn fill<P: Page>(&self, directory: &OpenDirectory, offset: u64, parent: InodeId, page: &mut P) {
        let dots = [
            (AFTER_DOT, ".", directory.inode),
            (AFTER_DOTS, "..", parent),
        ];
        for (next, name, inode) in dots {
            let dot = directory_of(inode);
            if offset < next && page.full(next, OsStr::new(name), &dot, Duration::ZERO) {
                return;
            }
        }
        let (mut window, vouch) = (directory.window(), self.dfs.vouch());
        self.tells(directory.inode, &mut window, &vouch);
        for entry in window.entries_after(listing::cookie_before(offset)) {
            let kept = match &entry.attr {
                Some(attr) => vouch.name_or(directory.inode, &entry.name, Some(attr.clone())),
                None if P::ATTRS => return,
                None => Kept::default(),
            };
            if self.add(page, entry, &kept) {
                return;
            }
        }
    }

    /// Fills the page from a window that waited; `false` if that cannot be vouched for any more, and
    /// nothing was added.
    fn fill_from_window<P: Page>(
        &self,
        directory: &OpenDirectory,
        offset: u64,
        page: &mut P,
    ) -> bool {
        let after = listing::cookie_before(offset);
        let mut window = directory.window();
        if !window.tells(after, P::ATTRS, self.clock.monotonic()) {
            return false;
        }
        let (mut added, vouch) = (false, self.dfs.vouch());
        self.tells(directory.inode, &mut window, &vouch);
        for entry in window.entries_after(after) {
            let kept = if P::ATTRS {
                let Some((attr, _)) = vouch.attr(entry.inode) else {
                    return added;
                };
                vouch.name_or(directory.inode, &entry.name, Some(attr))
            } else {
                Kept::default()
            };
            if self.add(page, entry, &kept) {
                return true;
            }
            added = true;
        }
        added || window.is_at_end(after)
    }

    /// The kernel is told of a directory what a window has.
    fn tells(&self, directory: InodeId, window: &mut Window, vouch: &Vouch<'_>) {
        self.invalidator.tells([directory]);
        let of = window.version();
        let certain = of.filter(|_| of == version(vouch, directory));
        window.is_of(certain);
        self.listed.tells(directory, certain);
    }

    fn add<P: Page>(&self, page: &mut P, entry: &Entry, kept: &Kept) -> bool {
        let next = listing::offset_after(entry.cookie);
        let name = OsStr::from_bytes(entry.name.as_bytes());
        let attr = kept.attr.as_ref();
        let known = attr.map_or_else(|| kind_only(entry.inode, entry.kind), attr::to_kernel);
        let both = kept.attr_for.min(kept.name_for);
        page.full(next, name, &known, both)
    }
}

/// The version of a directory, as long as nobody can change it.
fn version(vouch: &Vouch<'_>, directory: InodeId) -> Option<u64> {
    vouch.attr(directory).map(|(attr, _)| attr.data_version)
}

/// What is told of an entry whose attributes were not asked for.
fn kind_only(inode: InodeId, kind: FileKind) -> FileAttr {
    FileAttr {
        ino: INodeNo(inode.0),
        kind: attr::kind(kind),
        ..attr::absent()
    }
}

/// What is told of `.` and `..`, which the kernel takes no attributes of.
fn directory_of(inode: InodeId) -> FileAttr {
    FileAttr {
        ino: INodeNo(inode.0),
        kind: FileType::Directory,
        ..attr::absent()
    }
}
