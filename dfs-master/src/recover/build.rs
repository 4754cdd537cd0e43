//! Making a data folder of a copy.

use super::{fault::RecoverError, fetch::Offer};
use crate::{
    config::SyncMode,
    daemon::Stores,
    engine::{
        apply::{Machine, Settings as TableSettings},
        command::{Act, Outcome},
        proposer::Proposer,
    },
    folder::{self, Home},
    metrics::Metrics,
    raft::{Copied, Group, GroupError, LogError, Opening, rebuild},
};
use dfs_host::{clock::Clock, disk::Disk};
use dfs_proto::id::FilesystemId;
use std::{io::BufReader, io::Read, path::Path, sync::Arc};
use tokio_util::sync::CancellationToken;

/// Starts of a master that are passed over: there were not so many after what was kept last.
const BOOTS_PASSED: u64 = 4096;
/// Numbers of minions that are passed over.
const MINIONS_PASSED: u32 = 100;
/// A snapshot until the tables are made of it.
const SNAPSHOT: &str = "snapshot.new";
/// Bytes of a segment of a log that is not copied.
const SEGMENT_BYTES: u32 = 16 << 20;

/// What a folder is made of.
pub enum Source<'a> {
    /// What a minion keeps.
    Keepsake(&'a Offer),
    /// A backup.
    Backup(&'a Path),
}

impl Source<'_> {
    fn at(&self) -> String {
        match self {
            Source::Keepsake(offer) => offer.at.clone(),
            Source::Backup(file) => file.display().to_string(),
        }
    }
}

/// What was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Made {
    /// The file system.
    pub filesystem: FilesystemId,
    /// The entry that its tables were as of.
    pub snapshot: u64,
    /// The last entry of the old log.
    pub last: u64,
    /// The boot that everything new begins after.
    pub boot: u64,
}

/// Makes a master's data of a copy, in stores that are empty. `random` is any number: two masters
/// that are made of the same copy should not have the same. Without `ours` any file system is taken.
pub async fn build(
    stores: Stores,
    source: Source<'_>,
    ours: Option<FilesystemId>,
    random: u64,
    clock: Arc<dyn Clock>,
) -> Result<Made, RecoverError> {
    let Stores { disk, tables } = stores;
    let at = source.at();
    let (machine, copied) = match source {
        Source::Keepsake(offer) => {
            let copied = offer.segments(&*disk).await?;
            let file = disk.create(SNAPSHOT)?;
            offer.snapshot(&*file).await?;
            let rows = BufReader::with_capacity(1 << 20, Reading { file, offset: 0 });
            let name = format!("keepsake/snapshot-{:016x}", offer.keepsake.kept.snapshot);
            let machine = install(&tables, rows, &at, &name)?;
            disk.remove(SNAPSHOT)?;
            (machine, copied)
        }
        Source::Backup(path) => {
            let rows = BufReader::with_capacity(1 << 20, std::fs::File::open(path)?);
            (install(&tables, rows, &at, "the backup")?, None)
        }
    };
    let position = machine.position();
    let snapshot = position.index;
    let filesystem = filesystem_of(&machine, &at)?;
    if let Some(ours) = ours.filter(|ours| *ours != filesystem) {
        let theirs = filesystem;
        return Err(RecoverError::Foreign { at, ours, theirs });
    }
    let last = log_of(&disk, filesystem, &position, copied, &at)?;
    let boot = begin(&disk, machine, filesystem, random, clock).await?;
    folder::made(
        &*disk,
        Home {
            filesystem,
            made: true,
        },
    )?;
    Ok(Made {
        filesystem,
        snapshot,
        last,
        boot,
    })
}

fn install(
    tables: &crate::engine::apply::Storage,
    mut rows: impl Read,
    at: &str,
    name: &str,
) -> Result<Machine, RecoverError> {
    let damaged = |damage| RecoverError::tables(at, name, damage);
    let mut machine = Machine::open(tables, TableSettings::default()).map_err(damaged)?;
    machine.install(&mut rows).map_err(damaged)?;
    Ok(machine)
}

fn filesystem_of(machine: &Machine, at: &str) -> Result<FilesystemId, RecoverError> {
    let filesystem = machine.reader().filesystem()?;
    filesystem.ok_or_else(|| RecoverError::Damaged {
        at: at.to_owned(),
        what: "it names no file system".to_owned(),
    })
}

fn log_of(
    disk: &Arc<dyn Disk>,
    filesystem: FilesystemId,
    position: &crate::engine::command::Position,
    copied: Option<Copied>,
    at: &str,
) -> Result<u64, RecoverError> {
    let disk = Arc::clone(disk);
    let made = rebuild(disk, filesystem, position, copied, SEGMENT_BYTES);
    made.map_err(|error| match error {
        LogError::Damaged { file, offset, why } => RecoverError::Damaged {
            at: at.to_owned(),
            what: format!(
                "{} at byte {offset}: {why}",
                file.replace("log/", "keepsake/")
            ),
        },
        LogError::Foreign { file } => RecoverError::Damaged {
            at: at.to_owned(),
            what: format!(
                "{} is of another file system",
                file.replace("log/", "keepsake/")
            ),
        },
        other => RecoverError::Group(GroupError::Log(other)),
    })
}

/// Applies what is in the log and not in the tables, and logs that everything new begins after what
/// may have been given out.
async fn begin(
    disk: &Arc<dyn Disk>,
    machine: Machine,
    filesystem: FilesystemId,
    random: u64,
    clock: Arc<dyn Clock>,
) -> Result<u64, RecoverError> {
    let metrics = Arc::new(Metrics::default());
    let group = Group::open(Opening {
        disk: Arc::clone(disk),
        machine,
        filesystem,
        fresh: false,
        sync: SyncMode::Group,
        segment_bytes: SEGMENT_BYTES,
        metrics: Arc::clone(&metrics),
    });
    let group = Arc::new(group.await?);
    let ended = CancellationToken::new();
    let proposer = Proposer::start(Arc::clone(&group), clock, metrics, ended.clone());
    let first = Act::Recover {
        log_end: group.recovered(),
        boots: BOOTS_PASSED + random % BOOTS_PASSED,
        minions: MINIONS_PASSED,
    };
    let begun = proposer.propose(first).await;
    ended.cancel();
    group.stop().await?;
    match begun? {
        (_, Outcome::Booted(boot)) => Ok(boot),
        (_, other) => Err(RecoverError::Begin(crate::engine::leader::unexpected(
            &other,
        ))),
    }
}

/// Reads a file of a disk from the beginning on.
struct Reading {
    file: Arc<dyn dfs_host::disk::DiskFile>,
    offset: u64,
}

impl Read for Reading {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
