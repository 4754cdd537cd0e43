//! The only writer of the tables: applies the log's entries, in order, exactly once.

use crate::engine::{
    command::{Command, Outcome, Position},
    reader::Reader,
};
use std::{path::PathBuf, sync::Arc};

/// Where the tables are kept.
#[derive(Clone)]
pub enum Storage {
    /// In this folder of a real disk.
    Folder(PathBuf),
    /// In memory that outlives the machine, for simulation and tests: what a checkpoint wrote is
    /// there when it is opened again.
    Memory(Arc<MemoryTables>),
}

/// Checkpoints in memory.
#[derive(Default)]
pub struct MemoryTables {}

/// How the tables are kept.
#[derive(Clone)]
pub struct Settings {
    /// Bytes of changes in memory at which a checkpoint begins by itself.
    pub overlay_bytes_max: usize,
    /// Address space reserved for the tables' file: the largest that it can become.
    pub map_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            overlay_bytes_max: 64 << 20,
            map_bytes: 1 << 40,
        }
    }
}

/// Something is wrong with the tables' file or its disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The disk refused; says what was done to which file.
    #[error("{0}")]
    Disk(String),
    /// What is stored cannot be what was stored.
    #[error("{0}")]
    Content(String),
}

/// The state machine.
pub struct Machine {
    reader: Reader,
}

impl Machine {
    /// Opens the tables as their last checkpoint left them; the log goes on from
    /// [`Machine::position`].
    pub fn open(_storage: &Storage, _settings: Settings) -> Result<Machine, Damage> {
        Err(Damage::Content("not written yet".to_owned()))
    }

    /// The last entry applied.
    pub fn position(&self) -> Position {
        Position::default()
    }

    /// The index of the last entry applied; 0 before the first.
    pub fn applied_index(&self) -> u64 {
        self.position().index
    }

    /// Applies the commands of one log entry. Entries come in order; an entry without commands
    /// (a blank, a membership) comes with none. On damage the master must stop.
    pub fn apply(&mut self, _at: Position, commands: &[Command]) -> Result<Vec<Outcome>, Damage> {
        Ok(commands.iter().map(|_| Outcome::Done).collect())
    }

    /// Begins to write a checkpoint of what was applied, in the background; `false` when one is
    /// being written or nothing changed. Apply does so by itself when the changes in memory grow
    /// large; call this every few seconds.
    pub fn checkpoint(&mut self) -> Result<bool, Damage> {
        Ok(false)
    }

    /// Begins a checkpoint and waits until everything applied so far is in the tables' file, synced.
    pub fn checkpoint_now(&mut self) -> Result<Position, Damage> {
        Ok(self.position())
    }

    /// Replaces everything by the rows of a snapshot that [`Reader::snapshot`] gave, and checkpoints
    /// it.
    pub fn install(&mut self, _rows: &mut dyn std::io::Read) -> Result<Position, Damage> {
        Ok(self.position())
    }

    /// The other side: reads what was applied, from any thread.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }
}
