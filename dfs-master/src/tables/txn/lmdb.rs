//! The base on disk: one LMDB file, `tables.mdb`, written by nothing but checkpoints.
//!
//! LMDB is opened in its safest mode: every commit writes new pages beside the old ones, syncs them,
//! then syncs the page that makes them valid. A crash at any moment leaves the last checkpoint or
//! the one before it. The address space for the largest file is reserved at the start, so that the
//! map never has to grow while it is read; the file itself is as large as its rows need.

use crate::tables::{
    damage::Damage,
    key::KeyRange,
    row::{self, Row},
    rows::PositionRow,
    txn::{
        overlay::Overlay,
        pairs::{OwnedPairs, Pair, Pairs},
        read::Direction,
    },
};
use dfs_proto::checksum::Crc32c;
use heed::{
    CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls,
    types::Bytes,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Readers at a time. Each has a slot in the lock file.
const READERS_MAX: u32 = 2048;

/// Name of the file.
const FILE: &str = "tables.mdb";

type Map = Database<'static, Bytes, Bytes>;

/// What came of a change: the engine failed, or what was to be written was not whole.
type Changed = Result<Result<(), Damage>, heed::Error>;

/// The file.
pub(super) struct LmdbBase {
    env: Env<WithoutTls>,
    map: Map,
    path: PathBuf,
}

/// The file as of one checkpoint.
pub(super) struct LmdbView {
    txn: RoTxn<'static, WithoutTls>,
    map: Map,
    path: PathBuf,
}

/// What went wrong with the file, and what a person can do.
fn damage(path: &Path, what: &str, error: &heed::Error) -> Damage {
    let file = path.display();
    match error {
        heed::Error::Mdb(MdbError::MapFull) => Damage::Disk(format!(
            "{what} {file}: it has reached the largest size that was reserved for it; start with a \
             larger reservation"
        )),
        heed::Error::Mdb(
            MdbError::Corrupted
            | MdbError::PageNotFound
            | MdbError::Invalid
            | MdbError::Panic
            | MdbError::VersionMismatch,
        ) => Damage::Content(format!(
            "{what} {file}: {error}; the file is damaged: restore the master's folder from a copy, \
             together with its log"
        )),
        heed::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => Damage::Disk(
            format!("{what} {file}: the disk is full; free space on it: nothing is lost"),
        ),
        _ => Damage::Disk(format!("{what} {file}: {error}")),
    }
}

/// Makes the folder of the file, if it is not there, and its name durable.
fn make_folder(folder: &Path) -> Result<(), Damage> {
    if folder.is_dir() {
        return Ok(());
    }
    let made = fs::create_dir_all(folder);
    made.map_err(|error| Damage::Disk(format!("making {}: {error}", folder.display())))?;
    folder.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> Result<(), Damage> {
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Damage::Disk(format!("syncing {}: {error}", folder.display())))
}

impl LmdbBase {
    /// Opens the file in `folder`, or makes it. `map_bytes` is the largest that it may become.
    #[expect(unsafe_code, reason = "LMDB maps its file into memory")]
    pub(super) fn open(folder: &Path, map_bytes: usize) -> Result<LmdbBase, Damage> {
        let path = folder.join(FILE);
        make_folder(folder)?;
        check_length(&path)?;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_bytes).max_readers(READERS_MAX);
        // SAFETY: NO_SUB_DIR only names the file itself. The file is mapped: nobody else changes it
        // under us, because the daemon holds the lock of its folder and opens it once, and no
        // network file system is to be used for the folder. No flag that weakens syncing is set.
        let env = unsafe {
            options.flags(EnvFlags::NO_SUB_DIR);
            options.open(&path)
        };
        let env = env.map_err(|error| damage(&path, "opening", &error))?;
        // LMDB makes a new file without syncing it, and a torn one is refused at the next start. The
        // log is purged behind a checkpoint: its file must not lose its name either.
        env.force_sync()
            .map_err(|error| damage(&path, "syncing", &error))?;
        sync_folder(folder)?;
        let map = open_map(&env).map_err(|error| damage(&path, "opening", &error))?;
        Ok(LmdbBase { env, map, path })
    }

    /// The file as of its last checkpoint.
    pub(super) fn view(&self) -> Result<LmdbView, Damage> {
        let txn = self.env.clone().static_read_txn();
        Ok(LmdbView {
            txn: txn.map_err(|error| damage(&self.path, "reading", &error))?,
            map: self.map,
            path: self.path.clone(),
        })
    }

    /// Writes changes and the position that they lead to in one synced transaction.
    pub(super) fn write(&self, changes: &Overlay, position: &PositionRow) -> Result<(), Damage> {
        let mut scratch = Vec::new();
        self.in_one_step(&mut |txn| {
            for (key, slot) in changes.iter() {
                match slot.value() {
                    Some(value) => self.map.put(txn, key, sealed(key, value, &mut scratch))?,
                    None => drop(self.map.delete(txn, key)?),
                }
            }
            let key = PositionRow::key(()).bytes();
            let value = row::encode(position, Vec::new());
            self.map
                .put(txn, &key, sealed(&key, &value, &mut scratch))?;
            Ok(Ok(()))
        })
    }

    /// Replaces everything by `rows`, in one synced transaction.
    pub(super) fn replace(&self, rows: &mut OwnedPairs<'_>) -> Result<(), Damage> {
        let mut scratch = Vec::new();
        self.in_one_step(&mut |txn| {
            self.map.clear(txn)?;
            for row in &mut *rows {
                match row {
                    Ok((key, value)) => {
                        self.map
                            .put(txn, &key, sealed(&key, &value, &mut scratch))?;
                    }
                    Err(damage) => return Ok(Err(damage)),
                }
            }
            Ok(Ok(()))
        })
    }

    /// Runs `change` in a transaction, and commits it unless it fails.
    fn in_one_step(&self, change: &mut dyn FnMut(&mut RwTxn<'_>) -> Changed) -> Result<(), Damage> {
        let mut run = || -> Changed {
            let mut txn = self.env.write_txn()?;
            let changed = change(&mut txn)?;
            if changed.is_ok() {
                txn.commit()?;
            }
            Ok(changed)
        };
        run().map_err(|error| damage(&self.path, "writing", &error))?
    }
}

/// A value with the checksum of it and its key, as it is in the file: LMDB has none of its own.
fn sealed<'a>(key: &[u8], value: &[u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    scratch.clear();
    scratch.extend_from_slice(value);
    scratch.extend_from_slice(&Crc32c::of_parts([key, value]).0.to_le_bytes());
    scratch
}

/// The value without its checksum, if that is right.
fn unsealed<'a>(path: &Path, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], Damage> {
    let parts = stored.split_last_chunk();
    let right = parts
        .filter(|(value, crc)| Crc32c::of_parts([key, value]) == Crc32c(u32::from_le_bytes(**crc)));
    right.map(|(value, _)| value).ok_or_else(|| {
        Damage::Content(format!(
            "{}: the row at {} is not what was written; restore the master's folder from a copy, \
             together with its log",
            path.display(),
            key.escape_ascii()
        ))
    })
}

/// The map inside the file, made if it is not there.
fn open_map(env: &Env<WithoutTls>) -> Result<Map, heed::Error> {
    let txn = env.write_txn()?;
    let opened = env.create_databases_and_commit(txn, |opener, txn| {
        let map = opener.create_database::<Bytes, Bytes>(txn, None)?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(map))
    })?;
    Ok(opened.unwrap_commit())
}

/// Refuses a file that is shorter than the pages that it speaks of: reading those would kill the
/// process.
fn check_length(path: &Path) -> Result<(), Damage> {
    let file = path.display();
    let has = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Damage::Disk(format!("opening {file}: {error}"))),
    };
    let pages = last_page(path);
    let pages = pages.map_err(|error| Damage::Disk(format!("reading {file}: {error}")))?;
    // Without a first page there is nothing to miss: LMDB begins such a file anew if it is empty,
    // and refuses it if it is not.
    let Some((page_bytes, last)) = pages else {
        return Ok(());
    };
    let should = last.saturating_add(1).saturating_mul(page_bytes);
    if has >= should {
        return Ok(());
    }
    Err(Damage::Content(format!(
        "{file} was cut: it has {has} bytes and should have {should}; restore the master's folder \
         from a copy, together with its log"
    )))
}

/// Page size and number of the last page, by the newer of the two descriptions of the file that
/// LMDB keeps in its first two pages; `None` where there is none.
fn last_page(path: &Path) -> Result<Option<(u64, u64)>, std::io::Error> {
    use std::os::unix::fs::FileExt;
    /// Where a page's own header ends and the description begins.
    const META: usize = 16;
    const MAGIC: u32 = 0xbeef_c0de;
    let file = fs::File::open(path)?;
    let word = |page: &[u8], at: usize| {
        let bytes = page.get(META + at..META + at + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let mut newest: Option<(u64, u64, u64)> = None;
    let mut page_bytes = 4096;
    for number in 0..2 {
        let mut page = [0; 256];
        if file.read_at(&mut page, number * page_bytes)? < page.len() {
            break;
        }
        let magic = word(&page, 0).map(|word| word & u64::from(u32::MAX));
        if magic != Some(u64::from(MAGIC)) {
            continue;
        }
        // magic, version, address, map size, two trees of 48 bytes (the first 4 bytes of the first
        // are the page size), last page, transaction.
        let size = word(&page, 24).map(|word| word & u64::from(u32::MAX));
        let (Some(size), Some(last), Some(txn)) = (size, word(&page, 120), word(&page, 128)) else {
            continue;
        };
        page_bytes = size.max(512);
        if newest.is_none_or(|(_, _, newer)| txn >= newer) {
            newest = Some((page_bytes, last, txn));
        }
    }
    Ok(newest.map(|(page_bytes, last, _)| (page_bytes, last)))
}

impl LmdbView {
    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, Damage> {
        let stored = self.map.get(&self.txn, key);
        stored
            .map_err(|error| damage(&self.path, "reading", &error))?
            .map(|stored| unsealed(&self.path, key, stored))
            .transpose()
    }

    /// The pairs in a range that is not empty.
    pub(super) fn range(
        &self,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Pairs<'_>, Damage> {
        let failed = |error: heed::Error| damage(&self.path, "reading", &error);
        let bounds = range.bounds();
        Ok(match direction {
            Direction::Up => {
                let pairs = self.map.range(&self.txn, &bounds).map_err(failed)?;
                Box::new(pairs.map(move |pair| self.checked(pair)))
            }
            Direction::Down => {
                let pairs = self.map.rev_range(&self.txn, &bounds).map_err(failed)?;
                Box::new(pairs.map(move |pair| self.checked(pair)))
            }
        })
    }

    fn checked<'a>(&self, pair: Result<Pair<'a>, heed::Error>) -> Result<Pair<'a>, Damage> {
        let (key, stored) = pair.map_err(|error| damage(&self.path, "reading", &error))?;
        Ok((key, unsealed(&self.path, key, stored)?))
    }
}
