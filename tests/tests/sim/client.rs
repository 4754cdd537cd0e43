//! What the programs on a client's machine do: at random, and write down what they were told.

use crate::{
    book::{Expecting, Promise, STRIPE, below},
    world::{Place, World},
};
use bytes::Bytes;
use dfs_client::{Dfs, Error, OpenFile, OpenHow};
use dfs_proto::{
    change::{Caller, Make, RenameMode},
    error::FsError,
    id::InodeId,
    name::Name,
    view::Cookie,
};
use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0,
};
/// Files that a client has at a time, about.
const FILES: usize = 6;
/// Stripes of a file.
const STRIPES: usize = 400;
/// Stripes of a write or read.
const STRIPES_AT_ONCE: usize = 130;
/// No operation takes longer, whatever has happened: twice what a client was told to try for.
const PATIENCE: Duration = Duration::from_secs(45);
/// A machine that was left alone for so long has its session, and what it wrote.
const CALM: Duration = Duration::from_secs(60);

/// In place of the power cuts that a client knows of, until it has looked at what is left.
const NOT_LOOKED: u64 = u64::MAX;

struct Open {
    inode: InodeId,
    file: Arc<OpenFile>,
}

/// A client that lives.
pub(crate) struct Client {
    world: Rc<World>,
    number: usize,
    dfs: Dfs,
    home: InodeId,
    order: InodeId,
    open: Vec<Open>,
    cuts: u64,
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("short")
}

impl Client {
    /// From the start of its machine to its end: works until the world says that it is enough.
    pub(crate) async fn live(world: Rc<World>, number: usize) -> turmoil::Result {
        // Whatever it had in its memory is gone.
        world.names(number).doubt();
        let files = world.names(number).files();
        for (_, inode) in files {
            world.book().failed(inode);
        }
        let mut client = Client::settle(world, number).await;
        while !client.world.is_over() {
            let cuts = client.world.book().cuts;
            if client.cuts == cuts {
                client.act().await;
            } else {
                client = client.start_over().await;
                client.look_at_all(cuts).await;
            }
            let pause = Duration::from_millis(below(60) as u64);
            tokio::time::sleep(pause).await;
        }
        client.rest().await;
        Ok(())
    }

    async fn settle(world: Rc<World>, number: usize) -> Client {
        let dfs = world.connect(number).await;
        let known = world.names(number).home;
        let (home, order) = match known {
            Some(known) => known,
            None => loop {
                match make_home(&dfs, number).await {
                    Ok(made) => break made,
                    Err(error) => tracing::info!(target: "sim", %error, number, "no home"),
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            },
        };
        world.names(number).home = Some((home, order));
        Client {
            world,
            number,
            dfs,
            home,
            order,
            open: Vec::new(),
            cuts: NOT_LOOKED,
        }
    }

    /// With a session that knows nothing of before.
    async fn start_over(mut self) -> Client {
        for open in self.open.drain(..) {
            self.world.book().failed(open.inode);
            open.file.release();
        }
        let Client {
            world, number, dfs, ..
        } = self;
        // Nobody has to hear of it, and with the master down nobody does.
        let _ = dfs.shutdown(Duration::from_secs(3)).await;
        drop(dfs);
        Client::settle(world, number).await
    }

    async fn act(&mut self) {
        let files = self.open.len();
        match below(100) {
            _ if files == 0 => self.create().await,
            0..=7 if files < FILES => self.create().await,
            0..=7 => self.remove().await,
            8..=11 => self.rename().await,
            12..=19 => self.make_ordered().await,
            20..=23 => self.sync_names().await,
            24..=29 => self.close().await,
            30..=33 => self.reopen().await,
            34..=44 => self.sync().await,
            45..=62 => self.read_own().await,
            63..=74 => self.read_others().await,
            _ => self.write().await,
        }
    }

    /// Runs an operation to its end, which must come.
    async fn finish<T>(
        &self,
        what: &str,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let ended = tokio::time::timeout(PATIENCE, operation).await;
        let who = Place::Client(self.number).name();
        let result = ended.unwrap_or_else(|_| {
            self.world.book().violated(format!("{who}: {what} hangs"));
            Err(Error::ShutDown)
        });
        if let Err(error) = &result {
            tracing::debug!(target: "sim", %error, who, what);
        }
        self.world
            .book()
            .note(&format!("{who} {what}"), result.is_ok());
        result
    }

    fn pick(&self) -> Option<(InodeId, Arc<OpenFile>)> {
        let open = self.open.get(below(self.open.len().max(1)))?;
        Some((open.inode, Arc::clone(&open.file)))
    }

    async fn create(&mut self) {
        let text = {
            let mut names = self.world.names(self.number);
            names.next += 1;
            format!("f{}", names.next)
        };
        let cuts = self.world.book().cuts;
        self.world.names(self.number).begin(&[(&text, None)], cuts);
        let name = name(&text);
        let made = self.dfs.create(self.home, &name, 0o644, CALLER, false);
        match self.finish("create", made).await {
            Ok((attr, file)) => {
                let inode = attr.inode;
                self.world.book().made(inode);
                let made = [(text.as_str(), Some(inode))];
                self.world.names(self.number).done(&made, cuts);
                self.open.push(Open { inode, file });
            }
            Err(error) => self.unmade("create", &error),
        }
    }

    /// A change was not made, or nobody knows. A name that nobody else makes cannot be there, and
    /// one that was made cannot be gone: that would be a change that was made twice.
    fn unmade(&self, what: &str, error: &Error) {
        let twice = matches!(error, Error::Refused(FsError::Exists | FsError::NotFound));
        if twice && self.cuts == self.world.book().cuts {
            let who = Place::Client(self.number).name();
            let wrong = format!("{who}: {what} was refused as if it had been made: {error}");
            self.world.book().violated(wrong);
        }
        self.world.names(self.number).doubt();
    }

    async fn remove(&mut self) {
        let Some((text, inode)) = self.named() else {
            return;
        };
        let cuts = self.world.book().cuts;
        let gone = [(text.as_str(), None)];
        self.world.names(self.number).begin(&gone, cuts);
        let name = name(&text);
        let removed = self.dfs.unlink(self.home, &name);
        match self.finish(&format!("unlink of {inode}"), removed).await {
            Ok(_) => self.world.names(self.number).done(&gone, cuts),
            Err(error) => self.unmade("unlink", &error),
        }
        if let Some(at) = self.open.iter().position(|open| open.inode == inode) {
            let open = self.open.swap_remove(at);
            self.world.book().failed(inode);
            open.file.release();
        }
    }

    fn named(&self) -> Option<(String, InodeId)> {
        let mut files = self.world.names(self.number).files();
        (!files.is_empty()).then(|| files.swap_remove(below(files.len())))
    }

    async fn rename(&mut self) {
        let Some((from, inode)) = self.named() else {
            return;
        };
        let to = {
            let mut names = self.world.names(self.number);
            names.next += 1;
            format!("r{}", names.next)
        };
        let cuts = self.world.book().cuts;
        let moved = [(from.as_str(), None), (to.as_str(), Some(inode))];
        self.world.names(self.number).begin(&moved, cuts);
        let (from, to) = (name(&from), name(&to));
        let renamed = self
            .dfs
            .rename(self.home, &from, self.home, &to, RenameMode::NoReplace);
        match self.finish("rename", renamed).await {
            Ok(_) => self.world.names(self.number).done(&moved, cuts),
            Err(error) => self.unmade("rename", &error),
        }
    }

    async fn make_ordered(&mut self) {
        let cuts = self.world.book().cuts;
        let number = self.world.names(self.number).order.begin();
        let name = name(&number.to_string());
        let made = self
            .dfs
            .make(self.order, &name, Make::Directory, 0o755, CALLER);
        match self.finish("mkdir", made).await {
            Ok(_) => {
                let cut = cuts != self.world.book().cuts;
                self.world.names(self.number).order.done(cut);
            }
            Err(error) => self.unmade("mkdir", &error),
        }
    }

    async fn sync_names(&mut self) {
        let cuts = self.world.book().cuts;
        let next = self.world.names(self.number).order.next;
        let synced = self.finish("fsync of a directory", self.dfs.sync_directory(self.home));
        if synced.await.is_ok() && cuts == self.cuts && cuts == self.world.book().cuts {
            let mut names = self.world.names(self.number);
            names.synced(cuts);
            names.tidy();
        }
        let synced = self.finish("fsync of a directory", self.dfs.sync_directory(self.order));
        if synced.await.is_ok() && cuts == self.cuts && cuts == self.world.book().cuts {
            self.world.names(self.number).order.synced = next;
            self.world.promise();
        }
    }

    async fn write(&mut self) {
        let Some((inode, file)) = self.pick() else {
            return;
        };
        let first = below(STRIPES);
        let stripes = first..first + 1 + below(STRIPES_AT_ONCE);
        let (bytes, promise) = self.world.book().write(inode, stripes.clone());
        let at = (first * STRIPE) as u64;
        let write = async {
            match file.try_write(at, &bytes, false) {
                Some(done) => done.map(drop),
                None => file.write(at, &bytes, false).await.map(drop),
            }
        };
        match self
            .finish(&format!("write of {stripes:?} of {inode}"), write)
            .await
        {
            Ok(()) => self.world.book().written(&promise),
            Err(_) => self.give_up(inode),
        }
    }

    async fn promised(
        &mut self,
        what: &str,
        keep: impl Fn(&World, &Promise),
        operation: impl AsyncFn(&OpenFile) -> Result<(), Error>,
    ) {
        let Some((inode, file)) = self.pick() else {
            return;
        };
        let promise = self.world.book().promise(inode);
        match self
            .finish(&format!("{what} of {inode}"), operation(&file))
            .await
        {
            Ok(()) => keep(&self.world, &promise),
            Err(_) => self.give_up(inode),
        }
    }

    async fn sync(&mut self) {
        let keep = |world: &World, promise: &Promise| {
            world.book().synced(promise);
            world.promise();
        };
        self.promised("fsync", keep, async |file| file.fsync(false).await)
            .await;
    }

    async fn close(&mut self) {
        let keep = |world: &World, promise: &Promise| world.book().closed(promise);
        self.promised("close", keep, async |file| file.flush().await)
            .await;
    }

    /// As a program does that was told of an error: closes the file, and opens it again later.
    fn give_up(&mut self, inode: InodeId) {
        self.world.book().failed(inode);
        if let Some(at) = self.open.iter().position(|open| open.inode == inode) {
            self.open.swap_remove(at).file.release();
        }
    }

    async fn reopen(&mut self) {
        let Some((text, inode)) = self.named() else {
            return;
        };
        if self.open.iter().any(|open| open.inode == inode) || !self.world.book().knows(inode) {
            return;
        }
        let name = name(&text);
        let opened = async {
            let found = self.dfs.lookup(self.home, &name).await?;
            let opened = self.dfs.open(found.inode, OpenHow::default()).await?;
            Ok((found.inode, opened.file))
        };
        if let Ok((found, file)) = self.finish(&format!("open of {inode}"), opened).await {
            self.saw(&text, Some(found));
            if self.world.book().knows(found) {
                self.world.book().opened(found);
                self.open.push(Open { inode: found, file });
            }
        }
    }

    fn saw(&self, text: &str, seen: Option<InodeId>) {
        if self.cuts == self.world.book().cuts {
            let checked = self.world.names(self.number).check(text, seen, self.cuts);
            if let Err(wrong) = checked {
                let who = Place::Client(self.number).name();
                self.world.book().violated(format!("{who}: {wrong}"));
            }
        }
    }

    async fn read_own(&mut self) {
        let Some((inode, file)) = self.pick() else {
            return;
        };
        self.read(inode, &file, Expecting::Written).await;
    }

    async fn read(&self, inode: InodeId, file: &OpenFile, how: Expecting) {
        let first = below(STRIPES);
        let stripes = first..first + 1 + below(STRIPES_AT_ONCE);
        let least = self.world.book().expect(inode, stripes.clone(), how);
        let cuts = self.world.book().cuts;
        let read = read(file, first * STRIPE, stripes.len() * STRIPE);
        let what = format!("read of {stripes:?} of {inode}");
        let Ok(bytes) = self.finish(&what, read).await else {
            return;
        };
        // What was promised when it began may have gone with the power since.
        if cuts == self.world.book().cuts {
            let who = Place::Client(self.number).name();
            self.world.book().check(&who, inode, first, &least, &bytes);
        }
    }

    async fn read_others(&mut self) {
        let others = self.world.clients();
        let other = 1 + below(others);
        let files = self.world.names(other).files();
        let (Some((text, inode)), Some((home, _))) = (
            files.get(below(files.len().max(1))).cloned(),
            self.world.names(other).home,
        ) else {
            return;
        };
        let name = name(&text);
        let opened = async {
            let found = self.dfs.lookup(home, &name).await?;
            let opened = self.dfs.open(found.inode, OpenHow::default()).await?;
            Ok((found.inode, opened.file))
        };
        let Ok((found, file)) = self.finish("open of another's", opened).await else {
            return;
        };
        if found == inode && self.world.book().knows(inode) {
            let calm = [
                Place::Master,
                Place::Client(other),
                Place::Client(self.number),
            ];
            let how = match calm.iter().all(|place| self.world.calm(*place) > CALM) {
                true => Expecting::Written,
                false => Expecting::Promised,
            };
            self.read(inode, &file, how).await;
        }
        file.release();
    }

    /// After a power cut: what is left must be what was promised. Only who knows what is left goes on;
    /// who could not look, or after the next cut, tries again.
    async fn look_at_all(&mut self, cuts: u64) {
        let all = self.world.names(self.number).all();
        let mut seen = Vec::new();
        for text in all {
            let name = name(&text);
            let found = self.finish("lookup", self.dfs.lookup(self.home, &name));
            match found.await {
                Ok(attr) => seen.push((text, Some(attr.inode))),
                Err(Error::Refused(FsError::NotFound)) => seen.push((text, None)),
                Err(_) => return,
            }
        }
        let Ok(numbers) = self.finish("readdir", numbers(&self.dfs, self.order)).await else {
            return;
        };
        if cuts != self.world.book().cuts {
            return;
        }
        self.cuts = cuts;
        for (text, seen) in seen {
            self.saw(&text, seen);
        }
        let checked = self.world.names(self.number).order.check(&numbers, true);
        if let Err(wrong) = checked {
            let who = Place::Client(self.number).name();
            self.world.book().violated(format!("{who}: {wrong}"));
        }
    }

    /// The programs end: everything is synced and closed.
    async fn rest(mut self) {
        for open in std::mem::take(&mut self.open) {
            let promise = self.world.book().promise(open.inode);
            if self
                .finish("last fsync", open.file.fsync(false))
                .await
                .is_ok()
            {
                self.world.book().synced(&promise);
            }
            open.file.release();
        }
        let Client { world, dfs, .. } = self;
        // A session that could not be ended is not renewed any more, and ends by itself.
        let _ = dfs.shutdown(Duration::from_secs(10)).await;
        drop(dfs);
        world.client_is_done();
        std::future::pending::<()>().await;
    }
}

async fn make_home(dfs: &Dfs, number: usize) -> Result<(InodeId, InodeId), Error> {
    let make = async |parent, text: &str| {
        let name = name(text);
        match dfs
            .make(parent, &name, Make::Directory, 0o755, CALLER)
            .await
        {
            Err(Error::Refused(FsError::Exists)) => Ok(dfs.lookup(parent, &name).await?.inode),
            made => Ok::<_, Error>(made?.inode),
        }
    };
    let home = make(InodeId::ROOT, &Place::Client(number).name()).await?;
    dfs.sync_directory(InodeId::ROOT).await?;
    let order = make(home, "order").await?;
    dfs.sync_directory(home).await?;
    Ok((home, order))
}

/// The numbers that are names in a directory.
pub(crate) async fn numbers(dfs: &Dfs, directory: InodeId) -> Result<BTreeSet<u64>, Error> {
    let mut seen = BTreeSet::new();
    let mut after = Cookie::default();
    loop {
        let listing = dfs.readdir(directory, after, 1000, false).await?;
        for entry in &listing.entries {
            let text = String::from_utf8_lossy(entry.name.as_bytes()).into_owned();
            seen.extend(text.parse::<u64>().ok());
        }
        match listing.entries.last() {
            Some(last) if !listing.complete => after = last.cookie,
            _ => return Ok(seen),
        }
    }
}

/// What is there of `len` bytes from `at` on.
pub(crate) async fn read(file: &OpenFile, at: usize, len: usize) -> Result<Bytes, Error> {
    let mut all = Vec::with_capacity(len);
    while all.len() < len {
        let at = (at + all.len()) as u64;
        let left = u32::try_from((len - all.len()).min(128 << 10)).expect("not much");
        let part = match file.try_read(at, left) {
            Some(read) => read?,
            None => file.read(at, left).await?,
        };
        if part.is_empty() {
            break;
        }
        all.extend_from_slice(&part);
    }
    Ok(all.into())
}
