//! The file system itself: every call goes to the folder below, and what changes something is
//! remembered once it has succeeded.

use super::history::{Event, History};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

const TTL: Duration = Duration::from_secs(1);

/// A mounted recording; unmounted when dropped.
pub struct Recording {
    point: PathBuf,
    history: Arc<History>,
    session: Option<BackgroundSession>,
}

impl Recording {
    /// Passes the folder `below` through at `point`.
    pub fn start(below: &Path, point: &Path) -> io::Result<Recording> {
        fs::create_dir_all(below)?;
        fs::create_dir_all(point)?;
        let history = Arc::new(History::default());
        let top = Passthrough {
            below: below.to_path_buf(),
            history: history.clone(),
            files: Mutex::new(Files::new()),
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("dfs-recording".to_owned())];
        let session = Some(fuser::spawn_mount(top, point, &config)?);
        Ok(Recording {
            point: point.to_path_buf(),
            history,
            session,
        })
    }

    /// Unmounts and gives back what happened.
    pub fn end(mut self) -> Vec<Event> {
        self.leave();
        self.history.take()
    }

    fn leave(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = crate::kernel::detach(&self.point);
            let _ = session.join();
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Names, numbers and handles.
struct Files {
    paths: HashMap<u64, PathBuf>,
    numbers: HashMap<PathBuf, u64>,
    handles: HashMap<u64, (u64, Arc<File>)>,
    last: u64,
}

impl Files {
    fn new() -> Files {
        let top = (PathBuf::new(), INodeNo::ROOT.0);
        Files {
            paths: HashMap::from([(top.1, top.0.clone())]),
            numbers: HashMap::from([top]),
            handles: HashMap::new(),
            last: INodeNo::ROOT.0,
        }
    }

    fn number(&mut self, path: &Path) -> u64 {
        if let Some(number) = self.numbers.get(path) {
            return *number;
        }
        self.last += 1;
        self.numbers.insert(path.to_path_buf(), self.last);
        self.paths.insert(self.last, path.to_path_buf());
        self.last
    }

    fn opened(&mut self, number: u64, file: File) -> FileHandle {
        self.last += 1;
        self.handles.insert(self.last, (number, Arc::new(file)));
        FileHandle(self.last)
    }
}

struct Passthrough {
    below: PathBuf,
    history: Arc<History>,
    files: Mutex<Files>,
}

impl Passthrough {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, number: INodeNo) -> io::Result<PathBuf> {
        self.files()
            .paths
            .get(&number.0)
            .cloned()
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        self.path(parent).map(|parent| parent.join(name))
    }

    fn handle(&self, handle: FileHandle) -> io::Result<(u64, Arc<File>)> {
        self.files()
            .handles
            .get(&handle.0)
            .cloned()
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn attr(&self, path: &Path) -> io::Result<FileAttr> {
        let metadata = fs::symlink_metadata(self.below.join(path))?;
        Ok(attr(self.files().number(path), &metadata))
    }

    fn attr_of(&self, number: INodeNo, handle: Option<FileHandle>) -> io::Result<FileAttr> {
        match handle {
            Some(handle) => Ok(attr(number.0, &self.handle(handle)?.1.metadata()?)),
            None => self.attr(&self.path(number)?),
        }
    }

    fn set_len(&self, number: INodeNo, handle: Option<FileHandle>, len: u64) -> io::Result<()> {
        match handle {
            Some(handle) => self.handle(handle)?.1.set_len(len)?,
            None => {
                let path = self.below.join(self.path(number)?);
                OpenOptions::new().write(true).open(path)?.set_len(len)?;
            }
        }
        self.history.push(Event::SetLen {
            file: number.0,
            len,
        });
        Ok(())
    }

    fn create_file(&self, parent: INodeNo, name: &OsStr) -> io::Result<(FileAttr, FileHandle)> {
        let path = self.child(parent, name)?;
        let full = self.below.join(&path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(full)?;
        let attr = self.attr(&path)?;
        self.history.push(Event::Create {
            file: attr.ino.0,
            path,
        });
        Ok((attr, self.files().opened(attr.ino.0, file)))
    }

    fn open_file(&self, number: INodeNo, flags: OpenFlags) -> io::Result<FileHandle> {
        let path = self.below.join(self.path(number)?);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if flags.0 & libc::O_TRUNC != 0 {
            file.set_len(0)?;
            self.history.push(Event::SetLen {
                file: number.0,
                len: 0,
            });
        }
        Ok(self.files().opened(number.0, file))
    }

    fn remove(&self, parent: INodeNo, name: &OsStr) -> io::Result<()> {
        let path = self.child(parent, name)?;
        fs::remove_file(self.below.join(&path))?;
        self.files().numbers.remove(&path);
        self.history.push(Event::Remove(path));
        Ok(())
    }

    fn rename_path(&self, from: PathBuf, to: PathBuf) -> io::Result<()> {
        fs::rename(self.below.join(&from), self.below.join(&to))?;
        let mut files = self.files();
        if let Some(number) = files.numbers.remove(&from) {
            files.numbers.insert(to.clone(), number);
            files.paths.insert(number, to.clone());
        }
        self.history.push(Event::Rename { from, to });
        Ok(())
    }

    fn entries(&self, number: INodeNo) -> io::Result<Vec<(u64, FileType, std::ffi::OsString)>> {
        let path = self.path(number)?;
        let entries = fs::read_dir(self.below.join(&path))?;
        let entry = |entry: io::Result<fs::DirEntry>| {
            let name = entry?.file_name();
            let attr = self.attr(&path.join(&name))?;
            Ok((attr.ino.0, attr.kind, name))
        };
        entries.map(entry).collect()
    }
}

fn attr(number: u64, metadata: &Metadata) -> FileAttr {
    let time = |time: io::Result<SystemTime>| time.unwrap_or(SystemTime::UNIX_EPOCH);
    let is_folder = metadata.is_dir();
    FileAttr {
        ino: INodeNo(number),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.accessed()),
        mtime: time(metadata.modified()),
        ctime: time(metadata.modified()),
        crtime: SystemTime::UNIX_EPOCH,
        kind: if is_folder {
            FileType::Directory
        } else {
            FileType::RegularFile
        },
        perm: u16::try_from(metadata.permissions().mode() & 0o7777).expect("twelve bits"),
        nlink: u32::try_from(metadata.nlink()).unwrap_or(u32::MAX),
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(libc::EIO))
}

impl Filesystem for Passthrough {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.child(parent, name).and_then(|path| self.attr(&path)) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr_of(ino, fh) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let cut = size.map_or(Ok(()), |len| self.set_len(ino, fh, len));
        match cut.and_then(|()| self.attr_of(ino, fh)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn mkdir(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.child(parent, name).and_then(|path| {
            fs::create_dir(self.below.join(&path))?;
            self.history.push(Event::Folder(path.clone()));
            self.attr(&path)
        });
        match made {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.remove(parent, name), reply);
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let paths = self
            .child(parent, name)
            .and_then(|from| Ok((from, self.child(newparent, newname)?)));
        empty(
            paths.and_then(|(from, to)| self.rename_path(from, to)),
            reply,
        );
    }

    fn create(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.create_file(parent, name) {
            Ok((attr, handle)) => {
                reply.created(&TTL, &attr, Generation(0), handle, FopenFlags::empty());
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open_file(ino, flags) {
            Ok(handle) => reply.opened(handle, FopenFlags::empty()),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; usize::try_from(size).expect("32 bits fit")];
        let read = self.handle(fh).and_then(|(_, file)| {
            let mut len = 0;
            while len < bytes.len() {
                match file.read_at(&mut bytes[len..], offset + len as u64)? {
                    0 => break,
                    more => len += more,
                }
            }
            Ok(len)
        });
        match read {
            Ok(len) => reply.data(&bytes[..len]),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self
            .handle(fh)
            .and_then(|(_, file)| file.write_all_at(data, offset));
        match written {
            Ok(()) => {
                self.history.push(Event::Write {
                    file: ino.0,
                    offset,
                    bytes: data.to_vec(),
                });
                reply.written(u32::try_from(data.len()).expect("a request is small"));
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.files().handles.remove(&fh.0);
        reply.ok();
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _data: bool, reply: ReplyEmpty) {
        self.history.push(Event::Sync { file: ino.0 });
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _data: bool,
        reply: ReplyEmpty,
    ) {
        self.history.push(Event::SyncFolder);
        reply.ok();
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.entries(ino) {
            Ok(entries) => {
                for (next, (number, kind, name)) in
                    (1..).zip(entries).skip_while(|(next, _)| *next <= offset)
                {
                    if reply.add(INodeNo(number), next, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match crate::kernel::statfs(&self.below) {
            Ok((free, total, _)) => {
                let (total, free) = (total / 4096, free / 4096);
                reply.statfs(total, free, free, 1 << 20, 1 << 20, 4096, 255, 4096);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let grown = self.handle(fh).and_then(|(_, file)| {
            if mode != 0 || file.metadata()?.len() >= offset + length {
                return Ok(());
            }
            self.set_len(ino, Some(fh), offset + length)
        });
        empty(grown, reply);
    }
}

fn empty(result: io::Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}
