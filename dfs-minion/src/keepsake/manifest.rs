//! What stands beside a keepsake's files: whose it is, and which of them count.
//!
//! A few lines of text with a checksum, replaced as a whole. What it does not name is left from an
//! interrupted step.

use dfs_host::disk::Disk;
use dfs_proto::{checksum::Crc32c, id::FilesystemId};
use std::{io, str::FromStr};

/// The folder of a keepsake.
pub(crate) const FOLDER: &str = "keepsake";
const FILE: &str = "keepsake/manifest";
const FILE_NEW: &str = "keepsake/manifest.new";
const TITLE: &str = "dfs keepsake, format 1";
/// A manifest larger than this is none.
const BYTES_MAX: usize = 4096;

/// What a manifest says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Manifest {
    /// The file system.
    pub(crate) filesystem: FilesystemId,
    /// The boot of the last master that was followed: an earlier one is not, any more.
    pub(crate) epoch: u64,
    /// The entry that the snapshot is as of; 0 where there is none.
    pub(crate) snapshot: u64,
    /// Its bytes.
    pub(crate) snapshot_bytes: u64,
    /// The oldest segment that is needed.
    pub(crate) oldest: u32,
}

impl Manifest {
    /// The manifest on a disk: `None` where there is none; one that is damaged is an error of kind
    /// `InvalidData`.
    pub(crate) fn read(disk: &dyn Disk) -> io::Result<Option<Manifest>> {
        let file = match disk.open(FILE) {
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = vec![0; BYTES_MAX];
        let got = file.read_at(&mut bytes, 0)?;
        let parsed = std::str::from_utf8(&bytes[..got]).ok();
        let parsed = parsed.and_then(Manifest::parse);
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong");
        parsed.map(Some).ok_or_else(damaged)
    }

    /// Writes it, durably and in one step.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        remove(disk, FILE_NEW)?;
        let file = disk.create(FILE_NEW)?;
        file.write_at(&[self.text().as_bytes()], 0)?;
        file.sync()?;
        disk.rename(FILE_NEW, FILE)?;
        disk.sync_folder(FOLDER)
    }

    /// Takes it away, durably: whatever else is there counts for nothing then.
    pub(crate) fn remove(disk: &dyn Disk) -> io::Result<()> {
        remove(disk, FILE)?;
        disk.sync_folder(FOLDER)
    }

    pub(crate) fn text(&self) -> String {
        let text = format!(
            "{TITLE}\nfilesystem {}\nepoch {}\nsnapshot {}\nsnapshot-bytes {}\noldest {}\n",
            self.filesystem, self.epoch, self.snapshot, self.snapshot_bytes, self.oldest
        );
        let crc = Crc32c::of(text.as_bytes());
        format!("{text}checksum {crc:?}\n")
    }

    pub(crate) fn parse(text: &str) -> Option<Manifest> {
        let (said, crc) = text.trim_end().rsplit_once('\n')?;
        let said = format!("{said}\n");
        let crc = u32::from_str_radix(crc.strip_prefix("checksum ")?, 16).ok()?;
        let mut lines = said.lines();
        if Crc32c::of(said.as_bytes()).0 != crc || lines.next()? != TITLE {
            return None;
        }
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let manifest = Manifest {
            filesystem: FilesystemId::from_str(value("filesystem")?).ok()?,
            epoch: value("epoch")?.parse().ok()?,
            snapshot: value("snapshot")?.parse().ok()?,
            snapshot_bytes: value("snapshot-bytes")?.parse().ok()?,
            oldest: value("oldest")?.parse().ok()?,
        };
        Some(manifest)
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_text() {
        let manifest = Manifest {
            filesystem: FilesystemId(0xab),
            epoch: 5,
            snapshot: 1234,
            snapshot_bytes: 5678,
            oldest: 42,
        };
        let text = manifest.text();
        let sum = text.lines().last().expect("the checksum");
        assert_eq!(
            text,
            format!(
                "dfs keepsake, format 1\nfilesystem 000000000000000000000000000000ab\nepoch 5\n\
                 snapshot 1234\nsnapshot-bytes 5678\noldest 42\n{sum}\n"
            )
        );
        assert_eq!(sum, "checksum 5eea3441");
        assert_eq!(Manifest::parse(&text), Some(manifest));
        assert_eq!(Manifest::parse(&text.replace("1234", "1235")), None);
    }
}
