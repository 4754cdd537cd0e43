//! Everything as of one checkpoint as a stream of rows, for a follower, a backup or another engine.
//!
//! ```text
//! "dfs tables 1\n"   then rows: key length u16 LE, value length u32 LE, key, value
//!                    then 0 u16, number of rows u64 LE, CRC-32C of all bytes before u32 LE
//! ```
//! Rows come in the order of their keys. A stream that was cut or changed is refused as a whole.

use crate::tables::{
    damage::Damage,
    key::KeyRange,
    rows::PositionRow,
    txn::{base::BaseView, pairs::OwnedPair, read::Direction},
};
use std::io::{self, Read, Write};

const MAGIC: &[u8] = b"dfs tables 1\n";

/// Longest value that a stream may bring: an extended attribute and its frame.
const VALUE_BYTES_MAX: usize = 1 << 24;

/// Everything as of one checkpoint; stays so while changes go on.
pub struct Snapshot {
    base: BaseView,
    position: PositionRow,
}

impl Snapshot {
    pub(super) fn new(base: BaseView, position: PositionRow) -> Snapshot {
        Snapshot { base, position }
    }

    /// The log entry that it is as of.
    pub fn position(&self) -> PositionRow {
        self.position.clone()
    }

    /// Writes the stream; says how many rows there were.
    pub fn write_to(&self, into: &mut dyn Write) -> Result<u64, Damage> {
        let failed = |error: io::Error| Damage::Disk(format!("writing a snapshot: {error}"));
        let mut sum = Summed::new(into);
        sum.write_all(MAGIC).map_err(failed)?;
        let mut rows = 0_u64;
        for pair in self.base.range(&KeyRange::all(), Direction::Up)? {
            let (key, value) = pair?;
            let key_len = u16::try_from(key.len()).expect("keys are short");
            let value_len = u32::try_from(value.len()).expect("values are below 4 GiB");
            sum.write_all(&key_len.to_le_bytes()).map_err(failed)?;
            sum.write_all(&value_len.to_le_bytes()).map_err(failed)?;
            sum.write_all(key).map_err(failed)?;
            sum.write_all(value).map_err(failed)?;
            rows += 1;
        }
        sum.write_all(&0_u16.to_le_bytes()).map_err(failed)?;
        sum.write_all(&rows.to_le_bytes()).map_err(failed)?;
        let crc = sum.crc();
        let into = sum.inner;
        into.write_all(&crc.to_le_bytes()).map_err(failed)?;
        into.flush().map_err(failed)?;
        Ok(rows)
    }
}

/// Passes bytes on and sums them up.
struct Summed<T> {
    inner: T,
    digest: crc_fast::Digest,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Summed<T> {
        let digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        Summed { inner, digest }
    }

    fn crc(&self) -> u32 {
        u32::try_from(self.digest.finalize()).expect("CRC-32 has 32 bits")
    }
}

impl Write for Summed<&mut dyn Write> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Read for Summed<&mut dyn Read> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.digest.update(&into[..read]);
        Ok(read)
    }
}

/// The rows of a stream. The last item is an error unless the stream was whole.
pub struct SnapshotRows<'a> {
    from: Summed<&'a mut dyn Read>,
    rows: u64,
    ended: bool,
}

fn not_whole(why: impl std::fmt::Display) -> Damage {
    Damage::Content(format!(
        "the snapshot is not whole ({why}); nothing was changed: get it again"
    ))
}

impl<'a> SnapshotRows<'a> {
    /// Checks the beginning of a stream.
    pub fn new(from: &'a mut dyn Read) -> Result<SnapshotRows<'a>, Damage> {
        let mut from = Summed::new(from);
        let magic: [u8; MAGIC.len()] = array(&mut from)?;
        if magic != *MAGIC {
            return Err(not_whole("it does not begin as snapshots of version 1 do"));
        }
        Ok(SnapshotRows {
            from,
            rows: 0,
            ended: false,
        })
    }

    fn step(&mut self) -> Result<Option<OwnedPair>, Damage> {
        let key_len = usize::from(u16::from_le_bytes(array(&mut self.from)?));
        if key_len == 0 {
            let rows = u64::from_le_bytes(array(&mut self.from)?);
            let crc = self.from.crc();
            let stored = u32::from_le_bytes(array(&mut self.from)?);
            if (rows, stored) != (self.rows, crc) {
                return Err(not_whole("its checksum is wrong"));
            }
            return Ok(None);
        }
        let value_len = u32::from_le_bytes(array(&mut self.from)?);
        let value_len = usize::try_from(value_len).map_err(not_whole)?;
        if key_len > crate::tables::key::KEY_BYTES_MAX || value_len > VALUE_BYTES_MAX {
            return Err(not_whole("a length in it is impossible"));
        }
        let key = self.bytes(key_len)?;
        let value = self.bytes(value_len)?;
        self.rows += 1;
        Ok(Some((key, value)))
    }
}

impl SnapshotRows<'_> {
    /// So many bytes; memory is taken as they come, not as they are announced.
    fn bytes(&mut self, len: usize) -> Result<Vec<u8>, Damage> {
        let mut bytes = Vec::new();
        let mut part = Read::take(&mut self.from, len as u64);
        let read = part.read_to_end(&mut bytes).map_err(not_whole)?;
        match read == len {
            true => Ok(bytes),
            false => Err(not_whole("it ends in a row")),
        }
    }
}

fn array<const N: usize>(from: &mut dyn Read) -> Result<[u8; N], Damage> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).map_err(not_whole)?;
    Ok(bytes)
}

impl Iterator for SnapshotRows<'_> {
    type Item = Result<OwnedPair, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step().transpose();
        self.ended = !matches!(step, Some(Ok(_)));
        step
    }
}
