//! Snapshots on their way out, to keepers and into backups.
//!
//! Each has a thread that reads the tables as of its moment, no further ahead than a few parts. Who
//! takes them asks for one part after the other, and gets the last one again if the answer was lost.
//! One that nobody asks for is given up after a minute.

use crate::engine::reader::Snapshot;
use bytes::{Bytes, BytesMut};
use dfs_host::threads;
use dfs_proto::{
    error::FsError,
    id::{COUNTER_BITS, MinionId},
    log::{KEEPSAKE_PART_MAX, SnapshotPart, StreamSpot},
    payload::Payload,
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc};

/// Parts that are read ahead.
const AHEAD: usize = 2;
/// After so long nobody asks any more.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// Backups under way, at the most.
const BACKUPS_MAX: usize = 2;

/// Whom a snapshot is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Whom {
    /// A keeper has one on its way.
    Keeper(MinionId),
    /// A backup, by its stream.
    Backup(u64),
}

type Read = Result<Bytes, FsError>;

/// One snapshot.
struct Stream {
    number: u64,
    /// The entry that it is as of, and the segment with the one after that.
    of: (u64, u32),
    parts: mpsc::Receiver<Read>,
    /// The offset of the next part.
    offset: u64,
    /// The part before, should it be asked for again.
    before: Option<SnapshotPart>,
}

struct Entry {
    number: u64,
    used: Duration,
    stream: Arc<tokio::sync::Mutex<Stream>>,
}

/// All snapshots on their way.
pub struct Outgoing {
    next: Mutex<u64>,
    all: Mutex<BTreeMap<Whom, Entry>>,
}

impl Outgoing {
    /// None yet, of the master of this boot.
    pub fn of(boot: u64) -> Outgoing {
        Outgoing {
            next: Mutex::new(boot << COUNTER_BITS),
            all: Mutex::default(),
        }
    }

    /// Begins one for a keeper, in place of the one that is on its way there; or for a backup, unless
    /// there are many. `oldest` is the segment with the entry after it. Where it begins.
    pub fn begin(
        &self,
        keeper: Option<MinionId>,
        rows: Snapshot,
        oldest: u32,
        now: Duration,
    ) -> Result<(Whom, StreamSpot), FsError> {
        let number = {
            let mut next = self.next.lock();
            *next += 1;
            *next
        };
        let whom = keeper.map_or(Whom::Backup(number), Whom::Keeper);
        let mut all = self.all.lock();
        let backups = all.keys().filter(|w| matches!(w, Whom::Backup(_)));
        if keeper.is_none() && backups.count() >= BACKUPS_MAX {
            let why = "two backups are being written already; try again when one of them is done";
            return Err(FsError::Unavailable(why.to_owned()));
        }
        // In a simulation all of it is read before the first part is taken.
        let ahead = threads::simulated().map_or(AHEAD, |_| Semaphore::MAX_PERMITS);
        let (sender, parts) = mpsc::channel(ahead);
        let of = (rows.position().index, oldest);
        let reading = threads::start("snapshot-out", move || read(&rows, sender));
        reading.map_err(|error| FsError::Unavailable(format!("starting a thread: {error}")))?;
        let stream = Stream {
            number,
            of,
            parts,
            offset: 0,
            before: None,
        };
        let entry = Entry {
            number,
            used: now,
            stream: Arc::new(tokio::sync::Mutex::new(stream)),
        };
        all.insert(whom, entry);
        let begins = StreamSpot {
            stream: number,
            offset: 0,
        };
        Ok((whom, begins))
    }

    /// The part at a place, or the one before it again; `None` if that stream is not on its way there
    /// any more.
    pub async fn part(
        &self,
        whom: Whom,
        at: StreamSpot,
        now: Duration,
    ) -> Result<Option<SnapshotPart>, FsError> {
        let stream = {
            let mut all = self.all.lock();
            let entry = all.get_mut(&whom);
            let Some(entry) = entry.filter(|entry| entry.number == at.stream) else {
                return Ok(None);
            };
            entry.used = now;
            Arc::clone(&entry.stream)
        };
        let part = stream.lock().await.part(at.offset).await;
        if !matches!(part, Ok(Some(_))) {
            self.all.lock().remove(&whom);
        }
        part
    }

    /// Gives up those that nobody has asked for in a minute.
    pub fn sweep(&self, now: Duration) {
        let mut all = self.all.lock();
        all.retain(|_, entry| now < entry.used + GIVEN_UP);
    }
}

impl Stream {
    async fn part(&mut self, offset: u64) -> Result<Option<SnapshotPart>, FsError> {
        if let Some(before) = self.before.as_ref().filter(|part| part.at.offset == offset) {
            return Ok(Some(before.clone()));
        }
        if offset != self.offset {
            return Ok(None);
        }
        let bytes = self.parts.recv().await.transpose()?;
        let part = SnapshotPart {
            index: self.of.0,
            oldest: self.of.1,
            at: StreamSpot {
                stream: self.number,
                offset,
            },
            last: bytes.is_none(),
            bytes: Payload(bytes.unwrap_or_default()),
        };
        self.offset += part.bytes.0.len() as u64;
        self.before = Some(part.clone());
        Ok(Some(part))
    }
}

/// Reads the rows into parts, until that is all or nobody takes them any more.
fn read(rows: &Snapshot, sender: mpsc::Sender<Read>) {
    let mut parts = Parts {
        part: BytesMut::new(),
        sender,
    };
    let written = rows.write_to(&mut parts);
    if let Err(error) = written {
        // Else the part before would be taken for the last. Who has gone does not hear it.
        let _ = parts.put(Err(error.into()));
    }
}

/// Cuts what is written into parts and sends them.
struct Parts {
    part: BytesMut,
    sender: mpsc::Sender<Read>,
}

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        let part = self.part.split().freeze();
        self.put(Ok(part))
    }

    fn put(&self, part: Read) -> io::Result<()> {
        let taken = match threads::simulated() {
            Some(_) => self.sender.try_send(part).is_ok(),
            None => self.sender.blocking_send(part).is_ok(),
        };
        let gone = || io::Error::other("nobody takes it any more");
        taken.then_some(()).ok_or_else(gone)
    }
}

impl io::Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = usize::try_from(KEEPSAKE_PART_MAX).expect("32 bits");
        let taken = bytes.len().min(most - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == most {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.part.is_empty() {
            true => Ok(()),
            false => self.send(),
        }
    }
}
