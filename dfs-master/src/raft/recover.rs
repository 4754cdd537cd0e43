//! Opening a log: which of its bytes are the log, which are a torn tail, and which are damage.

use super::{
    fault::LogError,
    log::{Located, Log, Segment},
    segment::{Anchor, FOLDER, read_all, read_anchor, segment_name, segment_of},
};
use dfs_host::disk::Disk;
use dfs_proto::{
    id::FilesystemId,
    log::record::{
        Place, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, Spot, read_record,
        record_bytes,
    },
};
use std::sync::Arc;

impl Log {
    /// Opens the log of this file system; cuts a torn tail; refuses damage.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        filesystem: FilesystemId,
        segment_bytes: u32,
    ) -> Result<Log, LogError> {
        let anchor = read_anchor(&*disk)?.ok_or_else(|| {
            LogError::damaged(
                "log/anchor",
                0,
                "it is missing, though this folder had a log",
            )
        })?;
        if anchor.filesystem != filesystem {
            return Err(LogError::Foreign {
                file: "log/anchor".to_owned(),
            });
        }
        // The anchor that is read here may be one whose name is not on disk yet: nothing may be
        // built on it, or removed because of it, before it is.
        disk.sync_folder(FOLDER)
            .map_err(|source| LogError::io("sync", FOLDER, source))?;
        if !is_possible(&anchor) {
            let why = "it names an entry or a segment that cannot be";
            return Err(LogError::damaged("log/anchor", 16, why));
        }
        remove_leftovers(&*disk, &anchor)?;
        let mut log: Option<Log> = None;
        let mut known_synced = anchor.synced;
        for sequence in anchor.oldest..=anchor.newest {
            let (segment, header, chain, bytes) = open_segment(&*disk, sequence, filesystem)?;
            match &mut log {
                None => {
                    let disk = Arc::clone(&disk);
                    log = Some(Log::of(disk, segment_bytes, anchor.clone(), segment, chain));
                }
                Some(log) => {
                    if header.before != log.chain {
                        let name = segment_name(sequence - 1);
                        let why = "records are missing between here and the next segment";
                        return Err(LogError::damaged(&name, u64::from(log.tail), why));
                    }
                    let before = log.segments.back_mut();
                    before.expect("there is one").end = Some(log.tail);
                    log.segments.push_back(segment);
                    log.tail = SEGMENT_HEADER_BYTES;
                    log.chain = chain;
                }
            }
            let log = log.as_mut().expect("set above");
            known_synced = known_synced.max(replay(log, sequence, &bytes)?);
        }
        let mut log =
            log.ok_or_else(|| LogError::damaged("log/anchor", 8, "it names no segment"))?;
        let end = Spot {
            segment: anchor.newest,
            offset: log.tail,
        };
        if end < known_synced {
            let why = "the record here is damaged or missing, and the log was synced beyond it";
            return Err(LogError::damaged(
                &segment_name(end.segment),
                end.offset.into(),
                why,
            ));
        }
        drop_purged(&mut log)?;
        // What is here may not be on disk yet: the process may have died and the machine not.
        log.synced = known_synced;
        log.sync()?;
        Ok(log)
    }
}

/// Whether an anchor with a right checksum can be one: there is a segment, and always a next one.
fn is_possible(anchor: &Anchor) -> bool {
    let membership = anchor.membership.as_ref().map(|(place, _)| place);
    let mut places = anchor.purged.iter().chain(membership);
    places.all(Place::is_possible) && anchor.newest < u32::MAX
}

/// Entries before the purged one are still in the oldest segment; the next one must be the first.
fn drop_purged(log: &mut Log) -> Result<(), LogError> {
    let purged = log.anchor.purged.map_or(0, |purged| purged.index);
    // Who purges more than there is begins a segment first: what is appended here would not follow.
    if let Some(last) = log.entries.back().filter(|last| last.place.index < purged) {
        let name = segment_name(last.at.segment);
        let why = format!(
            "entry {} is the last, and {purged} was purged",
            last.place.index
        );
        return Err(LogError::damaged(&name, last.at.offset.into(), &why));
    }
    while log
        .entries
        .front()
        .is_some_and(|entry| entry.place.index <= purged)
    {
        log.entries.pop_front();
    }
    log.memberships.retain(|(place, _)| place.index > purged);
    match log.entries.front() {
        Some(first) if first.place.index != purged + 1 => {
            let name = segment_name(first.at.segment);
            let why = format!(
                "entry {} stands where {} should",
                first.place.index,
                purged + 1
            );
            Err(LogError::damaged(&name, first.at.offset.into(), &why))
        }
        _ => Ok(()),
    }
}

/// Files that a crash left between two steps: segments that are not in the anchor, half-made spares
/// and anchors.
fn remove_leftovers(disk: &dyn Disk, anchor: &Anchor) -> Result<(), LogError> {
    let names = disk
        .list(FOLDER)
        .map_err(|source| LogError::io("list", FOLDER, source))?;
    for name in names {
        let stale =
            segment_of(&name).is_some_and(|s| !(anchor.oldest..=anchor.newest).contains(&s));
        if stale || name.ends_with(".new") {
            let path = format!("{FOLDER}/{name}");
            disk.remove(&path)
                .map_err(|source| LogError::io("remove", &path, source))?;
        }
    }
    Ok(())
}

type Opened = (Segment, SegmentHeader, u32, Vec<u8>);

fn open_segment(
    disk: &dyn Disk,
    sequence: u32,
    filesystem: FilesystemId,
) -> Result<Opened, LogError> {
    let name = segment_name(sequence);
    let file = match disk.open(&name) {
        Ok(file) => file,
        Err(absent) if absent.kind() == std::io::ErrorKind::NotFound => {
            return Err(LogError::damaged(&name, 0, "the file is missing"));
        }
        Err(source) => return Err(LogError::io("open", &name, source)),
    };
    let bytes = read_all(&*file).map_err(|source| LogError::io("read", &name, source))?;
    let (header, chain) = SegmentHeader::decode(&bytes)
        .ok_or_else(|| LogError::damaged(&name, 0, "the header's checksum is wrong"))?;
    if header.sequence != sequence {
        let why = format!("it is segment {} under another name", header.sequence);
        return Err(LogError::damaged(&name, 16, &why));
    }
    if header.filesystem != filesystem {
        return Err(LogError::Foreign { file: name });
    }
    if bytes.len() != usize::try_from(header.bytes).expect("32 bits") {
        let why = format!("it has {} bytes instead of {}", bytes.len(), header.bytes);
        return Err(LogError::damaged(&name, bytes.len() as u64, &why));
    }
    // Records are aligned, and so is the end of each: none goes beyond the end of its segment.
    if !header.bytes.is_multiple_of(8) {
        let why = format!("a segment of {} bytes cannot be", header.bytes);
        return Err(LogError::damaged(&name, 20, &why));
    }
    Ok((
        Segment {
            sequence,
            bytes: header.bytes,
            file,
            end: None,
        },
        header,
        chain,
        bytes,
    ))
}

/// Takes in the records of a segment up to the first that does not belong; answers how far any
/// good record of it, also one beyond that, says that the log was synced.
fn replay(log: &mut Log, sequence: u32, bytes: &[u8]) -> Result<Spot, LogError> {
    let mut synced = Spot {
        segment: 0,
        offset: 0,
    };
    let mut at = usize::try_from(SEGMENT_HEADER_BYTES).expect("64");
    while let Some(found) = read_record(&bytes[at..], sequence) {
        if found.header.before != log.chain {
            break;
        }
        let offset = u32::try_from(at).expect("a segment is below 4 GiB");
        let place = found.header.place;
        let kind = found.header.kind;
        let expected = log.entries.back().map(|last| last.place.index + 1);
        if kind.is_entry() && !place.is_possible() {
            let why = format!("there cannot be an entry {}", place.index);
            return Err(LogError::damaged(&segment_name(sequence), at as u64, &why));
        }
        if kind.is_entry() && expected.is_some_and(|expected| expected != place.index) {
            let why = format!("entry {} stands where {expected:?} should", place.index);
            return Err(LogError::damaged(&segment_name(sequence), at as u64, &why));
        }
        let payload_bytes = u32::try_from(found.payload.len()).expect("inside a segment");
        let position = Spot {
            segment: sequence,
            offset,
        };
        log.note(
            Located {
                place,
                kind,
                at: position,
                payload_bytes,
            },
            found.payload,
        );
        synced = synced.max(found.header.synced);
        log.chain = found.crc;
        at += record_bytes(found.payload.len());
        log.tail = u32::try_from(at).expect("a segment is below 4 GiB");
    }
    let mut beyond = at;
    while beyond + RECORD_HEADER_BYTES <= bytes.len() {
        match read_record(&bytes[beyond..], sequence) {
            Some(found) => {
                synced = synced.max(found.header.synced);
                beyond += record_bytes(found.payload.len());
            }
            None => beyond += 8,
        }
    }
    Ok(synced)
}
