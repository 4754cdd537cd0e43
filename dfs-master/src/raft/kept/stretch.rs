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

    /// Whether a record that ends at `at` with this checksum belongs to this log, and what follows it
    /// is still there.
    pub(crate) fn continues(&self, at: Spot, chain: u32) -> Result<bool, LogError> {
        let Some(segment) = self.segment(at.segment) else {
            return Ok(false);
        };
        let end = self.synced_end(segment);
        if at.offset < SEGMENT_HEADER_BYTES || at.offset > end {
            return Ok(false);
        }
        let next = self.segment(at.segment + 1);
        // The checksum stands in what follows: the next record, or the next segment.
        let (file, offset) = match next {
            Some(next) if at.offset == end => (next, 0),
            _ if at.offset == self.tail && next.is_none() => return Ok(chain == self.chain),
            _ => (segment, u64::from(at.offset)),
        };
        let mut head = [0; 64];
        let name = segment_name(file.sequence);
        let read = file.file.read_at(&mut head, offset);
        read.map_err(|source| LogError::io("read", &name, source))?;
        let before = match offset {
            0 => SegmentHeader::decode(&head).map(|(header, _)| header.before),
            _ => Some(u32::from_le_bytes(
                head[8..12].try_into().expect("four bytes"),
            )),
        };
        Ok(before == Some(chain))
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
    }

    impl Keeper {
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
                assert!(log.continues(self.end, self.chain).expect("reads"));
                assert!(!log.continues(self.end, self.chain ^ 1).expect("reads"));
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
        assert!(again.continues(keeper.end, keeper.chain).expect("reads"));
        log.sync().expect("syncs");
        keeper.follow(&log);
        assert!(!again.continues(keeper.end, keeper.chain).expect("reads"));
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
