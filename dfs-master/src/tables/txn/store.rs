//! The tables as one owner changes them and many threads read them, and their checkpoints.
//!
//! Only [`Tables::transact`] changes them, and only the applier calls it. A checkpoint freezes the
//! changes so far, and a thread writes them to the base together with the log position that they
//! lead to; meanwhile a new overlay takes the changes. The frozen ones go when the base has them:
//! at every moment, overlay over frozen over base is everything that was applied.

use crate::tables::{
    damage::Damage,
    key::KeyRange,
    row::{self, Row},
    rows::PositionRow,
    txn::{
        base::{Base, BaseView},
        lmdb::LmdbBase,
        memory::MemoryTables,
        merge,
        overlay::Overlay,
        read::{Direction, Each, Read},
        snapshot::{Snapshot, SnapshotRows},
        transaction::Txn,
    },
};
use dfs_host::threads;
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};
use std::{cell::OnceCell, io, path::PathBuf, sync::Arc, thread::JoinHandle};

/// Where the tables are kept.
#[derive(Clone)]
pub enum Storage {
    /// In this folder of a real disk.
    Folder(PathBuf),
    /// In memory that outlives the tables, for simulation and tests: what a checkpoint wrote is
    /// there when they are opened again.
    Memory(Arc<MemoryTables>),
}

/// How the tables are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Bytes of changes in memory at which a checkpoint begins by itself. While one is written, as
    /// much again may gather; then changes wait for it.
    pub overlay_bytes_max: usize,
    /// Address space reserved for the tables' file: the largest that it can become.
    pub map_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            overlay_bytes_max: 16 << 20,
            map_bytes: 1 << 40,
        }
    }
}

/// Changes that a checkpoint is writing.
struct Frozen {
    changes: Overlay,
    position: PositionRow,
}

/// What was applied and is not in the base.
struct Layers {
    active: Overlay,
    frozen: Option<Arc<Frozen>>,
    position: PositionRow,
}

/// How the checkpoints are doing.
struct Progress {
    writing: bool,
    thread: Option<JoinHandle<()>>,
    done: PositionRow,
    failure: Option<Damage>,
}

struct Shared {
    base: Base,
    layers: RwLock<Layers>,
    progress: Mutex<Progress>,
    /// Told when a checkpoint ends, well or not.
    ended: Condvar,
    settings: Settings,
}

/// The tables; cheap to clone.
#[derive(Clone)]
pub struct Tables(Arc<Shared>);

impl Tables {
    /// Opens the tables as the last checkpoint left them.
    pub fn open(storage: &Storage, settings: Settings) -> Result<Tables, Damage> {
        let base = match storage {
            Storage::Folder(folder) => Base::Lmdb(LmdbBase::open(folder, settings.map_bytes)?),
            Storage::Memory(tables) => Base::Memory(tables.clone()),
        };
        let position = position_of(&base.view()?)?;
        Ok(Tables(Arc::new(Shared {
            base,
            layers: RwLock::new(Layers {
                active: Overlay::default(),
                frozen: None,
                position: position.clone(),
            }),
            progress: Mutex::new(Progress {
                writing: false,
                thread: None,
                done: position,
                failure: None,
            }),
            ended: Condvar::new(),
            settings,
        })))
    }

    /// What was applied until now. Nothing is applied while it is held: let go of it soon.
    pub fn view(&self) -> View<'_> {
        View {
            shared: &self.0,
            layers: self.0.layers.read(),
            base: OnceCell::new(),
        }
    }

    /// Runs `change`, and applies what it did unless it fails.
    pub fn transact<T, E>(
        &self,
        change: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let view = self.view();
        let mut txn = Txn::above(&view);
        let result = change(&mut txn)?;
        let changes = txn.into_changes();
        drop(view);
        self.0.layers.write().active.absorb(changes);
        Ok(result)
    }

    /// Notes that all of the log up to `position` is applied.
    pub fn advance(&self, position: PositionRow) {
        self.0.layers.write().position = position;
    }

    /// The last log entry that is applied.
    pub fn position(&self) -> PositionRow {
        self.0.layers.read().position.clone()
    }

    /// The index of the last log entry that is applied.
    pub fn index(&self) -> u64 {
        self.0.layers.read().position.index
    }

    /// The last log entry that is in the base, synced.
    pub fn checkpointed(&self) -> PositionRow {
        self.0.progress.lock().done.clone()
    }

    /// Why the last checkpoint could not be written, if it could not.
    pub fn checkpoint_failure(&self) -> Option<Damage> {
        self.0.progress.lock().failure.clone()
    }

    /// Begins a checkpoint of what is applied, in the background; `false` when one is being written
    /// already, or nothing was applied since the last. One that failed is tried again.
    pub fn checkpoint(&self) -> bool {
        let mut progress = self.0.progress.lock();
        if progress.writing {
            return false;
        }
        let mut layers = self.0.layers.write();
        if layers.frozen.is_none() {
            if layers.position == progress.done && layers.active.is_empty() {
                return false;
            }
            layers.frozen = Some(Arc::new(Frozen {
                changes: std::mem::take(&mut layers.active),
                position: layers.position.clone(),
            }));
        }
        let frozen = layers.frozen.clone().expect("it was put there above");
        drop(layers);
        progress.writing = true;
        if threads::simulated().is_some() {
            drop(progress);
            self.0.write(frozen);
            return true;
        }
        let shared = self.0.clone();
        let spawned = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || shared.write(frozen));
        match spawned {
            Ok(thread) => progress.thread = Some(thread),
            Err(error) => {
                progress.writing = false;
                progress.failure = Some(Damage::Disk(format!("starting a thread: {error}")));
            }
        }
        true
    }

    /// Begins a checkpoint if the changes in memory have grown large, and waits for the one before
    /// it if they have grown much too large.
    pub fn checkpoint_if_large(&self) {
        let max = self.0.settings.overlay_bytes_max;
        let bytes = self.0.layers.read().active.bytes();
        if bytes < max {
            return;
        }
        if bytes >= max.saturating_mul(2) {
            self.settle();
        }
        self.checkpoint();
    }

    /// Waits until no checkpoint is being written.
    pub fn settle(&self) {
        let mut progress = self.0.progress.lock();
        self.0
            .ended
            .wait_while(&mut progress, |progress| progress.writing);
        let thread = progress.thread.take();
        drop(progress);
        // It has nothing left to do but to let go of the file.
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            let mut progress = self.0.progress.lock();
            progress.failure = Some(Damage::Disk("the checkpoint's thread failed".to_owned()));
        }
    }

    /// Waits until everything that is applied now is in the base, synced.
    pub fn checkpoint_now(&self) -> Result<PositionRow, Damage> {
        // The first may have been begun before the last changes.
        for _ in 0..2 {
            self.settle();
            self.checkpoint();
        }
        self.settle();
        let progress = self.0.progress.lock();
        match &progress.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(progress.done.clone()),
        }
    }

    /// Everything as of the last checkpoint.
    pub fn snapshot(&self) -> Result<Snapshot, Damage> {
        let view = self.0.base.view()?;
        let position = position_of(&view)?;
        Ok(Snapshot::new(view, position))
    }

    /// Everything as of the last checkpoint, to be read for as long as it takes: changes go on above
    /// it, and checkpoints beside it, in a file that grows meanwhile.
    pub fn stored(&self) -> Result<Stored, Damage> {
        self.0.base.view().map(Stored)
    }

    /// Replaces everything by the rows of a snapshot, and gives the position that it is as of. On
    /// an error, nothing has changed.
    pub fn install(&self, from: &mut dyn io::Read) -> Result<PositionRow, Damage> {
        self.settle();
        let mut layers = self.0.layers.write();
        let key = PositionRow::key(()).bytes();
        // Read before anything is replaced: a stream without a place in the log is refused as a whole.
        let mut rows = SnapshotRows::new(from)?.map(|row| {
            let (name, value) = row?;
            if *name == *key {
                row::decode::<PositionRow>(&name, &value)?;
            }
            Ok((name, value))
        });
        self.0.base.replace(&mut rows)?;
        let position = position_of(&self.0.base.view()?)?;
        *layers = Layers {
            active: Overlay::default(),
            frozen: None,
            position: position.clone(),
        };
        drop(layers);
        let mut progress = self.0.progress.lock();
        progress.done = position.clone();
        progress.failure = None;
        Ok(position)
    }
}

/// The log position in a base; the beginning of the log in an empty one.
fn position_of(base: &BaseView) -> Result<PositionRow, Damage> {
    let key = PositionRow::key(()).bytes();
    let position = base.get(&key)?.map(|bytes| row::decode(&key, bytes));
    Ok(position.transpose()?.unwrap_or_default())
}

impl Shared {
    /// Writes the frozen changes, on a thread of its own.
    fn write(&self, frozen: Arc<Frozen>) {
        let written = self.base.write(&frozen.changes, &frozen.position);
        let done = written.is_ok().then(|| frozen.position.clone());
        if done.is_some() {
            self.layers.write().frozen = None;
        }
        // The memory of the changes is given back before the next ones may be frozen.
        drop(frozen);
        let mut progress = self.progress.lock();
        progress.writing = false;
        progress.failure = written.err();
        if let Some(done) = done {
            progress.done = done;
        }
        self.ended.notify_all();
    }
}

/// What was applied, as of one moment.
pub struct View<'a> {
    shared: &'a Shared,
    layers: RwLockReadGuard<'a, Layers>,
    base: OnceCell<BaseView>,
}

impl View<'_> {
    /// The log entry that this is as of.
    pub fn index(&self) -> u64 {
        self.layers.position.index
    }

    /// The layers in memory, topmost first.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Overlay> {
        let frozen = self.layers.frozen.as_deref();
        std::iter::once(&self.layers.active).chain(frozen.map(|frozen| &frozen.changes))
    }

    /// What is below them. Opened when it is first needed, which is right at any time while the
    /// layers are held: a checkpoint that ends meanwhile puts into the base what the frozen layer,
    /// which stays, says as well.
    pub(super) fn base(&self) -> Result<&BaseView, Damage> {
        match self.base.get() {
            Some(base) => Ok(base),
            None => {
                let base = self.shared.base.view()?;
                Ok(self.base.get_or_init(|| base))
            }
        }
    }
}

impl Read for View<'_> {
    fn value(&self, key: &[u8]) -> Result<Option<&[u8]>, Damage> {
        for layer in self.layers() {
            if let Some(slot) = layer.get(key) {
                return Ok(slot.value());
            }
        }
        self.base()?.get(key)
    }

    fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        each: &mut Each<'_>,
    ) -> Result<(), Damage> {
        let layers: Vec<&Overlay> = self.layers().collect();
        merge::visit(&layers, self.base()?, range, direction, each)
    }
}

/// What was applied, as of a checkpoint.
pub struct Stored(BaseView);

impl Read for Stored {
    fn value(&self, key: &[u8]) -> Result<Option<&[u8]>, Damage> {
        self.0.get(key)
    }

    fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        each: &mut Each<'_>,
    ) -> Result<(), Damage> {
        merge::visit(&[], &self.0, range, direction, each)
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tables(as of {})", self.index())
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
