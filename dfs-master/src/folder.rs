//! The data folder of a master: whose it is, and whether it is whole.
//!
//! The marker `dfs-master` says which format and which file system. It is written, as "making",
//! before anything else, and as "made" once log and tables are there: so what an interrupted first
//! start left is made anew, and a folder that lost its log, its tables or its marker is refused.

use dfs_host::disk::Disk;
use dfs_proto::id::FilesystemId;
use serde::{Deserialize, Serialize};
use std::io;

/// The marker's file.
const MARKER: &str = "dfs-master";
const MARKER_NEW: &str = "dfs-master.new";
/// Says that a later master has taken this one's place.
const REPLACED: &str = "replaced";
/// Says that minions have more of the log than there is in this folder.
const FORGETFUL: &str = "forgetful";
/// Counts the formats of log and tables together.
const FORMAT: u32 = 1;
/// What may stand in a folder that is to become a master's.
const OTHERS: [&str; 4] = ["lock", "address", "socket", MARKER_NEW];

/// What a marker says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    format: u32,
    filesystem: String,
    made: bool,
}

/// Why a folder cannot be a master's.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk refused.
    #[error("cannot read or write the master's data folder: {0}")]
    Io(#[from] io::Error),
    /// The marker is no marker.
    #[error(
        "the file `dfs-master` in the data folder is damaged: {0}; put it back from a copy of this \
         folder"
    )]
    Damaged(String),
    /// Another format.
    #[error(
        "the data folder has format {0} and this build of dfs-master knows format 1: use the build \
         that wrote it, or a newer one"
    )]
    Format(u32),
    /// A later master has taken its place.
    #[error(
        "this data folder is of a master that was replaced: a later one (boot {0}) of the same file \
         system was made of a copy, and minions have followed it. Start nothing with this folder: move \
         it away. Only if that other master is stopped for good, and this one is to go on without what \
         was changed there, remove the file `replaced` in it and the folder keepsake/ of each minion"
    )]
    Replaced(u64),
    /// It was set back.
    #[error(
        "the log in this data folder ends before what minions keep of it, and that was synced here: \
         the folder, its disk or the machine was set back to an earlier state, or has lost what it had \
         acknowledged. Start nothing with it: move it away, and have another made of what the minions \
         keep, with `dfs-master recover --from`. Only if the whole file system is to be as it was \
         earlier, remove the file `forgetful` in it and the folder keepsake/ of each minion, also of \
         those that are off"
    )]
    Forgetful,
    /// Not ours.
    #[error(
        "the data folder holds {0:?} and no file `dfs-master`, so it is not a master's, or not a \
         whole one: choose an empty folder with --data, or put the missing file back"
    )]
    Foreign(String),
}

/// Why no start from a folder counts any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outdated {
    /// A later master, of this boot, has taken its place.
    Replaced(u64),
    /// Minions have more of the log than it has.
    Forgetful,
}

impl From<Outdated> for FolderError {
    fn from(how: Outdated) -> FolderError {
        match how {
            Outdated::Replaced(by) => FolderError::Replaced(by),
            Outdated::Forgetful => FolderError::Forgetful,
        }
    }
}

/// A folder that is a master's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Home {
    /// The file system.
    pub filesystem: FilesystemId,
    /// Log and tables are there; else they are to be made.
    pub made: bool,
}

/// Looks at a folder; makes an empty one a master's, with this new file system.
pub fn open(disk: &dyn Disk, new: impl FnOnce() -> FilesystemId) -> Result<Home, FolderError> {
    if let Some(how) = outdated(disk)? {
        return Err(how.into());
    }
    if let Some(marker) = read(disk)? {
        let filesystem = marker.filesystem.parse::<FilesystemId>();
        let filesystem = filesystem.map_err(|error| FolderError::Damaged(error.to_string()))?;
        return Ok(Home {
            filesystem,
            made: marker.made,
        });
    }
    let mut names = disk.list("")?;
    names.extend(
        listed(disk, "log")?
            .into_iter()
            .map(|name| format!("log/{name}")),
    );
    names.extend(
        listed(disk, "tables")?
            .into_iter()
            .map(|name| format!("tables/{name}")),
    );
    if let Some(other) = names
        .into_iter()
        .find(|name| !OTHERS.contains(&name.as_str()))
    {
        return Err(FolderError::Foreign(other));
    }
    let home = Home {
        filesystem: new(),
        made: false,
    };
    write(disk, home)?;
    Ok(home)
}

/// Log and tables of a new folder are there, synced.
pub fn made(disk: &dyn Disk, home: Home) -> Result<(), FolderError> {
    write(disk, Home { made: true, ..home })
}

/// Notes that no start from this folder counts any more.
pub fn end(disk: &dyn Disk, how: Outdated) -> Result<(), FolderError> {
    let (name, text) = match how {
        Outdated::Replaced(by) => (REPLACED, format!("{by}\n")),
        Outdated::Forgetful => (FORGETFUL, String::new()),
    };
    let file = match disk.create(name) {
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    };
    file.write_at(&[text.as_bytes()], 0)?;
    file.sync()?;
    Ok(disk.sync_folder("")?)
}

/// Whether that was noted. That the file is there counts, whatever it says.
fn outdated(disk: &dyn Disk) -> Result<Option<Outdated>, FolderError> {
    for name in [REPLACED, FORGETFUL] {
        let file = match disk.open(name) {
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let mut bytes = [0; 32];
        let length = file.read_at(&mut bytes, 0)?;
        let by = String::from_utf8_lossy(&bytes[..length]);
        return Ok(Some(match name {
            REPLACED => Outdated::Replaced(by.trim().parse().unwrap_or(0)),
            _ => Outdated::Forgetful,
        }));
    }
    Ok(None)
}

fn listed(disk: &dyn Disk, folder: &str) -> Result<Vec<String>, FolderError> {
    match disk.list(folder) {
        Ok(names) => Ok(names),
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(other) => Err(other.into()),
    }
}

fn read(disk: &dyn Disk) -> Result<Option<Marker>, FolderError> {
    let file = match disk.open(MARKER) {
        Ok(file) => file,
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(other) => return Err(other.into()),
    };
    let mut bytes = [0u8; 1024];
    let length = file.read_at(&mut bytes, 0)?;
    let format = serde_json::from_slice::<serde_json::Value>(&bytes[..length]);
    let format = format.map_err(|error| FolderError::Damaged(error.to_string()))?;
    match format.get("format").and_then(serde_json::Value::as_u64) {
        Some(known) if known == u64::from(FORMAT) => {}
        Some(other) => {
            return Err(FolderError::Format(
                u32::try_from(other).unwrap_or(u32::MAX),
            ));
        }
        None => return Err(FolderError::Damaged("it names no format".to_owned())),
    }
    let marker = serde_json::from_slice(&bytes[..length]);
    marker
        .map(Some)
        .map_err(|error| FolderError::Damaged(error.to_string()))
}

fn write(disk: &dyn Disk, home: Home) -> Result<(), FolderError> {
    let Home { filesystem, made } = home;
    let marker = Marker {
        format: FORMAT,
        filesystem: filesystem.to_string(),
        made,
    };
    let mut text = serde_json::to_vec_pretty(&marker).map_err(io::Error::other)?;
    text.push(b'\n');
    match disk.remove(MARKER_NEW) {
        Ok(()) => {}
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => {}
        Err(other) => return Err(other.into()),
    }
    let file = disk.create(MARKER_NEW)?;
    file.write_at(&[&text], 0)?;
    file.sync()?;
    disk.rename(MARKER_NEW, MARKER)?;
    Ok(disk.sync_folder("")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_host::disk::SimulatedDisk;
    use std::sync::Arc;

    fn fresh() -> Arc<SimulatedDisk> {
        SimulatedDisk::new(1, 1 << 20)
    }

    fn put(disk: &SimulatedDisk, name: &str, text: &str) {
        disk.create(name)
            .and_then(|file| file.write_at(&[text.as_bytes()], 0))
            .expect("written");
    }

    #[test]
    fn a_new_folder_is_made_and_known_again() {
        let disk = fresh();
        put(&disk, "lock", "1");
        let home = open(&*disk, || FilesystemId(9)).expect("made");
        assert_eq!(
            home,
            Home {
                filesystem: FilesystemId(9),
                made: false
            }
        );
        assert_eq!(open(&*disk, || FilesystemId(8)).expect("opened"), home);
        made(&*disk, home).expect("written");
        assert!(open(&*disk, || FilesystemId(8)).expect("opened").made);
    }

    #[test]
    fn a_master_that_was_replaced_or_set_back_does_not_begin_again() {
        for how in [Outdated::Replaced(4711), Outdated::Forgetful] {
            let disk = fresh();
            let home = open(&*disk, || FilesystemId(9)).expect("made");
            made(&*disk, home).expect("written");
            for _ in 0..2 {
                end(&*disk, how).expect("written");
                disk.crash(dfs_host::disk::Crash::PowerAtWorst);
                let refused = open(&*disk, || FilesystemId(8)).expect_err("refused");
                let why = FolderError::from(how).to_string();
                assert_eq!(refused.to_string(), why);
            }
        }
    }

    #[test]
    fn what_is_not_a_masters_is_refused() {
        let foreign = fresh();
        put(&foreign, "holiday.jpg", "x");
        let refused = open(&*foreign, || FilesystemId(9))
            .expect_err("refused")
            .to_string();
        assert!(
            refused.contains("holiday.jpg") && refused.contains("--data"),
            "{refused}"
        );

        let headless = fresh();
        headless.create_folder("log").expect("made");
        put(&headless, "log/anchor", "x");
        let refused = open(&*headless, || FilesystemId(9))
            .expect_err("refused")
            .to_string();
        assert!(refused.contains("log/anchor"), "{refused}");

        let newer = fresh();
        put(&newer, MARKER, r#"{"format": 2, "something": true}"#);
        assert!(matches!(
            open(&*newer, || FilesystemId(9)),
            Err(FolderError::Format(2))
        ));

        let damaged = fresh();
        put(&damaged, MARKER, "\0\0\0\0");
        assert!(matches!(
            open(&*damaged, || FilesystemId(9)),
            Err(FolderError::Damaged(_))
        ));
    }
}
