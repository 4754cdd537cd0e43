//! Where the keepsake of this minion is: on which disk, and whether there is one.

use super::copy::{Copy, Refused};
use crate::store::Drive;
use dfs_proto::{
    id::FilesystemId,
    log::{Keeping, Keepsake, KeepsakeFile, Kept, SnapshotPart, record::Spot},
};
use parking_lot::Mutex;
use std::{io, sync::Arc};
use tokio::time::Instant;

/// Bytes that a disk must have left for blocks after a part was written.
const LEFT_MIN: u64 = 16 << 20;

/// What became of an answer of the master.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is here; whether there may be more at once.
    Here {
        /// There may be more.
        more: bool,
    },
    /// It says nothing new.
    Nothing,
    /// It keeps nothing here, and was told so.
    Others,
    /// It is of a master that was replaced by a later one.
    Replaced {
        /// The later one's boot.
        by: u64,
    },
    /// There is no disk that could take it.
    NoRoom,
}

struct State {
    copy: Option<Copy>,
    drive: Option<Arc<Drive>>,
    heard: Instant,
}

/// The place of the keepsake. All calls block.
pub(crate) struct Shelf {
    drives: Vec<Arc<Drive>>,
    state: Mutex<State>,
}

impl Shelf {
    /// A shelf on these disks; what is there of this file system is opened.
    pub(crate) fn open(
        drives: &[Arc<Drive>],
        filesystem: Option<FilesystemId>,
    ) -> io::Result<Shelf> {
        let mut state = State {
            copy: None,
            drive: None,
            heard: Instant::now(),
        };
        for drive in filesystem.iter().flat_map(|_| drives) {
            let ours = filesystem.expect("looked at above");
            if state.copy.is_none() {
                state.copy = Copy::open(Arc::clone(&drive.disk), ours)?;
                state.drive = state.copy.as_ref().map(|_| Arc::clone(drive));
            }
        }
        Ok(Shelf {
            drives: drives.to_vec(),
            state: Mutex::new(state),
        })
    }

    /// What is kept.
    pub(crate) fn kept(&self) -> Option<Kept> {
        self.state.lock().copy.as_ref()?.kept()
    }

    /// The keepsake, for who recovers from it.
    pub(crate) fn keepsake(&self) -> Option<Keepsake> {
        let state = self.state.lock();
        let copy = state.copy.as_ref()?;
        let (filesystem, damage) = copy.identity();
        let kept = copy.kept();
        let damage = damage.or_else(|| kept.is_none().then(|| "nothing has come yet".to_owned()));
        let age = state.heard.elapsed().as_millis();
        Some(Keepsake {
            filesystem,
            kept: kept.unwrap_or_default(),
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            damage,
        })
    }

    /// Bytes of one of its files.
    pub(crate) fn read(&self, file: KeepsakeFile, offset: u64) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let copy = state.copy.as_ref().ok_or(io::ErrorKind::NotFound)?;
        copy.read(file, offset)
    }

    /// Takes in what the master of this file system answered.
    pub(crate) fn take(&self, ours: FilesystemId, answer: Keeping) -> io::Result<Taken> {
        let mut state = self.state.lock();
        state.heard = Instant::now();
        match answer {
            Keeping::Nothing => Ok(Taken::Nothing),
            Keeping::Others => {
                if let (Some(_), Some(drive)) = (state.copy.take(), state.drive.take()) {
                    Copy::wipe(&*drive.disk)?;
                }
                Ok(Taken::Others)
            }
            Keeping::Log {
                epoch,
                anew,
                at,
                bytes,
            } => {
                if let Some(by) = state.replaced(epoch, anew)? {
                    return Ok(Taken::Replaced { by });
                }
                let Some(drive) = self.room(&mut state, bytes.0.len() as u64) else {
                    return Ok(Taken::NoRoom);
                };
                if anew || state.copy.is_none() {
                    state.copy = None;
                    state.copy = Some(Copy::begin(Arc::clone(&drive.disk), ours, epoch)?);
                }
                state.take_log(at, &bytes.0)
            }
            Keeping::Snapshot { epoch, part } => self.take_part(&mut state, epoch, &part),
        }
    }

    fn take_part(&self, state: &mut State, epoch: u64, part: &SnapshotPart) -> io::Result<Taken> {
        if let Some(by) = state.replaced(epoch, false)? {
            return Ok(Taken::Replaced { by });
        }
        if self.room(state, part.bytes.0.len() as u64).is_none() {
            return Ok(Taken::NoRoom);
        }
        if let Some(copy) = &mut state.copy {
            copy.take_part(part)?;
        }
        Ok(Taken::Here { more: true })
    }

    /// The disk of the keepsake, if it takes so many bytes more; where there is none yet, one is
    /// chosen.
    fn room(&self, state: &mut State, bytes: u64) -> Option<Arc<Drive>> {
        let works = |drive: &&Arc<Drive>| drive.failed().is_none();
        if state.drive.as_ref().filter(works).is_none() {
            let working = self.drives.iter().filter(works);
            state.copy = None;
            state.drive = working.max_by_key(|drive| drive.room().1).cloned();
        }
        let drive = state.drive.clone()?;
        drive.taken(bytes);
        (drive.room().1 >= LEFT_MIN).then_some(drive)
    }

    /// Makes durable what is not yet.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match &mut self.state.lock().copy {
            Some(copy) if copy.is_unsynced() => copy.sync(),
            _ => Ok(()),
        }
    }

    /// Reads all of the keepsake again; what has rotted is begun anew.
    pub(crate) fn verify(&self) -> io::Result<()> {
        let snapshot = match &mut self.state.lock().copy {
            Some(copy) => {
                copy.verify_log()?;
                copy.snapshot()?
            }
            None => None,
        };
        // What comes of the log meanwhile does not wait for it.
        if let Some(snapshot) = snapshot
            && !snapshot.is_whole()?
            && let Some(copy) = &mut self.state.lock().copy
        {
            copy.snapshot_rots(&snapshot);
        }
        Ok(())
    }

    /// The disk of the keepsake failed: it is out of service, and the keepsake begun anew on another.
    pub(crate) fn fail(&self, why: &io::Error) {
        let mut state = self.state.lock();
        state.copy = None;
        if let Some(drive) = state.drive.take() {
            if crate::store::is_full(why) {
                drive.note_full();
            } else {
                drive.fail(&format!(
                    "the keepsake of the master could not be written: {why}"
                ));
            }
        }
    }
}

/// A part of the log with so many bytes is followed by more at once, perhaps.
const LOG_MORE: usize = 128 << 10;

impl State {
    /// The boot of the later master that replaced the one that speaks, if one did. Of one whose log is
    /// begun `anew` nothing is noted with what is here of another: it is not of its log.
    fn replaced(&mut self, epoch: u64, anew: bool) -> io::Result<Option<u64>> {
        let Some(copy) = &mut self.copy else {
            return Ok(None);
        };
        let follows = match anew {
            true => copy.epoch() <= epoch,
            false => copy.follows(epoch)?,
        };
        Ok((!follows).then(|| copy.epoch()))
    }

    fn take_log(&mut self, at: Spot, bytes: &[u8]) -> io::Result<Taken> {
        let Some(copy) = &mut self.copy else {
            return Ok(Taken::Nothing);
        };
        match copy.take_log(at, bytes) {
            Ok(()) => Ok(Taken::Here {
                more: bytes.len() >= LOG_MORE,
            }),
            Err(Refused::Disk(why)) => Err(why),
            Err(Refused::Follows(why)) => {
                tracing::info!("the keepsake of the master's log is begun anew: {why}");
                self.copy = None;
                Ok(Taken::Here { more: false })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_host::disk::{Disk, SimulatedDisk};

    #[test]
    fn a_keepsake_is_of_the_master_whose_log_it_has() {
        let disk = SimulatedDisk::new(1, 1 << 20) as Arc<dyn Disk>;
        let copy = Copy::begin(disk, FilesystemId(7), 3).expect("room");
        let mut state = State {
            copy: Some(copy),
            drive: None,
            heard: Instant::now(),
        };
        let epoch = |state: &State| state.copy.as_ref().expect("there").epoch();
        // It may be that there is no room to begin with.
        assert_eq!(state.replaced(5, true).expect("the disk works"), None);
        assert_eq!(epoch(&state), 3);
        assert_eq!(state.replaced(2, true).expect("the disk works"), Some(3));
        assert_eq!(state.replaced(5, false).expect("the disk works"), None);
        assert_eq!(epoch(&state), 5);
    }
}
