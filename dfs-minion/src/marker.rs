//! The marker of a data directory: to which file system, minion and disk it belongs.
//!
//! A few lines of text with a checksum, in the file `marker`, written once when the master has
//! numbered the minion. It also names the minion's other disks, so that an empty directory where a
//! disk used to be (it is not mounted) is told from a new disk. Deciding is pure; see `agree`.

use dfs_host::disk::Disk;
use dfs_proto::{
    checksum::Crc32c,
    id::{DiskId, FilesystemId, MinionId},
};
use std::{collections::BTreeSet, fmt::Write as _, io, str::FromStr};

const FILE: &str = "marker";
const FILE_NEW: &str = "marker.new";
const TITLE: &str = "dfs-minion disk, format 1";

/// A marker larger than this is none.
const BYTES_MAX: usize = 64 << 10;

/// What a marker says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Marker {
    /// The file system.
    pub(crate) filesystem: FilesystemId,
    /// The minion.
    pub(crate) minion: MinionId,
    /// This disk.
    pub(crate) disk: DiskId,
    /// All disks of the minion when it was written, this one too.
    pub(crate) disks: BTreeSet<DiskId>,
}

/// Why data directories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MarkerError {
    /// The file cannot be read.
    #[error("{path}/marker cannot be read: {why}")]
    Unreadable {
        /// The data directory.
        path: String,
        /// Why.
        #[source]
        why: io::Error,
    },
    /// The file is not one, or is damaged.
    #[error(
        "{path}/marker is damaged. If this is a disk of this minion, copy the file from a backup, \
         or take the directory away and start with an empty one: its blocks are copied again"
    )]
    Damaged {
        /// The data directory.
        path: String,
    },
    /// There are blocks without a marker.
    #[error(
        "{path} has blocks and no marker: it is not known whose they are. Restore {path}/marker, \
         or start with an empty directory"
    )]
    Missing {
        /// The data directory.
        path: String,
    },
    /// Two directories belong to different file systems or minions.
    #[error(
        "{path} belongs to minion {theirs} and {other} to minion {ours}: a disk was swapped. Give \
         each minion its own data directories (--data)"
    )]
    Mixed {
        /// A data directory.
        path: String,
        /// Whose it is.
        theirs: String,
        /// Another data directory.
        other: String,
        /// Whose that is.
        ours: String,
    },
    /// A directory is a copy of another one.
    #[error(
        "{path} and {other} are both disk {disk}: one is a copy of the other. Take the copy out of \
         --data"
    )]
    Copied {
        /// A data directory.
        path: String,
        /// Another one.
        other: String,
        /// Its disk.
        disk: DiskId,
    },
    /// An empty directory stands where a disk is missing.
    #[error(
        "{path} is empty and disk {missing} of this minion is missing. If it is not mounted, mount \
         it; if {path} replaces it, start once with --accept-new-disks"
    )]
    Unmounted {
        /// The empty directory.
        path: String,
        /// The missing disk.
        missing: DiskId,
    },
}

/// What was found in a data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sighting {
    /// The directory.
    pub(crate) path: String,
    /// Its marker; `None` for an empty directory.
    pub(crate) marker: Option<Marker>,
}

/// Whose the disks are: nobody's, if all are new.
pub(crate) fn agree(
    sightings: &[Sighting],
    accept_new: bool,
) -> Result<Option<(FilesystemId, MinionId)>, MarkerError> {
    let marked: Vec<_> = sightings
        .iter()
        .filter_map(|seen| seen.marker.as_ref().map(|marker| (&seen.path, marker)))
        .collect();
    let Some((first_path, first)) = marked.first() else {
        return Ok(None);
    };
    for (n, (path, marker)) in marked.iter().enumerate() {
        if (marker.filesystem, marker.minion) != (first.filesystem, first.minion) {
            let whose = |m: &Marker| format!("{} of file system {}", m.minion, m.filesystem);
            return Err(MarkerError::Mixed {
                path: (*path).clone(),
                theirs: whose(marker),
                other: (*first_path).clone(),
                ours: whose(first),
            });
        }
        if let Some((other, _)) = marked[..n].iter().find(|(_, m)| m.disk == marker.disk) {
            return Err(MarkerError::Copied {
                path: (*path).clone(),
                other: (*other).clone(),
                disk: marker.disk,
            });
        }
    }
    let here: BTreeSet<DiskId> = marked.iter().map(|(_, marker)| marker.disk).collect();
    let known = marked.iter().flat_map(|(_, marker)| &marker.disks);
    let missing = known.copied().find(|disk| !here.contains(disk));
    let empty = sightings.iter().find(|seen| seen.marker.is_none());
    match (missing, empty) {
        (Some(missing), Some(empty)) if !accept_new => Err(MarkerError::Unmounted {
            path: empty.path.clone(),
            missing,
        }),
        _ => Ok(Some((first.filesystem, first.minion))),
    }
}

/// Looks for the marker of a data directory.
pub(crate) fn look(path: &str, disk: &dyn Disk, has_blocks: bool) -> Result<Sighting, MarkerError> {
    let path = path.to_owned();
    let read = read(disk).map_err(|why| MarkerError::Unreadable {
        path: path.clone(),
        why,
    })?;
    let marker = match read {
        None if has_blocks => return Err(MarkerError::Missing { path }),
        None => None,
        Some(text) => match Marker::parse(&text) {
            None => return Err(MarkerError::Damaged { path }),
            marker => marker,
        },
    };
    Ok(Sighting { path, marker })
}

fn read(disk: &dyn Disk) -> io::Result<Option<String>> {
    let file = match disk.open(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = vec![0; BYTES_MAX];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

impl Marker {
    /// Writes it to its disk, durably and in one step.
    pub(crate) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        match disk.remove(FILE_NEW) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(FILE_NEW)?;
        file.write_at(&[self.text().as_bytes()], 0)?;
        file.sync()?;
        disk.rename(FILE_NEW, FILE)?;
        disk.sync_folder("")
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{TITLE}\nfilesystem {}\nminion {}\ndisk {}\ndisks",
            self.filesystem, self.minion, self.disk
        );
        for disk in &self.disks {
            let _ = write!(text, " {disk}");
        }
        text.push('\n');
        let crc = Crc32c::of(text.as_bytes());
        let _ = writeln!(text, "checksum {crc:?}");
        text
    }

    pub(crate) fn parse(text: &str) -> Option<Marker> {
        let (said, crc) = text.trim_end().rsplit_once('\n')?;
        let said = format!("{said}\n");
        let crc = u32::from_str_radix(crc.strip_prefix("checksum ")?, 16).ok()?;
        if Crc32c::of(said.as_bytes()).0 != crc {
            return None;
        }
        let mut lines = said.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let mut value = |key: &str| lines.next()?.strip_prefix(key).map(str::trim);
        let disk_id = |text: &str| u64::from_str_radix(text, 16).ok().map(DiskId);
        let filesystem = FilesystemId::from_str(value("filesystem ")?).ok()?;
        let minion = MinionId(value("minion ")?.parse().ok()?);
        let disk = disk_id(value("disk ")?)?;
        let disks = value("disks")?.split_whitespace().map(disk_id);
        Some(Marker {
            filesystem,
            minion,
            disk,
            disks: disks.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_host::disk::SimulatedDisk;

    fn marker(minion: u32, disk: u64, disks: &[u64]) -> Marker {
        Marker {
            filesystem: FilesystemId(0xab),
            minion: MinionId(minion),
            disk: DiskId(disk),
            disks: disks.iter().copied().map(DiskId).collect(),
        }
    }

    fn seen(path: &str, marker: Option<Marker>) -> Sighting {
        Sighting {
            path: path.to_owned(),
            marker,
        }
    }

    #[test]
    fn golden_text() {
        let text = marker(3, 1, &[1, 2]).text();
        assert_eq!(
            text,
            "dfs-minion disk, format 1\nfilesystem 000000000000000000000000000000ab\nminion 3\n\
             disk 0000000000000001\ndisks 0000000000000001 0000000000000002\nchecksum d46a20c3\n"
        );
        assert_eq!(Marker::parse(&text), Some(marker(3, 1, &[1, 2])));
    }

    #[test]
    fn a_marker_is_found_again_and_its_damage_noticed() {
        let disk = SimulatedDisk::new(1, 1 << 20);
        assert_eq!(look("a", &*disk, false).expect("empty").marker, None);
        assert!(matches!(
            look("a", &*disk, true),
            Err(MarkerError::Missing { .. })
        ));
        let wrote = marker(3, 1, &[1]);
        wrote.write(&*disk).expect("room");
        wrote.write(&*disk).expect("again");
        assert_eq!(look("a", &*disk, true).expect("whole").marker, Some(wrote));
        for at in [0, 30, 60, 90] {
            disk.flip(FILE, at, 4).expect("there");
            assert!(matches!(
                look("a", &*disk, true),
                Err(MarkerError::Damaged { .. })
            ));
            disk.flip(FILE, at, 4).expect("there");
        }
    }

    #[test]
    fn disks_must_belong_together() {
        let one = seen("/1", Some(marker(3, 1, &[1, 2])));
        let two = seen("/2", Some(marker(3, 2, &[1, 2])));
        let other = seen("/3", Some(marker(4, 3, &[3])));
        let new = seen("/4", None);
        let ours = Some((FilesystemId(0xab), MinionId(3)));
        let agreed = |seen: &[&Sighting], accept| {
            agree(&seen.iter().copied().cloned().collect::<Vec<_>>(), accept)
        };
        assert_eq!(agreed(&[&new], false).expect("new"), None);
        assert_eq!(agreed(&[&one, &two, &new], false).expect("one more"), ours);
        assert_eq!(agreed(&[&one], false).expect("a disk was taken out"), ours);
        assert_eq!(agreed(&[&one, &new], true).expect("a disk replaced"), ours);
        assert!(matches!(
            agreed(&[&one, &new], false),
            Err(MarkerError::Unmounted { .. })
        ));
        assert!(matches!(
            agreed(&[&one, &one], false),
            Err(MarkerError::Copied { .. })
        ));
        assert!(matches!(
            agreed(&[&one, &other], false),
            Err(MarkerError::Mixed { .. })
        ));
    }
}
