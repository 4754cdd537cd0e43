//! Segments: the files that the log is cut into, and the anchor that says which of them there are.
//!
//! A segment `log/0000002a.seg` has its full size and its blocks written before it is used, because
//! a synced append into written space costs half of one into a growing file. What is purged is
//! kept as `log/spare` and becomes the next one. The header of a segment (64 bytes, golden bytes
//! below) goes before its records. `log/anchor` is replaced as a whole and synced when a vote, the
//! membership behind the purged part, or the set of segments changes; it makes a lost segment
//! noticed.

use super::fault::LogError;
use dfs_host::disk::{Disk, DiskFile};
use dfs_proto::{
    checksum::Crc32c,
    id::FilesystemId,
    log::record::{Place, SegmentHeader, Spot},
};
use std::{io, sync::Arc};

/// Folder of the log on the master's disk.
pub(crate) const FOLDER: &str = "log";
const SPARE: &str = "log/spare";
const SPARE_NEW: &str = "log/spare.new";
const ANCHOR: &str = "log/anchor";
const ANCHOR_NEW: &str = "log/anchor.new";
const ANCHOR_MAGIC: [u8; 8] = *b"dfsAnch1";
/// A spare is filled in steps of so much. What is written at once is kept by the page cache in one folio,
/// and ext4 goes over all of a folio's blocks for each record that is put into it: with steps of 1 MiB
/// an append of 450 bytes took 3.4 us, with these it takes 1.4.
const FILL_BYTES: usize = 64 << 10;

/// A vote, as Raft demands it to be remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Vote {
    pub(crate) term: u64,
    pub(crate) node: u32,
    pub(crate) committed: bool,
}

/// What stands beside the segments.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Anchor {
    /// The file system, so that a foreign log is recognised.
    pub(crate) filesystem: FilesystemId,
    /// Sequence of the oldest segment.
    pub(crate) oldest: u32,
    /// Sequence of the newest segment.
    pub(crate) newest: u32,
    /// The vote.
    pub(crate) vote: Option<Vote>,
    /// The last entry that was purged.
    pub(crate) purged: Option<Place>,
    /// The last membership at or before it, encoded.
    pub(crate) membership: Option<(Place, Vec<u8>)>,
    /// Up to where the log was synced when this was written.
    pub(crate) synced: Spot,
}

/// Name of a segment's file.
pub(crate) fn segment_name(sequence: u32) -> String {
    format!("{FOLDER}/{sequence:08x}.seg")
}

/// The sequence in a segment's file name (without the folder).
pub(crate) fn segment_of(name: &str) -> Option<u32> {
    let digits = name
        .strip_suffix(".seg")
        .filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok()
}

/// A new file, whatever a crash left under its name.
fn create_over(disk: &dyn Disk, name: &str) -> io::Result<Arc<dyn DiskFile>> {
    match disk.remove(name) {
        Ok(()) => {}
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => {}
        Err(other) => return Err(other),
    }
    disk.create(name)
}

/// Makes sure that there is a spare file of at least `bytes`, all of it written, and synced.
pub(crate) fn prepare_spare(disk: &dyn Disk, bytes: u32) -> io::Result<()> {
    if let Ok(file) = disk.open(SPARE)
        && file.len()? == u64::from(bytes)
    {
        return Ok(());
    }
    let file = create_over(disk, SPARE_NEW)?;
    let zeros = vec![0u8; FILL_BYTES];
    let mut at = 0u64;
    while at < u64::from(bytes) {
        let part = usize::try_from(u64::from(bytes) - at).map_or(FILL_BYTES, |n| n.min(FILL_BYTES));
        if let Err(full) = file.write_at(&[&zeros[..part]], at) {
            drop(file);
            disk.remove(SPARE_NEW)?;
            return Err(full);
        }
        at += part as u64;
    }
    file.sync()?;
    disk.rename(SPARE_NEW, SPARE)?;
    disk.sync_folder(FOLDER)
}

/// Whether a spare is there.
pub(crate) fn has_spare(disk: &dyn Disk) -> bool {
    disk.open(SPARE).is_ok()
}

/// Turns the spare into a segment, header written and all of it synced.
pub(crate) fn begin_segment(
    disk: &dyn Disk,
    header: &SegmentHeader,
) -> io::Result<(Arc<dyn DiskFile>, u32)> {
    prepare_spare(disk, header.bytes)?;
    let file = disk.open(SPARE)?;
    let (head, crc) = header.encode();
    file.write_at(&[&head], 0)?;
    file.sync()?;
    disk.rename(SPARE, &segment_name(header.sequence))?;
    disk.sync_folder(FOLDER)?;
    Ok((file, crc))
}

/// Keeps a segment that is needed no more as the spare, or removes it where there is one already.
pub(crate) fn recycle(disk: &dyn Disk, sequence: u32) -> io::Result<()> {
    let name = segment_name(sequence);
    if has_spare(disk) {
        disk.remove(&name)
    } else {
        disk.rename(&name, SPARE)
    }
}

/// Replaces the anchor; durable when this returns.
pub(crate) fn write_anchor(disk: &dyn Disk, anchor: &Anchor) -> io::Result<()> {
    let body = postcard::to_stdvec(anchor).map_err(io::Error::other)?;
    let crc = Crc32c::of(&body).0.to_le_bytes();
    let length = u32::try_from(body.len())
        .map_err(io::Error::other)?
        .to_le_bytes();
    let file = create_over(disk, ANCHOR_NEW)?;
    file.write_at(&[&ANCHOR_MAGIC, &crc, &length, &body], 0)?;
    file.sync()?;
    disk.rename(ANCHOR_NEW, ANCHOR)?;
    disk.sync_folder(FOLDER)
}

/// The anchor, or `None` where there is none.
pub(crate) fn read_anchor(disk: &dyn Disk) -> Result<Option<Anchor>, LogError> {
    let file = match disk.open(ANCHOR) {
        Ok(file) => file,
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LogError::io("open", ANCHOR, source)),
    };
    let bytes = read_all(&*file).map_err(|source| LogError::io("read", ANCHOR, source))?;
    let damaged = |why: &str| LogError::damaged(ANCHOR, 0, why);
    let (head, body) = bytes
        .split_at_checked(16)
        .ok_or_else(|| damaged("it is too short"))?;
    let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let length = usize::try_from(word(12)).expect("32 bits");
    if head[..8] != ANCHOR_MAGIC || body.len() != length || Crc32c::of(body).0 != word(8) {
        return Err(damaged("its checksum is wrong"));
    }
    postcard::from_bytes(body)
        .map(Some)
        .map_err(|_| damaged("it cannot be decoded"))
}

/// All bytes of a file.
pub(crate) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0u8; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sequences() {
        assert_eq!(segment_name(42), "log/0000002a.seg");
        assert_eq!(segment_of("0000002a.seg"), Some(42));
        assert_eq!(segment_of("spare"), None);
    }
}
