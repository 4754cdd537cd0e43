//! The synced log as it stands in its files, for those who keep a copy of it.
//!
//! Bytes before the place up to which the log is synced never change while their segment is there,
//! so they are read without the lock of the journal. A segment may be re-used meanwhile: who has
//! read asks afterwards whether it is still the one.

use crate::raft::{
    fault::LogError,
    log::{Log, Segment},
    segment::segment_name,
};
use dfs_host::disk::DiskFile;
use dfs_proto::log::record::{SEGMENT_HEADER_BYTES, SegmentHeader, Spot};
use std::sync::Arc;

/// Bytes of the log that are synced.
pub(crate) struct Stretch {
    /// Where they begin; at offset 0 with the header of a segment.
    pub(crate) at: Spot,
    /// How many there are in this segment.
    pub(crate) bytes: u32,
    /// The segment's file.
    pub(crate) file: Arc<dyn DiskFile>,
}

/// What a copy that ends with a certain record is of this log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kinship {
    /// It goes on with what is still here.
    GoesOn,
    /// It may be older than all that is still here.
    Older,
    /// It has what is not here, though only what is synced is copied.
    Stranger,
}

impl Log {
    fn segment(&self, sequence: u32) -> Option<&Segment> {
        let oldest = self.segments.front()?.sequence;
        let slot = usize::try_from(sequence.checked_sub(oldest)?).ok()?;
        self.segments.get(slot)
    }

    /// Where the synced records of a segment end.
    fn synced_end(&self, segment: &Segment) -> u32 {
        match segment.end {
            Some(end) => end,
            None if self.synced.segment == segment.sequence => self.synced.offset,
            None => SEGMENT_HEADER_BYTES,
        }
    }

    /// Whether a segment is still there.
    pub(crate) fn has_segment(&self, sequence: u32) -> bool {
        self.segment(sequence).is_some()
    }

    /// The segment with the entry after `index`; the newest if there is none yet.
    pub(crate) fn segment_after(&self, index: u64) -> u32 {
        let newest = self.segments.back().expect("there is always a segment");
        let mut later = self.entries.iter();
        let first = later.find(|entry| entry.place.index > index);
        first.map_or(newest.sequence, |entry| entry.at.segment)
    }

    /// What a copy of a log is to this one that ends with a record at `at` with this checksum, and has the
    /// entries up to `index`.
    pub(crate) fn kinship(&self, at: Spot, chain: u32, index: u64) -> Result<Kinship, LogError> {
        let oldest = self.segments.front().map_or(0, |oldest| oldest.sequence);
        if at.segment < oldest || at.offset < SEGMENT_HEADER_BYTES {
            // What is not here any more was purged. A log that ended before its tables begins anew after
            // them, and lacks what followed.
            let purged = self.purged().map_or(0, |purged| purged.index);
            return Ok(match index > purged {
                true => Kinship::Stranger,
                false => Kinship::Older,
            });
        }
        let Some(segment) = self.segment(at.segment) else {
            return Ok(Kinship::Stranger);
        };
        let end = self.synced_end(segment);
        if at.offset > end {
            return Ok(match at.offset > segment.end.unwrap_or(self.tail) {
                true => Kinship::Stranger,
                false => Kinship::Older,
            });
        }
        let same = self.checksum_before(segment, at, end)? == Some(chain);
        Ok(match same {
            true => Kinship::GoesOn,
            false => Kinship::Stranger,
        })
    }

    /// The checksum of the record that ends at `at` in a segment that is synced up to `end`, if one does.
    fn checksum_before(
        &self,
        segment: &Segment,
        at: Spot,
        end: u32,
    ) -> Result<Option<u32>, LogError> {
        let next = self.segment(at.segment + 1);
        // The checksum stands in what follows: the next record, or the next segment.
        let (file, offset) = match next {
            Some(next) if at.offset == end => (next, 0),
            _ if at.offset == self.tail && next.is_none() => return Ok(Some(self.chain)),
            _ => (segment, u64::from(at.offset)),
        };
        let mut head = [0; 64];
        let name = segment_name(file.sequence);
        let read = file.file.read_at(&mut head, offset);
        read.map_err(|source| LogError::io("read", &name, source))?;
        Ok(match offset {
            0 => SegmentHeader::decode(&head).map(|(header, _)| header.before),
            _ => Some(u32::from_le_bytes(
                head[8..12].try_into().expect("four bytes"),
            )),
        })
    }

    /// Makes all segments durable, whoever wrote them.
    pub(crate) fn sync_segments(&self) -> Result<(), LogError> {
        for segment in &self.segments {
            let name = segment_name(segment.sequence);
            let synced = segment.file.sync();
            synced.map_err(|source| LogError::io("sync", &name, source))?;
        }
        Ok(())
    }

    /// What of the synced log follows `from`; `None` if nothing does yet, or not any more.
    pub(crate) fn stretch(&self, from: Spot) -> Option<Stretch> {
        let segment = self.segment(from.segment)?;
        let end = self.synced_end(segment);
        if from.offset < end {
            return Some(Stretch {
                at: from,
                bytes: end - from.offset,
                file: Arc::clone(&segment.file),
            });
        }
        let next = self.segment(from.segment + 1)?;
        self.stretch(Spot {
            segment: next.sequence,
            offset: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{
        kept::{Copied, place_segment, rebuild},
        log::Stored,
        types::position,
    };
    use dfs_host::disk::{Disk, SimulatedDisk};
    use dfs_proto::{
        id::FilesystemId,
        log::record::{Kind, Place, read_record},
    };

    const FILESYSTEM: FilesystemId = FilesystemId(7);

    fn place(index: u64) -> Place {
        Place {
            term: 3,
            node: 1,
            index,
        }
    }

    fn entry(index: u64) -> Stored {
        let bytes = usize::try_from(index * 37 % 300).expect("small");
        Stored {
            kind: Kind::Blank,
            place: place(index),
            payload: vec![b'p'; bytes],
        }
    }

    fn log() -> (Arc<SimulatedDisk>, Log) {
        let disk = SimulatedDisk::new(1, 4 << 20);
        let log = Log::create(Arc::clone(&disk) as Arc<dyn Disk>, FILESYSTEM, 4096);
        (disk, log.expect("room"))
    }

    /// A copy: its segments, and where it ends.
    #[derive(Default)]
    struct Keeper {
        segments: Vec<(u32, Vec<u8>)>,
        end: Spot,
        chain: u32,
        index: u64,
    }

    impl Keeper {
        fn kinship(&self, log: &Log) -> Kinship {
            let kinship = log.kinship(self.end, self.chain, self.index);
            kinship.expect("reads")
        }

        fn follow(&mut self, log: &Log) {
            while let Some(stretch) = log.stretch(self.end) {
                let mut bytes = vec![0; usize::try_from(stretch.bytes).expect("32 bits")];
                stretch
                    .file
                    .read_at(&mut bytes, u64::from(stretch.at.offset))
                    .expect("reads");
                let mut records = &bytes[..];
                if stretch.at.offset == 0 {
                    self.segments.push((stretch.at.segment, Vec::new()));
                    self.chain = SegmentHeader::decode(&bytes).expect("a header").1;
                    records = &bytes[64..];
                }
                while let Some(found) = read_record(records, stretch.at.segment) {
                    assert_eq!(found.header.before, self.chain);
                    self.chain = found.crc;
                    self.index = found.header.place.index;
                    let whole = dfs_proto::log::record::record_bytes(found.payload.len());
                    records = &records[whole..];
                }
                assert!(records.is_empty(), "it ends with a record");
                let last = self.segments.last_mut().expect("begun");
                last.1.extend(&bytes);
                self.end = Spot {
                    offset: stretch.at.offset + stretch.bytes,
                    ..stretch.at
                };
                assert_eq!(self.kinship(log), Kinship::GoesOn);
                self.chain ^= 1;
                assert_eq!(self.kinship(log), Kinship::Stranger);
                self.chain ^= 1;
            }
        }
    }

    #[test]
    fn a_copy_of_what_is_synced_becomes_the_same_log() {
        let (_, mut log) = log();
        let mut keeper = Keeper {
            end: Spot {
                segment: 1,
                offset: 0,
            },
            ..Keeper::default()
        };
        for index in 1..=60 {
            log.append(&[entry(index)]).expect("room");
            if index % 7 == 0 {
                log.sync().expect("syncs");
                keeper.follow(&log);
            }
        }
        assert!(keeper.segments.len() > 2, "several segments");
        let disk = SimulatedDisk::new(1, 4 << 20);
        for (sequence, bytes) in &keeper.segments {
            let placed = place_segment(&*disk, *sequence, &bytes[..100]).expect("room");
            let rest = placed.expect("a header").write_at(&[&bytes[100..]], 100);
            rest.expect("room");
        }
        let before = position(place(4), None).expect("encodes");
        let copied = Copied {
            oldest: 1,
            end: keeper.end,
        };
        let there = Arc::clone(&disk) as Arc<dyn Disk>;
        let last = rebuild(there, FILESYSTEM, &before, Some(copied), 4096).expect("whole");
        assert_eq!(last, 56, "what was synced");
        let there = Arc::clone(&disk) as Arc<dyn Disk>;
        let mut again = Log::open(there, FILESYSTEM, 4096).expect("whole");
        assert_eq!(
            again.read(..).expect("reads"),
            log.read(5..=56).expect("reads")
        );
        // The new master goes on, and who has followed the old one to the same end goes on with it.
        again.append(&[entry(57)]).expect("room");
        again.sync().expect("syncs");
        assert_eq!(keeper.kinship(&again), Kinship::GoesOn);
        log.sync().expect("syncs");
        keeper.follow(&log);
        assert_eq!(keeper.kinship(&again), Kinship::Stranger);
    }

    #[test]
    fn a_log_that_has_forgotten_is_known_by_what_was_copied_of_it() {
        let (disk, mut log) = log();
        let mut keeper = Keeper {
            end: Spot {
                segment: 1,
                offset: 0,
            },
            ..Keeper::default()
        };
        log.append(&[entry(1)]).expect("room");
        log.sync().expect("syncs");
        keeper.follow(&log);
        let early = (keeper.end, keeper.chain, keeper.index);
        let before = disk.open(&segment_name(1)).expect("there");
        let mut bytes = vec![0; 4096];
        before.read_at(&mut bytes, 0).expect("reads");
        log.append(&[entry(2)]).expect("room");
        log.sync().expect("syncs");
        keeper.follow(&log);
        drop(log);
        // Its file as it was before, as after a snapshot of the machine was brought back.
        before.write_at(&[&bytes], 0).expect("writes");
        let there = Arc::clone(&disk) as Arc<dyn Disk>;
        let mut log = Log::open(there, FILESYSTEM, 4096).expect("whole, as far as it knows");
        assert_eq!(keeper.kinship(&log), Kinship::Stranger);
        // Also when it has grown since.
        let other = Stored {
            payload: vec![b'q'; entry(2).payload.len()],
            ..entry(2)
        };
        log.append(&[other, entry(3)]).expect("room");
        log.sync().expect("syncs");
        assert_eq!(keeper.kinship(&log), Kinship::Stranger);
        assert_eq!(
            log.kinship(early.0, early.1, early.2).expect("reads"),
            Kinship::GoesOn
        );
    }

    #[test]
    fn segments_that_a_keeper_has_not_had_stay_and_not_for_ever() {
        let (_, mut log) = log();
        let mut index = 0;
        let mut fill = |log: &mut Log, many: u64| {
            for _ in 0..many {
                index += 1;
                log.append(&[entry(index)]).expect("room");
            }
            log.sync().expect("syncs");
            log.purge(place(index)).expect("purges");
        };
        fill(&mut log, 40);
        assert!(!log.has_segment(1), "nobody has it held");
        // Who has followed that far may be older, and who has more cannot have it from here.
        let at = Spot {
            segment: 1,
            offset: SEGMENT_HEADER_BYTES,
        };
        for (upto, kinship) in [(40, Kinship::Older), (41, Kinship::Stranger)] {
            assert_eq!(log.kinship(at, 0, upto).expect("reads"), kinship);
        }
        let held = log.segment_after(0);
        log.hold(held);
        fill(&mut log, 60);
        assert!(log.has_segment(held));
        log.hold(u32::MAX);
        fill(&mut log, 10);
        assert!(!log.has_segment(held));
        log.hold(0);
        fill(&mut log, 60);
    }
}
