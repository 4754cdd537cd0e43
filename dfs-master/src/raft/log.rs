//! The log: entries in checksummed records, in segments, appended and synced.
//!
//! One owner calls it; [`super::syncer`] puts a thread and a lock around it. What it keeps: after a
//! crash at any moment the log is a prefix of what was appended, with everything that was synced in
//! it; a vote that was saved is never forgotten; and it never opens with less than that, but says
//! which file is damaged and where.
//!
//! A record that is not good is a torn tail if nothing says that the log was once synced beyond it,
//! and damage otherwise. Every record tells how far the log was synced when it was written, and a
//! mark, which is nothing but such a record, is written when the log comes to rest.

use super::{
    fault::LogError,
    segment::{
        Anchor, FOLDER, Vote, begin_segment, prepare_spare, recycle, segment_name, write_anchor,
    },
};
use dfs_host::disk::{Disk, DiskFile};
use dfs_proto::{
    id::FilesystemId,
    log::record::{
        Header, Kind, Place, SEGMENT_HEADER_BYTES, SegmentHeader, Spot, read_record, record_bytes,
        write_record,
    },
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

/// Bytes of segments that stay for those who keep a copy and are behind.
const HELD_BYTES_MAX: u32 = 64 << 20;
/// Bytes of a mark.
const MARK_BYTES: u32 = 56;

/// An entry, as it is appended and as it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stored {
    /// `Blank`, `Commands` or `Membership`.
    pub(crate) kind: Kind,
    /// Which.
    pub(crate) place: Place,
    /// Its bytes.
    pub(crate) payload: Vec<u8>,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) at: Spot,
    pub(super) payload_bytes: u32,
}

/// An open segment.
pub(super) struct Segment {
    pub(super) sequence: u32,
    pub(super) bytes: u32,
    pub(super) file: Arc<dyn DiskFile>,
    /// Where its records end, once another one has begun.
    pub(super) end: Option<u32>,
}

/// The log.
pub(crate) struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) segment_bytes: u32,
    pub(super) anchor: Anchor,
    /// All of them, oldest first; never empty.
    pub(super) segments: VecDeque<Segment>,
    /// The entries after the purged ones.
    pub(super) entries: VecDeque<Located>,
    /// Where the next record goes in the newest segment.
    pub(super) tail: u32,
    /// Checksum of the last record.
    pub(super) chain: u32,
    /// Everything before this is synced.
    pub(super) synced: Spot,
    /// The end of the log, if nothing but a mark is un-synced.
    resting: Option<Spot>,
    /// Memberships after the one in the anchor, oldest first.
    pub(super) memberships: Vec<(Place, Vec<u8>)>,
    /// Segments from here on stay, as long as they are not too many: somebody keeps a copy and has
    /// not had them yet.
    pub(super) held_from: u32,
    /// Held by who makes, takes or gives back the spare segment: whether there is known to be one.
    spare: Arc<Mutex<bool>>,
    buffer: Vec<u8>,
}

/// What has to be synced, and how far the log is then.
pub(crate) struct Unsynced {
    /// The file.
    pub(crate) file: Arc<dyn DiskFile>,
    /// How far the log is synced afterwards.
    pub(crate) upto: Spot,
}

impl Log {
    /// Makes a new log, for this file system, in a folder that has none.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        filesystem: FilesystemId,
        segment_bytes: u32,
    ) -> Result<Log, LogError> {
        disk.create_folder(FOLDER)
            .map_err(|source| LogError::io("make", FOLDER, source))?;
        let header = SegmentHeader {
            sequence: 1,
            bytes: segment_bytes,
            before: 0,
            filesystem,
        };
        let (file, chain) = begin_segment(&*disk, &header)
            .map_err(|source| LogError::io("make", &segment_name(1), source))?;
        let start = Spot {
            segment: 1,
            offset: SEGMENT_HEADER_BYTES,
        };
        let anchor = Anchor {
            filesystem,
            oldest: 1,
            newest: 1,
            vote: None,
            purged: None,
            membership: None,
            synced: start,
        };
        let first = Segment {
            sequence: 1,
            bytes: segment_bytes,
            file,
            end: None,
        };
        let log = Log::of(disk, segment_bytes, anchor, first, chain);
        log.save_anchor()?;
        Ok(log)
    }

    pub(super) fn of(
        disk: Arc<dyn Disk>,
        segment_bytes: u32,
        anchor: Anchor,
        first: Segment,
        chain: u32,
    ) -> Log {
        let start = Spot {
            segment: first.sequence,
            offset: SEGMENT_HEADER_BYTES,
        };
        Log {
            disk,
            segment_bytes,
            anchor,
            segments: VecDeque::from([first]),
            entries: VecDeque::new(),
            tail: SEGMENT_HEADER_BYTES,
            chain,
            synced: start,
            resting: None,
            memberships: Vec::new(),
            held_from: u32::MAX,
            spare: Arc::default(),
            buffer: Vec::new(),
        }
    }

    /// The last entry, or the last one purged.
    pub(crate) fn last(&self) -> Option<Place> {
        self.entries
            .back()
            .map(|entry| entry.place)
            .or(self.anchor.purged)
    }

    /// The index of the last entry with commands, or of the last one purged: what is above was
    /// never told to anyone.
    pub(crate) fn last_commands(&self) -> u64 {
        let mut commands = self.entries.iter().rev();
        let last = commands.find(|entry| matches!(entry.kind, Kind::Commands));
        last.map(|entry| entry.place)
            .or(self.anchor.purged)
            .map_or(0, |place| place.index)
    }

    /// The last entry that was purged.
    pub(crate) fn purged(&self) -> Option<Place> {
        self.anchor.purged
    }

    /// The vote.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.anchor.vote
    }

    /// The last membership at or before `index`.
    pub(crate) fn membership_at(&self, index: u64) -> Option<&(Place, Vec<u8>)> {
        let later = self
            .memberships
            .iter()
            .rev()
            .find(|(place, _)| place.index <= index);
        later.or(self
            .anchor
            .membership
            .as_ref()
            .filter(|(place, _)| place.index <= index))
    }

    /// The id of the entry at `index`, which may be the last one purged.
    pub(crate) fn place_at(&self, index: u64) -> Option<Place> {
        let known = self.entries.get(self.slot(index)?).map(|entry| entry.place);
        known.or(self.anchor.purged.filter(|purged| purged.index == index))
    }

    fn slot(&self, index: u64) -> Option<usize> {
        match self.entries.front() {
            Some(first) if index >= first.place.index => {
                usize::try_from(index - first.place.index).ok()
            }
            _ => Some(usize::MAX),
        }
    }

    fn newest(&self) -> &Segment {
        self.segments.back().expect("there is always a segment")
    }

    fn end(&self) -> Spot {
        Spot {
            segment: self.newest().sequence,
            offset: self.tail,
        }
    }

    /// Appends entries; they are in the files afterwards, but not synced.
    pub(crate) fn append(&mut self, entries: &[Stored]) -> Result<(), LogError> {
        let mut from = 0;
        while from < entries.len() {
            // A mark must always fit behind the last entry.
            let room = (self.newest().bytes - self.tail).saturating_sub(MARK_BYTES);
            let mut taken = 0usize;
            let mut upto = from;
            while let Some(next) = entries.get(upto) {
                let bytes = record_bytes(next.payload.len());
                if taken + bytes > usize::try_from(room).expect("32 bits") {
                    break;
                }
                taken += bytes;
                upto += 1;
            }
            if upto == from {
                self.roll(record_bytes(entries[from].payload.len()))?;
                continue;
            }
            self.write(&entries[from..upto])?;
            from = upto;
        }
        Ok(())
    }

    fn write(&mut self, entries: &[Stored]) -> Result<(), LogError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let (mut chain, start) = (self.chain, self.tail);
        let segment = self.newest().sequence;
        let mut located = Vec::with_capacity(entries.len());
        for entry in entries {
            let offset = start + u32::try_from(buffer.len()).expect("fits a segment");
            let at = Spot { segment, offset };
            let Stored {
                kind,
                place,
                ref payload,
            } = *entry;
            let header = Header {
                kind,
                place,
                segment,
                before: chain,
                synced: self.synced,
            };
            chain = write_record(&mut buffer, &header, payload);
            let payload_bytes = u32::try_from(payload.len()).expect("fits a segment");
            located.push(Located {
                place,
                kind,
                at,
                payload_bytes,
            });
        }
        let written = self.newest().file.write_at(&[&buffer], u64::from(start));
        let name = segment_name(segment);
        written.map_err(|source| LogError::io("write", &name, source))?;
        self.tail = start + u32::try_from(buffer.len()).expect("fits a segment");
        self.chain = chain;
        buffer.shrink_to(1 << 20);
        self.buffer = buffer;
        for (entry, at) in entries.iter().zip(located) {
            self.note(at, &entry.payload);
        }
        Ok(())
    }

    /// Takes a record that is in the file into what is known of the log.
    pub(super) fn note(&mut self, at: Located, payload: &[u8]) {
        match at.kind {
            Kind::Truncate => {
                let keeps = |index: u64| index <= at.place.index;
                while self
                    .entries
                    .back()
                    .is_some_and(|last| !keeps(last.place.index))
                {
                    self.entries.pop_back();
                }
                self.memberships.retain(|(place, _)| keeps(place.index));
            }
            Kind::Mark => {}
            Kind::Blank | Kind::Commands => self.entries.push_back(at),
            Kind::Membership => {
                self.memberships.push((at.place, payload.to_vec()));
                self.entries.push_back(at);
            }
        }
    }

    /// Starts a new segment with room for a record of `record` bytes. The one before is synced
    /// first, so that only the newest can have a torn tail.
    fn roll(&mut self, record: usize) -> Result<(), LogError> {
        let old = self.newest();
        let old_name = segment_name(old.sequence);
        let sequence = old.sequence + 1;
        old.file
            .sync()
            .map_err(|source| LogError::io("sync", &old_name, source))?;
        self.synced = self.end();
        let needed = u32::try_from(record).expect("an entry is far below 4 GiB");
        let bytes = self
            .segment_bytes
            .max(SEGMENT_HEADER_BYTES + needed + MARK_BYTES);
        let filesystem = self.anchor.filesystem;
        let header = SegmentHeader {
            sequence,
            bytes,
            before: self.chain,
            filesystem,
        };
        let spare = Arc::clone(&self.spare);
        let mut held = spare.lock();
        *held = false;
        let begun = begin_segment(&*self.disk, &header);
        drop(held);
        let (file, chain) =
            begun.map_err(|source| LogError::io("begin", &segment_name(sequence), source))?;
        self.segments.back_mut().expect("there is always one").end = Some(self.tail);
        self.segments.push_back(Segment {
            sequence,
            bytes,
            file,
            end: None,
        });
        self.tail = SEGMENT_HEADER_BYTES;
        self.chain = chain;
        self.synced = self.end();
        self.anchor.newest = sequence;
        self.anchor.synced = self.synced;
        self.save_anchor()
    }

    fn save_anchor(&self) -> Result<(), LogError> {
        write_anchor(&*self.disk, &self.anchor)
            .map_err(|source| LogError::io("replace", "log/anchor", source))
    }

    /// What has to be synced so that everything appended is; `None` if it is.
    pub(crate) fn unsynced(&self) -> Option<Unsynced> {
        let upto = self.end();
        let file = Arc::clone(&self.newest().file);
        (self.synced < upto && self.resting != Some(upto)).then_some(Unsynced { file, upto })
    }

    /// The file of an [`Unsynced`] has been synced.
    pub(crate) fn note_synced(&mut self, upto: Spot) {
        self.synced = self.synced.max(upto);
    }

    /// Writes down, un-synced, that everything before is synced: so that later damage of the last
    /// entry is not taken for a torn tail.
    pub(crate) fn mark(&mut self) -> Result<(), LogError> {
        let place = self.last().unwrap_or(Place {
            term: 0,
            node: 0,
            index: 0,
        });
        let mark = Stored {
            kind: Kind::Mark,
            place,
            payload: Vec::new(),
        };
        let room = self.newest().bytes - self.tail;
        if room < MARK_BYTES {
            return Ok(());
        }
        let resting = self.unsynced().is_none();
        self.write(&[mark])?;
        // A mark that is lost loses nothing: it asks for no sync.
        self.resting = resting.then(|| self.end());
        Ok(())
    }

    /// Removes every entry after `index`, durably.
    pub(crate) fn truncate_after(&mut self, index: u64) -> Result<(), LogError> {
        if self.last().is_none_or(|last| last.index <= index) {
            return Ok(());
        }
        let place = self.place_at(index).unwrap_or(Place {
            term: 0,
            node: 0,
            index,
        });
        self.append(&[Stored {
            kind: Kind::Truncate,
            place,
            payload: Vec::new(),
        }])?;
        self.sync()
    }

    /// Syncs everything appended, in the caller's thread.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        if let Some(unsynced) = self.unsynced() {
            let name = segment_name(unsynced.upto.segment);
            let synced = unsynced.file.sync();
            synced.map_err(|source| LogError::io("sync", &name, source))?;
            self.note_synced(unsynced.upto);
        }
        Ok(())
    }

    /// Syncs the newest segment, marks included.
    pub(crate) fn sync_all(&mut self) -> Result<(), LogError> {
        self.resting = None;
        self.sync()
    }

    /// Remembers a vote, durably.
    pub(crate) fn save_vote(&mut self, vote: Vote) -> Result<(), LogError> {
        self.anchor.vote = Some(vote);
        self.anchor.synced = self.synced;
        self.save_anchor()
    }

    /// Forgets the entries up to `place`, which a checkpoint has made unnecessary (also where the
    /// log ends before it, because a power cut took the end that the tables had). Segments that
    /// hold nothing else are kept for re-use or given back.
    pub(crate) fn purge(&mut self, place: Place) -> Result<(), LogError> {
        if self.anchor.purged.is_some_and(|purged| purged >= place) {
            return Ok(());
        }
        let jumps = self.last().is_some_and(|last| last.index < place.index);
        if jumps {
            // The tables know more than the log: what comes next does not follow its last record.
            self.roll(0)?;
        }
        let membership = self.membership_at(place.index).cloned();
        while self
            .entries
            .front()
            .is_some_and(|first| first.place.index <= place.index)
        {
            self.entries.pop_front();
        }
        self.memberships.retain(|(at, _)| at.index > place.index);
        self.anchor.purged = Some(place);
        self.anchor.membership = membership;
        let oldest = self
            .entries
            .front()
            .map_or(self.newest().sequence, |entry| entry.at.segment);
        let held = self.held_from.max(self.least_held());
        let oldest = match jumps {
            true => oldest,
            false => oldest.min(held.max(self.anchor.oldest)),
        };
        if oldest == self.anchor.oldest {
            return Ok(());
        }
        self.anchor.oldest = oldest;
        self.anchor.synced = self.synced;
        self.save_anchor()?;
        let spare = Arc::clone(&self.spare);
        let mut there = spare.lock();
        while self
            .segments
            .front()
            .is_some_and(|segment| segment.sequence < oldest)
        {
            let gone = self.segments.pop_front().expect("seen above");
            let recycled = recycle(&*self.disk, gone.sequence);
            *there = recycled.is_ok();
            let name = segment_name(gone.sequence);
            recycled.map_err(|source| LogError::io("recycle", &name, source))?;
        }
        Ok(())
    }

    /// The oldest segment that is kept for others.
    fn least_held(&self) -> u32 {
        let most = (HELD_BYTES_MAX / self.segment_bytes).max(1);
        self.newest().sequence.saturating_sub(most)
    }

    /// Has segments from `from` on stay for those who keep a copy.
    pub(crate) fn hold(&mut self, from: u32) {
        self.held_from = from;
    }

    /// What makes sure, on another thread, that the next segment can begin without asking the disk
    /// for space; `None` where it can, or will not be needed soon.
    pub(crate) fn preparation(
        &self,
    ) -> Option<impl FnOnce() -> Result<(), LogError> + Send + 'static> {
        let is_there = |spare: &Mutex<bool>| spare.try_lock().is_none_or(|there| *there);
        if self.newest().bytes / 2 > self.tail || is_there(&self.spare) {
            return None;
        }
        let (disk, spare) = (Arc::clone(&self.disk), Arc::clone(&self.spare));
        let bytes = self.segment_bytes;
        Some(move || {
            let mut there = spare.lock();
            let prepared = prepare_spare(&*disk, bytes);
            *there = prepared.is_ok();
            prepared.map_err(|source| LogError::io("write", "log/spare", source))
        })
    }

    /// The entries in `range`, as far as they are there.
    pub(crate) fn read(&self, range: impl RangeBounds<u64>) -> Result<Vec<Stored>, LogError> {
        let first = self.entries.front().map_or(0, |entry| entry.place.index);
        let from = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index + 1,
            Bound::Unbounded => 0,
        };
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let wanted = self
            .entries
            .iter()
            .skip(skipped)
            .take_while(|e| range.contains(&e.place.index));
        wanted.map(|entry| self.fetch(entry)).collect()
    }

    fn fetch(&self, entry: &Located) -> Result<Stored, LogError> {
        let name = segment_name(entry.at.segment);
        let oldest = self.segments.front().map_or(0, |segment| segment.sequence);
        let slot = usize::try_from(entry.at.segment - oldest).expect("32 bits");
        let payload_bytes = usize::try_from(entry.payload_bytes).expect("32 bits");
        let mut bytes = vec![0u8; record_bytes(payload_bytes)];
        let read = self.segments[slot]
            .file
            .read_at(&mut bytes, u64::from(entry.at.offset));
        read.map_err(|source| LogError::io("read", &name, source))?;
        let good = read_record(&bytes, entry.at.segment)
            .filter(|found| found.header.place == entry.place)
            .ok_or_else(|| {
                let at = u64::from(entry.at.offset);
                LogError::damaged(&name, at, "a record that was good is not any more")
            })?;
        Ok(Stored {
            kind: entry.kind,
            place: entry.place,
            payload: good.payload.to_vec(),
        })
    }
}
