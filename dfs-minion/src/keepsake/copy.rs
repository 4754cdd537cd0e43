//! The files of a keepsake: a snapshot of the master's tables, and the segments of its log since.
//!
//! Segments are the master's, byte for byte, as far as they have come. Each record is verified, and
//! that it names the one before, before it is written; what does not follow is refused, and the
//! keepsake begun anew. Nothing here is synced but in [`Copy::sync`] and when a snapshot has come.
//! All calls block.

use super::manifest::{FOLDER, Manifest, remove};
use dfs_host::disk::{Disk, DiskFile};
use dfs_proto::{
    checksum::SelfSummed,
    id::FilesystemId,
    log::{
        KEEPSAKE_PART_MAX, KeepsakeFile, Kept, SnapshotPart, StreamSpot,
        record::{
            Kind, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, Spot, announced_bytes,
            read_record, record_bytes,
        },
    },
};
use std::{collections::VecDeque, io, sync::Arc};

const SNAPSHOT_NEW: &str = "keepsake/snapshot.new";
/// A record above this is none.
const RECORD_BYTES_MAX: usize = 256 << 20;
const HEADER: usize = 64;

/// Why something was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// It does not follow what is here; says why.
    #[error("it does not follow what is here: {0}")]
    Follows(&'static str),
}

struct Segment {
    sequence: u32,
    file: Arc<dyn DiskFile>,
    /// Where its records end.
    bytes: u32,
}

struct Arriving {
    at: StreamSpot,
    file: Arc<dyn DiskFile>,
    sum: SelfSummed,
}

/// A keepsake.
pub(crate) struct Copy {
    disk: Arc<dyn Disk>,
    manifest: Manifest,
    segments: VecDeque<Segment>,
    /// Checksum of the last record.
    chain: u32,
    /// Index of the last entry.
    index: u64,
    /// A record of which the rest has not come.
    pending: Vec<u8>,
    arriving: Option<Arriving>,
    unsynced: bool,
    damage: Option<String>,
}

fn segment_name(sequence: u32) -> String {
    format!("{FOLDER}/{sequence:08x}.seg")
}

fn snapshot_name(index: u64) -> String {
    format!("{FOLDER}/snapshot-{index:016x}")
}

impl Copy {
    /// The keepsake of this file system on a disk, if there is one. What is damaged of it is known
    /// afterwards.
    pub(crate) fn open(disk: Arc<dyn Disk>, ours: FilesystemId) -> io::Result<Option<Copy>> {
        let manifest = match Manifest::read(&*disk) {
            Ok(None) => return Ok(None),
            Ok(Some(manifest)) if manifest.filesystem != ours => return Ok(None),
            Ok(Some(manifest)) => manifest,
            Err(damaged) if damaged.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!("keepsake/manifest is damaged: the keepsake is begun anew");
                return Ok(None);
            }
            Err(other) => return Err(other),
        };
        let mut copy = Copy::of(disk, manifest);
        copy.clear(|name| name.ends_with(".new"))?;
        copy.damage = copy.look()?.err();
        if let Some(damage) = &copy.damage {
            tracing::warn!("the keepsake is damaged: {damage}; it is begun anew");
        }
        Ok(Some(copy))
    }

    /// A new keepsake, with nothing in it; what was there before goes.
    pub(crate) fn begin(
        disk: Arc<dyn Disk>,
        filesystem: FilesystemId,
        epoch: u64,
    ) -> io::Result<Copy> {
        disk.create_folder(FOLDER)?;
        Copy::wipe(&*disk)?;
        let manifest = Manifest {
            filesystem,
            epoch,
            snapshot: 0,
            snapshot_bytes: 0,
            oldest: 0,
        };
        manifest.write(&*disk)?;
        Ok(Copy::of(disk, manifest))
    }

    /// Removes a keepsake.
    pub(crate) fn wipe(disk: &dyn Disk) -> io::Result<()> {
        Manifest::remove(disk)?;
        for name in disk.list(FOLDER)? {
            remove(disk, &format!("{FOLDER}/{name}"))?;
        }
        disk.sync_folder(FOLDER)
    }

    fn of(disk: Arc<dyn Disk>, manifest: Manifest) -> Copy {
        Copy {
            disk,
            manifest,
            segments: VecDeque::new(),
            chain: 0,
            index: 0,
            pending: Vec::new(),
            arriving: None,
            unsynced: false,
            damage: None,
        }
    }

    /// Takes in what is on the disk; says what is damaged of it. A torn tail is cut: the master has
    /// it, or another keeper.
    fn look(&mut self) -> io::Result<Result<(), String>> {
        if self.manifest.snapshot > 0 {
            let name = snapshot_name(self.manifest.snapshot);
            let there = match self.disk.open(&name) {
                Ok(file) => file.len()?,
                Err(absent) if absent.kind() == io::ErrorKind::NotFound => 0,
                Err(other) => return Err(other),
            };
            let expected = self.manifest.snapshot_bytes;
            if there != expected {
                return Ok(Err(format!(
                    "{name} has {there} bytes instead of {expected}"
                )));
            }
        }
        for sequence in self.manifest.oldest.. {
            let name = segment_name(sequence);
            let file = match self.disk.open(&name) {
                Ok(file) => file,
                Err(absent) if absent.kind() == io::ErrorKind::NotFound => break,
                Err(other) => return Err(other),
            };
            if let Err((at, why)) = self.look_at(sequence, file)? {
                return Ok(Err(format!("{name} at byte {at}: {why}")));
            }
        }
        Ok(Ok(()))
    }

    fn look_at(
        &mut self,
        sequence: u32,
        file: Arc<dyn DiskFile>,
    ) -> io::Result<Result<(), (usize, &'static str)>> {
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        if bytes.len() < HEADER {
            // Nothing of it had come to the disk.
            return Ok(Ok(()));
        }
        let header = match self.header(sequence, &bytes) {
            Ok(header) => header,
            Err(why) => return Ok(Err((0, why))),
        };
        self.chain = header.1;
        let (good, last) = match walk(&bytes[HEADER..], sequence, (self.chain, self.index)) {
            Ok(walked) => walked,
            Err(why) => return Ok(Err((HEADER, why))),
        };
        (self.chain, self.index) = last;
        let end = HEADER + good;
        let mut beyond = end;
        while beyond + RECORD_HEADER_BYTES <= bytes.len() {
            if read_record(&bytes[beyond..], sequence).is_some() {
                return Ok(Err((end, "a record is damaged, and others come after it")));
            }
            beyond += 8;
        }
        if end < bytes.len() {
            file.set_len(end as u64)?;
            self.unsynced = true;
        }
        let bytes = u32::try_from(end).map_err(io::Error::other)?;
        self.segments.push_back(Segment {
            sequence,
            file,
            bytes,
        });
        Ok(Ok(()))
    }

    /// The header of a segment, which must follow what is here.
    fn header(&self, sequence: u32, bytes: &[u8]) -> Result<(SegmentHeader, u32), &'static str> {
        let (header, crc) = SegmentHeader::decode(bytes).ok_or("its header is damaged")?;
        let follows = self.segments.back().is_none_or(|last| {
            (last.sequence.wrapping_add(1), self.chain) == (sequence, header.before)
        });
        match () {
            () if header.sequence != sequence => Err("it is another segment"),
            () if header.filesystem != self.manifest.filesystem => {
                Err("it is of another file system")
            }
            () if !follows => Err("records are missing before it"),
            () => Ok((header, crc)),
        }
    }

    /// Whether it takes up what is said by a master of this boot. A later one than before is noted.
    pub(crate) fn follows(&mut self, epoch: u64) -> io::Result<bool> {
        if epoch > self.manifest.epoch {
            self.manifest.epoch = epoch;
            self.manifest.write(&*self.disk)?;
        }
        Ok(epoch == self.manifest.epoch)
    }

    /// What it has; `None` if that is of no use.
    pub(crate) fn kept(&self) -> Option<Kept> {
        let last = self.segments.back().filter(|_| self.damage.is_none())?;
        let end = Spot {
            segment: last.sequence,
            offset: last.bytes,
        };
        Some(Kept {
            epoch: self.manifest.epoch,
            snapshot: self.manifest.snapshot,
            snapshot_bytes: self.manifest.snapshot_bytes,
            oldest: self.segments.front().map_or(0, |first| first.sequence),
            end,
            chain: self.chain,
            index: self.index,
            beyond: u32::try_from(self.pending.len()).unwrap_or(u32::MAX),
            log_bytes: self.segments.iter().map(|one| u64::from(one.bytes)).sum(),
            arriving: self.arriving.as_ref().map(|one| one.at),
        })
    }

    /// The boot of the last master that was followed.
    pub(crate) fn epoch(&self) -> u64 {
        self.manifest.epoch
    }

    /// Its file system, and what is damaged of it.
    pub(crate) fn identity(&self) -> (FilesystemId, Option<String>) {
        (self.manifest.filesystem, self.damage.clone())
    }

    /// Takes what comes next of the log.
    pub(crate) fn take_log(&mut self, at: Spot, bytes: &[u8]) -> Result<(), Refused> {
        let bytes = match at.offset {
            0 => self.begin_segment(at.segment, bytes)?,
            _ => bytes,
        };
        let last = self.segments.back();
        let last = last.ok_or(Refused::Follows("there is no segment"))?;
        let (sequence, offset) = (last.sequence, last.bytes);
        let came = usize::try_from(offset).expect("32 bits") + self.pending.len();
        let expected = usize::try_from(at.offset.max(SEGMENT_HEADER_BYTES)).expect("32 bits");
        if (sequence, came) != (at.segment, expected) {
            return Err(Refused::Follows("it belongs elsewhere"));
        }
        self.pending.extend_from_slice(bytes);
        let before = (self.chain, self.index);
        let (good, after) = walk(&self.pending, sequence, before).map_err(Refused::Follows)?;
        if let Some(announced) = announced(&self.pending[good..]).map_err(Refused::Follows)?
            && announced <= self.pending.len() - good
        {
            return Err(Refused::Follows("a record is damaged"));
        }
        if good > 0 {
            last.file
                .write_at(&[&self.pending[..good]], u64::from(offset))?;
            self.unsynced = true;
            let last = self.segments.back_mut().expect("seen above");
            last.bytes += u32::try_from(good).map_err(io::Error::other)?;
            (self.chain, self.index) = after;
            self.pending.drain(..good);
        }
        Ok(())
    }

    fn begin_segment<'a>(&mut self, sequence: u32, bytes: &'a [u8]) -> Result<&'a [u8], Refused> {
        if !self.pending.is_empty() {
            return Err(Refused::Follows("a record is cut"));
        }
        let (head, rest) = bytes
            .split_at_checked(HEADER)
            .ok_or(Refused::Follows("a header is cut"))?;
        let (_, crc) = self.header(sequence, head).map_err(Refused::Follows)?;
        // Only the newest may have a torn tail.
        self.sync()?;
        let name = segment_name(sequence);
        remove(&*self.disk, &name)?;
        let file = self.disk.create(&name)?;
        file.write_at(&[head], 0)?;
        if self.segments.is_empty() {
            self.manifest.oldest = sequence;
            self.manifest.write(&*self.disk)?;
        }
        self.unsynced = true;
        self.chain = crc;
        let bytes = SEGMENT_HEADER_BYTES;
        self.segments.push_back(Segment {
            sequence,
            file,
            bytes,
        });
        Ok(rest)
    }

    /// Takes what comes next of a snapshot. With the last part it counts, and what it makes
    /// unnecessary goes. A part that does not follow is passed over: the master begins again.
    pub(crate) fn take_part(&mut self, part: &SnapshotPart) -> io::Result<()> {
        if part.at.offset == 0 {
            remove(&*self.disk, SNAPSHOT_NEW)?;
            let file = self.disk.create(SNAPSHOT_NEW)?;
            self.arriving = Some(Arriving {
                at: part.at,
                file,
                sum: SelfSummed::default(),
            });
        }
        let Some(mut arriving) = self.arriving.take().filter(|one| one.at == part.at) else {
            return Ok(());
        };
        let bytes = &part.bytes.0;
        arriving.file.write_at(&[bytes], part.at.offset)?;
        arriving.sum.take(bytes);
        arriving.at.offset += bytes.len() as u64;
        if !part.last {
            self.arriving = Some(arriving);
            return Ok(());
        }
        if !arriving.sum.is_whole() {
            tracing::warn!(
                "a snapshot of the master did not come as it was sent; it is sent again"
            );
            return Ok(());
        }
        arriving.file.sync()?;
        self.sync()?;
        self.disk.rename(SNAPSHOT_NEW, &snapshot_name(part.index))?;
        self.disk.sync_folder(FOLDER)?;
        let oldest = part.oldest;
        self.manifest = Manifest {
            snapshot: part.index,
            snapshot_bytes: arriving.at.offset,
            oldest: oldest.min(self.segments.back().map_or(oldest, |last| last.sequence)),
            ..self.manifest
        };
        self.manifest.write(&*self.disk)?;
        self.tidy()
    }

    /// Removes what the snapshot has made unnecessary.
    fn tidy(&mut self) -> io::Result<()> {
        let (oldest, snapshot) = (self.manifest.oldest, self.manifest.snapshot);
        while self
            .segments
            .front()
            .is_some_and(|one| one.sequence < oldest)
        {
            let gone = self.segments.pop_front().expect("seen above");
            remove(&*self.disk, &segment_name(gone.sequence))?;
        }
        let kept = snapshot_name(snapshot);
        self.clear(|name| name.starts_with("snapshot-") && !kept.ends_with(name))
    }

    fn clear(&self, goes: impl Fn(&str) -> bool) -> io::Result<()> {
        for name in self.disk.list(FOLDER)? {
            if goes(&name) {
                remove(&*self.disk, &format!("{FOLDER}/{name}"))?;
            }
        }
        Ok(())
    }

    /// Makes all that has come of the log durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if let Some(last) = self.segments.back().filter(|_| self.unsynced) {
            last.file.sync()?;
            self.disk.sync_folder(FOLDER)?;
        }
        self.unsynced = false;
        Ok(())
    }

    /// Reads the log again: what of it has rotted since it came is known afterwards.
    pub(crate) fn verify_log(&mut self) -> io::Result<()> {
        let mut again = Copy::of(Arc::clone(&self.disk), self.manifest);
        match again.look()? {
            Err(damage) => self.rot(damage),
            Ok(()) if (again.chain, again.index) != (self.chain, self.index) => {
                self.rot("the end of the log is damaged".to_owned());
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Its snapshot, if there is one: to be read again without it.
    pub(crate) fn snapshot(&self) -> io::Result<Option<Snapshot>> {
        if self.manifest.snapshot == 0 {
            return Ok(None);
        }
        let name = snapshot_name(self.manifest.snapshot);
        Ok(Some(Snapshot {
            index: self.manifest.snapshot,
            bytes: self.manifest.snapshot_bytes,
            file: self.disk.open(&name)?,
        }))
    }

    /// This snapshot does not match its checksum, unless there is another by now.
    pub(crate) fn snapshot_rots(&mut self, snapshot: &Snapshot) {
        if snapshot.index == self.manifest.snapshot {
            let name = snapshot_name(snapshot.index);
            self.rot(format!("{name} does not match its checksum"));
        }
    }

    fn rot(&mut self, damage: String) {
        tracing::warn!("the keepsake has rotted: {damage}; it is begun anew");
        self.damage = Some(damage);
    }

    /// Whether something is not durable yet.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Bytes of a file from `offset` on; none where it ends.
    pub(crate) fn read(&self, file: KeepsakeFile, offset: u64) -> io::Result<Vec<u8>> {
        let (file, end) = match file {
            KeepsakeFile::Snapshot => {
                let file = self.disk.open(&snapshot_name(self.manifest.snapshot))?;
                (file, self.manifest.snapshot_bytes)
            }
            KeepsakeFile::Segment(sequence) => {
                let mut all = self.segments.iter();
                let segment = all.find(|one| one.sequence == sequence);
                let segment = segment.ok_or(io::ErrorKind::NotFound)?;
                (Arc::clone(&segment.file), u64::from(segment.bytes))
            }
        };
        let most = end.saturating_sub(offset).min(u64::from(KEEPSAKE_PART_MAX));
        let mut bytes = vec![0; usize::try_from(most).expect("a part is short")];
        let read = file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// A snapshot that is kept.
pub(crate) struct Snapshot {
    index: u64,
    bytes: u64,
    file: Arc<dyn DiskFile>,
}

impl Snapshot {
    /// Reads it, and says whether it is as it was sent.
    pub(crate) fn is_whole(&self) -> io::Result<bool> {
        let mut part = vec![0; 1 << 20];
        let (mut sum, mut at) = (SelfSummed::default(), 0);
        while at < self.bytes {
            let left = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
            let part = &mut part[..left.min(1 << 20)];
            let read = self.file.read_at(part, at)?;
            if read == 0 {
                return Ok(false);
            }
            sum.take(&part[..read]);
            at += read as u64;
        }
        Ok(sum.is_whole())
    }
}

/// How many bytes are whole good records, each naming the one before; the checksum of the last, and
/// the index of the last entry. An error is a good record that does not follow.
fn walk(
    bytes: &[u8],
    sequence: u32,
    (mut chain, mut index): (u32, u64),
) -> Result<(usize, (u32, u64)), &'static str> {
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| read_record(rest, sequence)) {
        let whole = record_bytes(found.payload.len());
        if at + whole > bytes.len() {
            break;
        }
        if found.header.before != chain {
            return Err("a record does not name the one before");
        }
        let place = found.header.place;
        match found.header.kind {
            Kind::Mark => {}
            Kind::Truncate => index = place.index,
            Kind::Blank | Kind::Commands | Kind::Membership => {
                if index != 0 && index.checked_add(1) != Some(place.index) {
                    return Err("an entry is missing");
                }
                index = place.index;
            }
        }
        chain = found.crc;
        at += whole;
    }
    Ok((at, (chain, index)))
}

/// How long the record is that begins here and has not been found good; `None` if too little has come
/// to say.
fn announced(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    if bytes.len() < RECORD_HEADER_BYTES {
        return Ok(None);
    }
    match announced_bytes(bytes) {
        Some(bytes) if bytes <= RECORD_BYTES_MAX => Ok(Some(bytes)),
        _ => Err("there is no record"),
    }
}
