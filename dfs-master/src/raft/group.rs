//! The door to the replicated log: commands go in, outcomes come out, in order, once they are
//! logged as the mode of syncing demands and applied.

use super::{
    fault::LogError,
    journal::Journal,
    kept::Kinship,
    kept::Stretch,
    log::Log,
    machine::Tables,
    network::Alone,
    store::Store,
    types::{Answer, Packet, TypeConfig, our_index},
};
use crate::{
    config::SyncMode,
    engine::{
        apply::Machine,
        command::{Command, Outcome},
        reader::Reader,
    },
    metrics::Metrics,
};
use bytes::Bytes;
use dfs_host::{disk::Disk, threads};
use dfs_proto::{
    id::FilesystemId,
    log::{Kept, record::Spot},
};
use openraft::{Config, Raft, SnapshotPolicy, impls::BasicNode, raft::ClientWriteResult};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// This master's number in its group.
const NODE: u32 = 1;
/// How long a group of one may take until it leads.
const LEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the group does not take or answer a command.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It has stopped, for the reason given.
    #[error("the log has stopped: {0}")]
    Stopped(String),
}

/// What a group is made of.
pub struct Opening {
    /// The disk with the log.
    pub disk: Arc<dyn Disk>,
    /// The tables.
    pub machine: Machine,
    /// The file system.
    pub filesystem: FilesystemId,
    /// Whether the log is to be made: the folder has none, and must not have one.
    pub fresh: bool,
    /// When the log is synced.
    pub sync: SyncMode,
    /// Bytes of a log segment.
    pub segment_bytes: u32,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// The commands of one entry with what is called when they were applied.
pub type Answered = Box<dyn FnOnce(Result<(u64, Vec<Outcome>), GroupError>) + Send>;

/// The group, from the view of the one master in it.
pub struct Group {
    raft: Raft<TypeConfig, Tables>,
    journal: Journal,
    machine: Arc<Mutex<Machine>>,
    reader: Reader,
    sync: SyncMode,
    recovered: u64,
}

fn stopped(why: impl std::fmt::Display) -> GroupError {
    GroupError::Stopped(why.to_string())
}

impl Group {
    /// Opens the log, leads, and applies what the tables have not seen.
    pub async fn open(opening: Opening) -> Result<Group, GroupError> {
        let Opening {
            disk,
            machine,
            filesystem,
            fresh,
            sync,
            segment_bytes,
            metrics,
        } = opening;
        let log = match fresh {
            true => Log::create(disk, filesystem, segment_bytes)?,
            false => Log::open(disk, filesystem, segment_bytes)?,
        };
        let recovered = log.last_commands();
        let journal = Journal::start(log, Arc::clone(&metrics)).map_err(stopped)?;
        let reader = machine.reader();
        let machine = Arc::new(Mutex::new(machine));
        let recent = Arc::new(Mutex::new(VecDeque::new()));
        let tables = Tables::of(Arc::clone(&machine), Arc::clone(&recent), journal.clone());
        let tables = tables.map_err(stopped)?;
        let store = Store {
            journal: journal.clone(),
            recent,
            sync,
            metrics,
        };
        let config = Config {
            cluster_name: "dfs".to_owned(),
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
            // A group of one has nobody to tell that it lives, and nobody to hear it from.
            enable_heartbeat: false,
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(stopped)?);
        let raft = Raft::new(NODE, config, Alone, store, tables)
            .await
            .map_err(stopped)?;
        if !raft.is_initialized().await.map_err(stopped)? {
            let members = BTreeMap::from([(NODE, BasicNode::default())]);
            raft.initialize(members).await.map_err(stopped)?;
        }
        let leads = raft
            .wait(Some(LEAD_TIMEOUT))
            .metrics(|m| m.state.is_leader(), "leads")
            .await;
        leads.map_err(stopped)?;
        Ok(Group {
            raft,
            journal,
            machine,
            reader,
            sync,
            recovered,
        })
    }

    /// Logs and applies commands as one entry. `answered` is called where they were applied, so it
    /// must be short; when one of them must be synced, after that, on the thread that syncs.
    pub async fn submit(&self, commands: Vec<Command>, answered: Answered) {
        let waits = self.sync == SyncMode::Group && commands.iter().any(Command::must_sync);
        let journal = waits.then(|| self.journal.clone());
        let told = move |result: ClientWriteResult<TypeConfig>| match (result, journal) {
            (Err(error), _) => answered(Err(stopped(error))),
            (Ok(done), None) => answered(Ok((our_index(done.log_id.index), done.data.outcomes))),
            (Ok(done), Some(journal)) => {
                let index = our_index(done.log_id.index);
                let synced = move |synced: std::io::Result<()>| match synced {
                    Ok(()) => answered(Ok((index, done.data.outcomes))),
                    Err(error) => answered(Err(stopped(error))),
                };
                journal.when_synced(index, Box::new(synced));
            }
        };
        let packet = Packet {
            commands: Arc::new(commands),
        };
        // If Raft has stopped, it drops the answer, and who waits for it is told by that.
        let _ = self
            .raft
            .client_write_ff(packet, Some(Answer(Box::new(told))))
            .await;
    }

    /// The last index that is synced, as it grows.
    pub fn synced(&self) -> watch::Receiver<u64> {
        self.journal.synced()
    }

    /// Waits until the log is synced up to `index`, and sees to it that it is.
    pub async fn sync_upto(&self, index: u64) -> Result<(), GroupError> {
        let (told, synced) = tokio::sync::oneshot::channel();
        let done = move |done| {
            let _ = told.send(done);
        };
        self.journal.when_synced(index, Box::new(done));
        // The sender is dropped only when the log has stopped.
        let done = synced.await.map_err(stopped)?;
        done.map_err(stopped)
    }

    /// Why the log stopped, once it has.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.journal.failure()
    }

    /// Last log index, applied index, synced index.
    pub fn progress(&self) -> (u64, u64, u64) {
        let last = self
            .journal
            .with(|log| Ok(log.last().map_or(0, |place| place.index)));
        (
            last.unwrap_or(0),
            self.reader.applied(),
            *self.journal.synced().borrow(),
        )
    }

    /// The last command that the log had when it was opened: what a session saw beyond that, and
    /// not from this leader, is lost (N6).
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// The term in which this master leads.
    pub fn term(&self) -> u64 {
        self.journal
            .with(|log| Ok(log.vote().map_or(0, |vote| vote.term)))
            .unwrap_or(0)
    }

    /// The tables, for reading.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// What a copy of a log is to this one.
    pub fn kinship(&self, copy: &Kept) -> Result<Kinship, GroupError> {
        let Kept {
            end, chain, index, ..
        } = *copy;
        let kinship = self.journal.with(|log| log.kinship(end, chain, index));
        kinship.map_err(stopped)
    }

    /// At most `most` bytes of the synced log from `from` on, and where they are; `None` if there are
    /// none, yet or any more.
    pub async fn stretch(
        &self,
        from: Spot,
        most: u32,
    ) -> Result<Option<(Spot, Bytes)>, GroupError> {
        let there = self.journal.with(|log| Ok(log.stretch(from)));
        let Some(Stretch { at, bytes, file }) = there.map_err(stopped)? else {
            return Ok(None);
        };
        let read = move || {
            let mut part = vec![0; usize::try_from(bytes.min(most)).expect("32 bits")];
            let read = file.read_at(&mut part, u64::from(at.offset));
            read.map(|read| (read == part.len()).then_some(part))
        };
        // A segment of long ago may have to come from the disk.
        let read = threads::blocking(read).await.map_err(stopped)?;
        let Some(part) = read.map_err(stopped)? else {
            return Ok(None);
        };
        let is_still = self.journal.with(|log| Ok(log.has_segment(at.segment)));
        Ok(is_still.map_err(stopped)?.then(|| (at, part.into())))
    }

    /// The segment of the log with the entry after `index`; the newest if there is none yet.
    pub fn segment_after(&self, index: u64) -> Result<u32, GroupError> {
        let found = self.journal.with(|log| Ok(log.segment_after(index)));
        found.map_err(stopped)
    }

    /// Has segments from `from` on stay, 64 MiB of them at the most, for those who keep a copy.
    pub fn hold(&self, from: u32) -> Result<(), GroupError> {
        let held = self.journal.with(|log| {
            log.hold(from);
            Ok(())
        });
        held.map_err(stopped)
    }

    /// Begins a checkpoint of the tables, and gives the log back what earlier ones made
    /// unnecessary.
    pub async fn checkpoint(&self) -> Result<(), GroupError> {
        self.journal.sync_soon();
        self.machine.lock().checkpoint().map_err(stopped)?;
        self.purge().await
    }

    /// Purges the log up to the last checkpoint.
    async fn purge(&self) -> Result<(), GroupError> {
        let upto = self.reader.checkpointed().index;
        let purged = self
            .journal
            .with(|log| Ok(log.purged().map_or(0, |place| place.index)));
        if upto > purged.map_err(stopped)? {
            self.raft.trigger().snapshot().await.map_err(stopped)?;
        }
        Ok(())
    }

    /// Stops: syncs the log, and writes a last checkpoint so that the next start has little to do.
    pub async fn stop(&self) -> Result<(), GroupError> {
        let ended = self.raft.shutdown().await;
        self.journal.stop().await;
        let machine = Arc::clone(&self.machine);
        let closed = threads::blocking(move || machine.lock().checkpoint_now().map(|_| ()));
        closed.await.map_err(stopped)?.map_err(stopped)?;
        ended.map_err(stopped)
    }
}
