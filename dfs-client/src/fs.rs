//! The file system: every call, one method each.

use crate::{
    audience::{Audience, Nobody},
    cache::relatime,
    core::Core,
    error::Error,
    file::File,
    handle::OpenFile,
    link::{Source, Told, Wait},
    settings::Settings,
    table::Table,
    tasks,
};
use bytes::Bytes;
use dfs_host::clock::Clock;
use dfs_proto::{
    attr::{Attr, FileKind, SetAttr},
    change::{Access, Caller, Change, Changed, Make},
    id::{InodeId, SessionId},
    name::Name,
    service::MasterClient,
    view::{Content, Cookie, Layout, Listing, Space, View},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Entries asked for at once, at the most.
const READDIR_MAX: u32 = 2048;

/// statfs(2) waits so long for the master before it answers from memory.
const STATFS_WAIT: Duration = Duration::from_millis(500);

/// Answers of statfs(2) that are remembered, at the most.
const SPACES_MAX: usize = 64;

/// The end of a session is told to the master for so long; a session that is not ended expires.
const GOODBYE_WAIT: Duration = Duration::from_secs(2);

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenHow {
    /// Each write goes to the end of the file (O_APPEND).
    pub append: bool,
    /// Truncate to nothing in the same step (O_TRUNC).
    pub truncate: bool,
    /// Clear set-user-id and set-group-id bits where truncating must.
    pub kill_privileges: bool,
}

/// What opening a file gives.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The handle.
    pub file: Arc<OpenFile>,
    /// The attributes at the moment of opening.
    pub attr: Attr,
    /// The content is the same as when this client last had it open, own writes included: pages
    /// cached from then are right.
    pub keep_cache: bool,
    /// Size or version differ from what this client last answered for the inode: whoever cached
    /// that must forget it before the open is answered.
    pub attrs_changed: bool,
}

/// A file system. Clones share everything; the session ends with [`Dfs::shutdown`], or expires.
#[derive(Clone)]
pub struct Dfs {
    pub(crate) core: Arc<Core>,
    pub(crate) table: Arc<Table>,
    space: Arc<Mutex<BTreeMap<InodeId, Space>>>,
    stop: Arc<StopOnDrop>,
}

struct StopOnDrop(CancellationToken);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl fmt::Debug for Dfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dfs({})", self.core.settings.purpose)
    }
}

impl Dfs {
    /// Opens a session with the master, waiting for it up to the operation timeout.
    pub async fn connect(settings: Settings, clock: Arc<dyn Clock>) -> Result<Dfs, Error> {
        Dfs::connect_for(settings, clock, Arc::new(Nobody)).await
    }

    /// As [`Dfs::connect`], for someone who keeps what it is told ([`Dfs::vouch`]).
    pub async fn connect_for(
        settings: Settings,
        clock: Arc<dyn Clock>,
        audience: Arc<dyn Audience>,
    ) -> Result<Dfs, Error> {
        let (core, bad) = Core::new(settings, clock, audience)?;
        let session = core.master.session().await?;
        let stop = CancellationToken::new();
        let table = Arc::new(Table::default());
        if let Some(grant) = core.master.take_grant() {
            core.minions.learn(grant.roster);
        }
        tasks::start(&core, &table, session, bad, &stop);
        let dfs = Dfs {
            core,
            table,
            space: Arc::default(),
            stop: Arc::new(StopOnDrop(stop)),
        };
        // So that both can be answered with the master down.
        dfs.getattr(InodeId::ROOT).await?;
        dfs.statfs(InodeId::ROOT).await?;
        Ok(dfs)
    }

    /// How it was set up.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// What is waited for and for how long: the longest first, `most` at the most.
    pub fn waits(&self, most: usize) -> Vec<(Duration, Wait)> {
        self.core.waits.read(most)
    }

    pub(crate) fn now(&self) -> Duration {
        self.core.now()
    }

    /// Takes in attributes, and answers them with what is written and read and not yet told.
    pub(crate) fn learn(&self, attr: Attr, source: Source) -> Attr {
        self.core.attrs.learn(&attr, source, self.now());
        if let Some(file) = self.table.get(attr.inode) {
            file.heard(&attr, source.index);
        }
        self.overlaid(attr)
    }

    pub(crate) fn overlaid(&self, mut attr: Attr) -> Attr {
        let is_file = attr.kind == FileKind::File;
        match is_file.then(|| self.table.get(attr.inode)).flatten() {
            Some(file) => file.overlay(&mut attr),
            None => self.core.attrs.accesses.overlay(&mut attr),
        }
        attr
    }

    /// An inode was read: its access time is set in the manner of relatime. Answers whether that
    /// moves it. Never waits; the master is told with others within a second or two.
    pub fn accessed(&self, inode: InodeId) -> bool {
        let Some(known) = self.core.attrs.old_attr(inode) else {
            return false;
        };
        let ctime = known.ctime;
        let seen = self.overlaid(known);
        let Some(atime) = relatime(&seen, self.core.master.now()) else {
            return false;
        };
        self.core.attrs.accesses.note(Access {
            inode,
            atime,
            ctime,
        });
        true
    }

    /// The answer of [`Dfs::getattr`], if it is fresh enough to be given without asking.
    pub fn try_getattr(&self, inode: InodeId) -> Option<Attr> {
        let (attr, _) = self.core.attrs.attr(inode, self.now())?;
        Some(self.overlaid(attr))
    }

    /// The attributes of `inode`, with what this client has written and read and not yet told.
    pub async fn getattr(&self, inode: InodeId) -> Result<Attr, Error> {
        if let Some(attr) = self.try_getattr(inode) {
            return Ok(attr);
        }
        let getattr = |client: MasterClient, context, session: SessionId| async move {
            client.getattr(context, session, inode).await
        };
        let asked = self.core.master.ask("attributes", getattr);
        // The root answers whatever happens, so that `df` and `ls` of a mount never hang.
        let known = self.core.attrs.old_attr(inode);
        let answer = match known.filter(|_| inode == InodeId::ROOT) {
            None => asked.await?,
            Some(attr) => match tokio::time::timeout(STATFS_WAIT, asked).await {
                Ok(answer) => answer?,
                Err(_) => return Ok(attr),
            },
        };
        Ok(self.learn(answer.answer, answer.source))
    }

    /// Sets attributes, size included, in order with what was written before.
    pub async fn setattr(&self, inode: InodeId, set: SetAttr) -> Result<Attr, Error> {
        if set.atime.is_some() {
            self.core.attrs.accesses.forget(inode);
        }
        if let Some(file) = self.table.get(inode) {
            return file.setattr(set).await;
        }
        let changed = self.change(Change::SetAttr { inode, set }).await?;
        match changed.answer {
            Changed::Attr(attr) => Ok(self.learn(attr, changed.source)),
            _ => Err(Error::Unfitting("to SetAttr".to_owned())),
        }
    }

    /// Makes a change in the session of now.
    pub(crate) async fn change(&self, change: Change) -> Result<Told<Changed>, Error> {
        let session = self.core.master.session().await?;
        self.core.master.change(&session, change).await
    }

    /// Makes a file and opens it. `Exists` if the name is taken.
    pub async fn create(
        &self,
        parent: InodeId,
        name: &Name,
        mode: u16,
        caller: Caller,
        append: bool,
    ) -> Result<(Attr, Arc<OpenFile>), Error> {
        let change = Change::Make {
            parent,
            name: name.clone(),
            what: Make::File { open: true },
            mode,
            caller,
        };
        let session = self.core.master.session().await?;
        let made = self.core.master.change(&session, change).await;
        let writes = made.as_ref().ok().and_then(|told| told.writes);
        let (attr, source) = self.made(parent, name, made)?;
        let now = self.now();
        self.core.attrs.open(&attr, source, now);
        let layout = Layout {
            until: u64::MAX,
            ..Layout::default()
        };
        let view = View {
            attr: attr.clone(),
            content: Content::Extents(layout),
        };
        let held = self.table.add(&self.core, &session, view, source.index);
        held.0.is_claimed(source, writes);
        Ok((attr, self.fresh_handle(held, append)?))
    }

    /// Opens a file.
    pub async fn open(&self, inode: InodeId, how: OpenHow) -> Result<Opened, Error> {
        let held = self.table.hold(inode).await;
        let (held, reopened) = match held {
            Some((file, seen)) => {
                let handle = self.handle((file.clone(), seen), how.append);
                let as_it_was = !how.truncate && file.is_leased();
                let reopen = || self.core.attrs.reopen(inode, self.now());
                let reopened = match as_it_was.then(reopen).flatten() {
                    Some(reopened) => reopened,
                    None => {
                        let (view, source) = self.view_again(&file, how).await?;
                        self.core.attrs.open(&view.attr, source, self.now())
                    }
                };
                (handle, reopened)
            }
            None => {
                let change = Change::Open {
                    inode,
                    truncate: how.truncate,
                    kill_privileges: how.kill_privileges,
                };
                let session = self.core.master.session().await?;
                let told = self.core.master.change(&session, change).await?;
                let Told {
                    source,
                    writes,
                    answer,
                } = told;
                let Changed::Opened(view) = answer else {
                    return Err(Error::Unfitting("to Open".to_owned()));
                };
                let reopened = self.core.attrs.open(&view.attr, source, self.now());
                let held = self.table.add(&self.core, &session, view, source.index);
                held.0.is_claimed(source, writes);
                (self.fresh_handle(held, how.append)?, reopened)
            }
        };
        let attr = held.attr();
        Ok(Opened {
            file: held,
            attr,
            keep_cache: reopened.keep_pages,
            attrs_changed: reopened.moved,
        })
    }

    fn handle(&self, held: (Arc<File>, u64), append: bool) -> Arc<OpenFile> {
        OpenFile::new(self.core.clone(), self.table.clone(), held, append)
    }

    /// As [`Dfs::handle`], for what was opened just now: if its session ended since, the files that
    /// are to go on in the next one may have been counted before this one was there, and nobody
    /// would move it. The open that met the end fails, as every change does.
    fn fresh_handle(&self, held: (Arc<File>, u64), append: bool) -> Result<Arc<OpenFile>, Error> {
        let file = held.0.clone();
        let handle = self.handle(held, append);
        match file.is_between_sessions() {
            true => Err(Error::SessionLost),
            false => Ok(handle),
        }
    }

    async fn view_again(&self, file: &Arc<File>, how: OpenHow) -> Result<(View, Source), Error> {
        if how.truncate {
            return file.open_truncated(how.kill_privileges).await;
        }
        let inode = file.inode;
        let Told { source, answer, .. } = self.core.master.view(inode).await?;
        file.learn(answer.clone(), source.index);
        Ok((answer, source))
    }

    /// At most `limit` entries of a directory after cookie `after`.
    pub async fn readdir(
        &self,
        inode: InodeId,
        after: Cookie,
        limit: u32,
        attrs: bool,
    ) -> Result<Listing, Error> {
        // Names of 255 bytes with attributes must fit into one answer.
        let limit = limit.min(READDIR_MAX);
        let before = self.core.attrs.attr(inode, self.now());
        let before = before.map(|(directory, _)| directory);
        if let Some(directory) = &before
            && let Some(listing) = self.listed(directory, after, limit, attrs)
        {
            return Ok(listing);
        }
        let readdir = |client: MasterClient, context, session: SessionId| async move {
            let entries = client.readdir(context, session, inode, after, limit, attrs);
            entries.await
        };
        let Told { source, answer, .. } = self.core.master.ask("a directory", readdir).await?;
        let mut listing = answer;
        let now = self.now();
        let same = |(directory, _): &(Attr, Duration)| {
            let version = before.as_ref().map(|before| before.data_version);
            version == Some(directory.data_version)
        };
        if let Some((directory, _)) = self.core.attrs.attr(inode, now).filter(same) {
            self.core.listings.learn(&directory, after, &listing);
        }
        for entry in &mut listing.entries {
            if let Some(attr) = entry.attr.take() {
                let named = Some(attr.inode);
                let attrs = &self.core.attrs;
                attrs.learn_name(inode, &entry.name, named, source, now);
                entry.attr = Some(self.learn(attr, source));
            }
        }
        Ok(listing)
    }

    /// A part of a directory that is so now, if it is known, with all attributes if `attrs`.
    fn listed(&self, directory: &Attr, after: Cookie, limit: u32, attrs: bool) -> Option<Listing> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut listing = self.core.listings.part(directory, after, limit)?;
        if attrs {
            for entry in &mut listing.entries {
                entry.attr = Some(self.try_getattr(entry.inode)?);
            }
        }
        Some(listing)
    }

    /// The target of a symbolic link.
    pub async fn readlink(&self, inode: InodeId) -> Result<Bytes, Error> {
        let readlink = |client: MasterClient, context, session: SessionId| async move {
            client.readlink(context, session, inode).await
        };
        let target = self.core.master.ask("the target of a link", readlink);
        Ok(target.await?.answer)
    }

    /// Space and inodes, as far as the quotas that `inode` is counted in leave them; the last answer
    /// known, of the root where none is known of the inode, where the master does not give one within
    /// 500 ms.
    pub async fn statfs(&self, inode: InodeId) -> Result<Space, Error> {
        let answer = self.core.master.statfs(inode, STATFS_WAIT).await;
        let mut known = self.space.lock();
        match answer {
            Some(Ok(space)) => {
                if known.len() >= SPACES_MAX {
                    known.retain(|known, _| *known == InodeId::ROOT);
                }
                known.insert(inode, space);
                Ok(space)
            }
            Some(Err(error)) => Err(error.into()),
            None => {
                let space = known.get(&inode).or(known.get(&InodeId::ROOT));
                Ok(space.copied().unwrap_or_default())
            }
        }
    }

    /// fsync(2) of a directory: every change of names that was answered is in the synced log.
    pub async fn sync_directory(&self, inode: InodeId) -> Result<(), Error> {
        let _ = inode;
        let synced = self.change(Change::Sync).await?;
        self.core.master.log_is_synced(synced.source.index);
        Ok(())
    }

    /// Sends and commits all that is dirty and ends the session, within `deadline`.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        let work = async {
            let files = self.table.all();
            let flushes = files.iter().map(|file| async move {
                let mut seen = u64::MAX;
                file.flush().await?;
                file.check(&mut seen)
            });
            let flushed = futures::future::join_all(flushes).await;
            // Nobody listens for the events of a session that ends on purpose.
            self.stop.0.cancel();
            let goodbye = async {
                tasks::tell_accesses(&self.core).await;
                self.change(Change::EndSession).await
            };
            let ended = tokio::time::timeout(GOODBYE_WAIT, goodbye).await;
            flushed.into_iter().collect::<Result<(), Error>>()?;
            ended.map_or(Ok(()), |ended| ended.map(|_| ()))
        };
        let outcome = tokio::time::timeout(deadline, work).await;
        self.stop.0.cancel();
        outcome.unwrap_or_else(|_| {
            Err(Error::TimedOut {
                waited_for: "dirty bytes to be sent at the end".to_owned(),
                after: deadline,
            })
        })
    }
}
