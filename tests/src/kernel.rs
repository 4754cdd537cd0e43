//! System calls that tests make and std does not offer.
//!
//! Each is wrapped safe, with an `io::Result`, in a few lines.

#![expect(unsafe_code, reason = "calls into libc that have no safe form in std")]

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, FromRawFd, IntoRawFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
};

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: kill takes two numbers and touches no memory of ours.
    check(unsafe { libc::kill(pid, signal) })
}

/// Takes a mount point out of the tree at once, busy or not.
pub fn detach(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is a string that ends in a zero byte and lives until the call returns.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) })
}

/// Whether the caller is root.
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, cannot fail and touches no memory of ours.
    unsafe { libc::geteuid() == 0 }
}

/// Exchanges two names in one step, or refuses to replace the second (renameat2(2)).
pub fn rename_flags(from: &Path, to: &Path, flags: libc::c_uint) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both paths end in a zero byte and live until the call returns.
    check(unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            flags,
        )
    })
}

/// Free and total bytes, and the file system's magic (statfs(2)).
pub fn statfs(path: &Path) -> io::Result<(u64, u64, i64)> {
    let path = c_path(path)?;
    // SAFETY: all fields of statfs are numbers, for which zero is a value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in a zero byte, the structure is ours and large enough.
    check(unsafe { libc::statfs(path.as_ptr(), &raw mut found) })?;
    let unit = u64::try_from(found.f_bsize).map_err(io::Error::other)?;
    Ok((found.f_bavail * unit, found.f_blocks * unit, found.f_type))
}

/// Reserves or punches (fallocate(2)).
pub fn fallocate(file: &File, mode: i32, offset: u64, len: u64) -> io::Result<()> {
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `file`; the rest are numbers.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) })
}

/// Where data (SEEK_DATA) or a hole (SEEK_HOLE) begins, from `offset` on (lseek(2)).
pub fn seek(file: &File, offset: u64, whence: i32) -> io::Result<u64> {
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `file`; the rest are numbers.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, whence) };
    u64::try_from(found).map_err(|_| io::Error::last_os_error())
}

/// Copies inside the kernel or below it (copy_file_range(2)); gives how many bytes.
pub fn copy_range(from: (&File, u64), to: (&File, u64), len: usize) -> io::Result<usize> {
    let mut at_from = libc::off_t::try_from(from.1).map_err(io::Error::other)?;
    let mut at_to = libc::off_t::try_from(to.1).map_err(io::Error::other)?;
    // SAFETY: both descriptors are open as long as their files; the offsets are ours and live until
    // the call returns.
    let copied = unsafe {
        libc::copy_file_range(
            from.0.as_raw_fd(),
            &raw mut at_from,
            to.0.as_raw_fd(),
            &raw mut at_to,
            len,
            0,
        )
    };
    usize::try_from(copied).map_err(|_| io::Error::last_os_error())
}

/// Names of the extended attributes of a file, links not followed.
pub fn xattr_names(path: &Path) -> io::Result<Vec<OsString>> {
    let path = c_path(path)?;
    let mut names = vec![0_u8; 64 << 10];
    // SAFETY: the path ends in a zero byte; at most `names.len()` bytes are written to `names`.
    let len = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(len).map_err(|_| io::Error::last_os_error())?);
    let parts = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    Ok(parts
        .map(|name| OsString::from_vec(name.to_vec()))
        .collect())
}

/// The value of an extended attribute, links not followed.
pub fn xattr(path: &Path, name: &OsStr) -> io::Result<Vec<u8>> {
    let path = c_path(path)?;
    let name = CString::new(name.as_bytes()).map_err(io::Error::other)?;
    let mut value = vec![0_u8; 64 << 10];
    // SAFETY: path and name end in a zero byte; at most `value.len()` bytes are written to `value`.
    let len = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(usize::try_from(len).map_err(|_| io::Error::last_os_error())?);
    Ok(value)
}

/// Sets an extended attribute, links not followed.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let path = c_path(path)?;
    let name = CString::new(name).map_err(io::Error::other)?;
    // SAFETY: path and name end in a zero byte; `value` is read for its length only.
    check(unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    })
}

/// Removes an extended attribute, links not followed.
pub fn remove_xattr(path: &Path, name: &str) -> io::Result<()> {
    let path = c_path(path)?;
    let name = CString::new(name).map_err(io::Error::other)?;
    // SAFETY: path and name end in a zero byte and live until the call returns.
    check(unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) })
}

/// A file handle, as the kernel gives it out: its type, and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHandle(Vec<u8>);

/// Of the head of a handle: how many bytes follow, and their type.
const HANDLE_HEAD: usize = 8;

/// Bytes that follow, at the most (MAX_HANDLE_SZ).
const HANDLE_BYTES_MAX: u8 = 128;

/// The handle of a file, links not followed (name_to_handle_at(2)).
pub fn handle_of(path: &Path) -> io::Result<FileHandle> {
    let path = c_path(path)?;
    let mut handle = vec![0; HANDLE_HEAD + usize::from(HANDLE_BYTES_MAX)];
    handle[0] = HANDLE_BYTES_MAX;
    let mut mount: libc::c_int = 0;
    // SAFETY: the path ends in a zero byte; the kernel writes a number to `mount`, and to `handle`
    // no more behind its head than the head says there is room for.
    let got = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount,
            0,
        )
    };
    check(i32::try_from(got).unwrap_or(-1))?;
    handle.truncate(HANDLE_HEAD + usize::from(handle[0]));
    Ok(FileHandle(handle))
}

/// Opens what a handle is of, on the mount that a directory is on (open_by_handle_at(2)). Needs root.
pub fn open_by_handle(directory: &File, handle: &FileHandle, flags: i32) -> io::Result<File> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: the directory is open during the call; the kernel reads the handle's head, and behind
    // it the bytes that the head counts.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            directory.as_raw_fd(),
            handle.0.as_ptr(),
            flags,
        )
    };
    match i32::try_from(opened) {
        // SAFETY: the descriptor was opened just now and is nobody else's.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { File::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the calling thread may do this with a file, by the user that it accesses files as
/// (faccessat(2) with AT_EACCESS).
pub fn may(path: &Path, what: libc::c_int) -> bool {
    let Ok(path) = c_path(path) else {
        return false;
    };
    // SAFETY: the path ends in a zero byte and lives until the call returns.
    let may = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), what, libc::AT_EACCESS) };
    may == 0
}

/// Does something as a user without groups but their own, in a thread of its own. Needs root.
pub fn as_user<T: Send>(user: u32, work: impl FnOnce() -> T + Send) -> T {
    let there = || {
        // SAFETY: these take numbers, and no list of groups, and touch no memory of ours. They are
        // system calls of this thread: those of libc would change all threads. File accesses go by
        // the effective ids; with the one of root the rights of root go, too.
        let changed = unsafe {
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
                && libc::syscall(libc::SYS_setresgid, -1, user, -1) == 0
                && libc::syscall(libc::SYS_setresuid, -1, user, -1) == 0
        };
        assert!(
            changed,
            "root may be anyone: {}",
            io::Error::last_os_error()
        );
        work()
    };
    std::thread::scope(|scope| scope.spawn(there).join().expect("it ended well"))
}

/// Gives the calling thread a table of open descriptors of its own (unshare(2)).
pub fn part_descriptors() -> io::Result<()> {
    // SAFETY: unshare takes a number and touches no memory of ours.
    check(unsafe { libc::unshare(libc::CLONE_FILES) })
}

/// close(2) with its error: that is where a write that failed late is told.
pub fn close(file: File) -> io::Result<()> {
    let descriptor = file.into_raw_fd();
    // SAFETY: the descriptor was owned by `file`, which gave it up; nobody else closes it.
    check(unsafe { libc::close(descriptor) })
}

/// Bytes locked, or to be locked, as fcntl(2) says it: F_RDLCK, F_WRLCK or F_UNLCK, the first byte,
/// how many (0: all to the end), and of a lock that was found the process.
pub type Flock = (libc::c_int, i64, i64, i32);

/// A lock command of fcntl(2): F_SETLK, F_SETLKW, F_GETLK and their F_OFD_ forms. Gives the lock
/// back as the kernel left it.
pub fn fcntl_lock(file: &File, command: libc::c_int, lock: Flock) -> io::Result<Flock> {
    let (kind, start, len, _) = lock;
    // SAFETY: all fields of flock are numbers, for which zero is a value.
    let mut asked: libc::flock = unsafe { std::mem::zeroed() };
    asked.l_type = libc::c_short::try_from(kind).map_err(io::Error::other)?;
    asked.l_whence = libc::c_short::try_from(libc::SEEK_SET).map_err(io::Error::other)?;
    (asked.l_start, asked.l_len) = (start, len);
    // SAFETY: the descriptor is open as long as `file`, the structure lives until the call returns.
    check(unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut asked) })?;
    let kind = libc::c_int::from(asked.l_type);
    Ok((kind, asked.l_start, asked.l_len, asked.l_pid))
}

extern "C" fn nothing(_: libc::c_int) {}

/// Has a signal interrupt system calls of this process, and do nothing else.
pub fn interrupted_by(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: all fields of sigaction are numbers and a mask, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the action is read during the call; its handler does nothing, so it may run anywhere.
    check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) })
}

/// The calling thread, as the kernel numbers it.
pub fn thread_id() -> libc::pid_t {
    // SAFETY: gettid takes nothing, cannot fail and touches no memory of ours.
    unsafe { libc::gettid() }
}

/// Sends a signal to one thread of this process.
pub fn signal_thread(thread: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    let process = libc::pid_t::try_from(std::process::id()).map_err(io::Error::other)?;
    // SAFETY: tgkill takes three numbers and touches no memory of ours.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    check(i32::try_from(sent).unwrap_or(-1))
}

/// The bytes of a file from its beginning in this process's memory, shared (mmap(2) with MAP_SHARED).
/// The kernel may change them at any time, so they are only copied in and out.
#[derive(Debug)]
pub struct Mapping {
    start: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps the first `len` bytes of a file that is open for reading and writing.
    pub fn new(file: &File, len: usize) -> io::Result<Mapping> {
        // SAFETY: the kernel chooses where, so nothing of ours is replaced; the descriptor is open as
        // long as `file`.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast();
        Ok(Mapping { start, len })
    }

    /// A copy of `len` bytes from `at` on.
    pub fn read(&self, at: usize, len: usize) -> Vec<u8> {
        assert!(at + len <= self.len, "within the mapping");
        let mut bytes = vec![0; len];
        // SAFETY: the range is within what was mapped, which lasts as long as `self`; `bytes` is ours.
        unsafe { std::ptr::copy_nonoverlapping(self.start.add(at), bytes.as_mut_ptr(), len) };
        bytes
    }

    /// Puts bytes at `at`.
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len, "within the mapping");
        // SAFETY: the range is within what was mapped for writing, which lasts as long as `self`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) };
    }

    /// msync(2) of all of it, with MS_SYNC.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: the range is what was mapped; msync changes nothing of ours.
        check(unsafe { libc::msync(self.start.cast(), self.len, libc::MS_SYNC) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is what was mapped, and nobody has a reference into it.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// Watches of inotify(7), each of one file or directory.
#[derive(Debug)]
pub struct Watches(File);

impl Watches {
    /// None yet.
    pub fn new() -> io::Result<Watches> {
        // SAFETY: takes a number, gives a descriptor that nobody else owns.
        let descriptor = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open, and this is its only owner.
        Ok(Watches(unsafe { File::from_raw_fd(descriptor) }))
    }

    /// Watches everything that happens to what is at `path`; its number.
    pub fn add(&self, path: &Path) -> io::Result<i32> {
        let path = c_path(path)?;
        // SAFETY: the path ends in a zero byte and lives until the call returns.
        let number = unsafe {
            libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), libc::IN_ALL_EVENTS)
        };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(number)
    }

    /// What has happened since the last call: the number of the watch, and what (IN_CREATE and so on).
    pub fn happened(&self) -> io::Result<Vec<(i32, u32)>> {
        let mut events = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let len = match (&self.0).read(&mut bytes) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(events),
                Err(error) => return Err(error),
            };
            // Each: watch, what, cookie, length of the name, 4 bytes each, and the name.
            let mut rest = &bytes[..len];
            while let Some((head, after)) = rest.split_first_chunk::<16>() {
                let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
                events.push((i32::from_ne_bytes(word(0)), u32::from_ne_bytes(word(4))));
                let name = usize::try_from(u32::from_ne_bytes(word(12))).unwrap_or(after.len());
                rest = after.get(name..).unwrap_or_default();
            }
        }
    }
}
