//! Segments: the files that the log is cut into, and the anchor that says which of them there are.
//!
//! A segment `log/0000002a.seg` has its full size and its blocks written before it is used, because
//! a synced append into written space costs half of one into a growing file. What is purged is
//! kept as `log/spare` and becomes the next one. The header of a segment (64 bytes, golden bytes
//! below) goes before its records. `log/anchor` is replaced as a whole and synced when a vote, the
//! membership behind the purged part, or the set of segments changes; it makes a lost segment
//! noticed.

use super::{
    fault::LogError,
    record::{Place, Spot},
};
use dfs_host::disk::{Disk, DiskFile};
use dfs_proto::{checksum::Crc32c, id::FilesystemId};
use std::{io, sync::Arc};

/// Folder of the log on the master's disk.
pub(crate) const FOLDER: &str = "log";
/// Bytes of a segment before its records.
pub(crate) const SEGMENT_HEADER_BYTES: u32 = 64;
const SPARE: &str = "log/spare";
const SPARE_NEW: &str = "log/spare.new";
const ANCHOR: &str = "log/anchor";
const ANCHOR_NEW: &str = "log/anchor.new";
const SEGMENT_MAGIC: [u8; 8] = *b"dfsLog1\n";
const ANCHOR_MAGIC: [u8; 8] = *b"dfsAnch1";
const FILL_BYTES: usize = 1 << 20;

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

/// The header of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    /// Counts the segments.
    pub(crate) sequence: u32,
    /// Bytes of the file.
    pub(crate) bytes: u32,
    /// Checksum of the last record of the segment before; 0 for the first.
    pub(crate) before: u32,
    /// The file system.
    pub(crate) filesystem: FilesystemId,
}

impl SegmentHeader {
    /// Its bytes, and its checksum, which the first record names.
    pub(crate) fn encode(&self) -> ([u8; 64], u32) {
        let mut head = [0u8; 64];
        head[0..8].copy_from_slice(&SEGMENT_MAGIC);
        head[16..20].copy_from_slice(&self.sequence.to_le_bytes());
        head[20..24].copy_from_slice(&self.bytes.to_le_bytes());
        head[24..28].copy_from_slice(&self.before.to_le_bytes());
        head[32..48].copy_from_slice(&self.filesystem.0.to_le_bytes());
        let crc = Crc32c::of(&head[16..]).0;
        head[8..12].copy_from_slice(&crc.to_le_bytes());
        (head, crc)
    }

    /// The header in these bytes and its checksum, if it is a good one.
    pub(crate) fn decode(head: &[u8]) -> Option<(SegmentHeader, u32)> {
        let head: &[u8; 64] = head.get(..64)?.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let filesystem = u128::from_le_bytes(head[32..48].try_into().expect("sixteen bytes"));
        let decoded = SegmentHeader {
            sequence: word(16),
            bytes: word(20),
            before: word(24),
            filesystem: FilesystemId(filesystem),
        };
        let (again, crc) = decoded.encode();
        (again == *head).then_some((decoded, crc))
    }
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
    fn golden_header() {
        let header = SegmentHeader {
            sequence: 0x2a,
            bytes: 1 << 24,
            before: 0x0102_0304,
            filesystem: FilesystemId(0x1f),
        };
        let (bytes, crc) = header.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let crc_hex: String = crc
            .to_le_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let expected = format!(
            "6466734c6f67310a{crc_hex}000000002a00000000000001040302010000000\
             01f{}",
            "0".repeat(62)
        );
        assert_eq!(hex, expected);
        assert_eq!(SegmentHeader::decode(&bytes), Some((header, crc)));
        for bit in 0..64 * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn names_and_sequences() {
        assert_eq!(segment_name(42), "log/0000002a.seg");
        assert_eq!(segment_of("0000002a.seg"), Some(42));
        assert_eq!(segment_of("spare"), None);
    }
}
