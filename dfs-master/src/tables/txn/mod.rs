//! The store below the rows: an ordered map of bytes, changed in memory, checkpointed to disk.
//!
//! ```text
//! transaction   changes of one command         thrown away when it fails
//! overlay       since the last checkpoint      in memory
//! frozen        being written by a checkpoint  in memory, until the base has it
//! base          as of the last checkpoint      LMDB, or a map in memory for simulation
//! ```
//! A reader sees the four as one map ([`merge`]). What is lost in a crash is the memory, and the log
//! has that. `lmdb.rs` is the only file of the project that names the engine.

mod base;
mod lmdb;
mod memory;
mod merge;
mod overlay;
mod pairs;
mod read;
mod snapshot;
mod store;
mod transaction;

pub use memory::MemoryTables;
pub use read::{Direction, Each, Read, Rows};
pub use snapshot::{Snapshot, SnapshotRows};
pub use store::{Settings, Storage, Stored, Tables, View};
pub use transaction::Txn;
