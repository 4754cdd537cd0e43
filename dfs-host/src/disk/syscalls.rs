//! The system calls that std does not wrap: vectored positioned I/O, space, page-cache advice.
//!
//! The only file of this crate with `unsafe`. Each function wraps one call, owns no state, and
//! turns the return value into an `io::Result`; loops and meanings are its callers'.
#![expect(
    unsafe_code,
    reason = "foreign functions; each call has its safety comment"
)]

use super::DiskSpace;
use std::{
    ffi::CString,
    fs::File,
    io,
    mem::MaybeUninit,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
};

/// Buffers that one vectored call takes at the most (IOV_MAX of Linux).
pub(super) const PARTS_MAX: usize = 1024;

/// Reads into `into` from memory only; `WouldBlock` where the kernel would have to ask the disk.
pub(super) fn read_nowait(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let part = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: `part` describes `into`, which is borrowed mutably for the whole call, and the count
    // of parts is 1. The descriptor is open while `file` is borrowed.
    let read = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &raw const part,
            1,
            signed(offset)?,
            libc::RWF_NOWAIT,
        )
    };
    counted(read)
}

/// Writes the beginning of `parts` at `offset`; says how many bytes.
pub(super) fn write_vectored(file: &File, parts: &[&[u8]], offset: u64) -> io::Result<usize> {
    let vector: Vec<libc::iovec> = parts
        .iter()
        .take(PARTS_MAX)
        .map(|part| libc::iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        })
        .collect();
    let count = libc::c_int::try_from(vector.len()).expect("at most PARTS_MAX");
    // SAFETY: each element of `vector` describes a slice that is borrowed for the whole call and
    // that pwritev only reads; `count` is the number of elements.
    let written =
        unsafe { libc::pwritev(file.as_raw_fd(), vector.as_ptr(), count, signed(offset)?) };
    counted(written)
}

/// Reserves space without changing the length.
pub(super) fn reserve(file: &File, offset: u64, len: u64) -> io::Result<()> {
    fallocate(file, libc::FALLOC_FL_KEEP_SIZE, offset, len)
}

/// Gives space back without changing the length.
pub(super) fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    fallocate(file, mode, offset, len)
}

fn fallocate(file: &File, mode: libc::c_int, offset: u64, len: u64) -> io::Result<()> {
    let (offset, len) = (signed(offset)?, signed(len)?);
    loop {
        // SAFETY: plain numbers and an open descriptor.
        let done = unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Advises the kernel to drop what it caches of a range. Advice: it has no outcome to report.
pub(super) fn drop_cached(file: &File, offset: u64, len: u64) {
    if let (Ok(offset), Ok(len)) = (signed(offset), signed(len)) {
        // SAFETY: plain numbers and an open descriptor.
        unsafe {
            libc::posix_fadvise(file.as_raw_fd(), offset, len, libc::POSIX_FADV_DONTNEED);
        }
    }
}

/// Space of the file system at `path`.
pub(super) fn space(path: &Path) -> io::Result<DiskSpace> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` is NUL-terminated and lives through the call; `stat` is writable and of the
    // type that the call fills.
    let done = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed is a valid statvfs, and the call succeeded.
    let stat = unsafe { stat.assume_init() };
    Ok(DiskSpace {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

fn signed(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an offset beyond 2^63"))
}

fn counted(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
