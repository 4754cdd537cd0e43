//! What a disk may say of the log, as a function from bytes to a verdict, for tests and for
//! cargo-fuzz: it asserts what must hold of a log that is opened.

use super::{
    fault::LogError,
    log::{Log, Stored},
    segment::{FOLDER, segment_name},
    types::{entry, entry_id, stored, stored_members},
};
use dfs_host::disk::{Disk, SimulatedDisk};
use dfs_proto::{
    checksum::Crc32c,
    id::FilesystemId,
    log::record::{Kind, Place, RECORD_HEADER_BYTES, record_bytes},
};
use std::sync::Arc;

/// The file system that all bytes claim to be of.
pub(crate) const FILESYSTEM: FilesystemId = FilesystemId(7);
/// Bytes of a new segment.
pub(crate) const SEGMENT: u32 = 4096;

/// The files of a log: a byte of flags (1: checksums, chains and lengths of files are put right), and
/// each with its length (2 bytes) before it: the anchor, segments 1, 2 and 3.
pub(crate) fn log(bytes: &[u8]) -> Result<(), String> {
    let (flags, mut rest) = bytes.split_first().ok_or("nothing is there")?;
    let mut files = Vec::new();
    while files.len() < 4
        && let Some((len, behind)) = rest.split_first_chunk()
    {
        let (file, behind) =
            behind.split_at(usize::from(u16::from_le_bytes(*len)).min(behind.len()));
        files.push(file.to_vec());
        rest = behind;
    }
    if flags & 1 != 0 {
        with_checksums(&mut files);
    }
    let disk = SimulatedDisk::new(1, 64 << 20);
    disk.create_folder(FOLDER).expect("room");
    for (number, file) in (0..).zip(&files) {
        let name = match number {
            0 => format!("{FOLDER}/anchor"),
            segment => segment_name(segment),
        };
        let there = disk.create(&name).expect("room");
        there.write_at(&[file], 0).expect("room");
        there.sync().expect("room");
    }
    opened(&disk).map_err(|error| {
        let said = error.to_string();
        assert!(said.contains("log/"), "no file is named: {said}");
        said
    })
}

/// A log that opens says the same at the next look, and goes on.
fn opened(disk: &Arc<SimulatedDisk>) -> Result<(), LogError> {
    let open = || Log::open(Arc::clone(disk) as Arc<dyn Disk>, FILESYSTEM, SEGMENT);
    let mut log = open()?;
    let entries = log.read(..).expect("what was opened can be read");
    let purged = log.purged();
    let last = log.last().or(purged);
    let again = open().expect("what was opened opens again");
    assert_eq!(again.read(..).expect("reads"), entries);
    assert_eq!((again.vote(), again.purged()), (log.vote(), purged));
    let first = purged.map_or(1, |place| place.index + 1);
    for (expected, have) in (first..).zip(&entries) {
        assert_eq!(expected, have.place.index, "a gap");
        if let Ok(entry) = entry(have) {
            let kept = stored(&entry).expect("serialises");
            assert_eq!((kept.kind, kept.place), (have.kind, have.place));
            let back = self::entry(&kept).expect("what was written reads back");
            assert_eq!(stored(&back).expect("serialises"), kept);
        }
    }
    let members = last.and_then(|place| log.membership_at(place.index));
    let _ = (last.map(entry_id), stored_members(members));
    let place = Place {
        term: last.map_or(1, |last| last.term),
        node: 1,
        index: last.map_or(1, |last| last.index + 1),
    };
    if !place.is_possible() {
        return Ok(());
    }
    let next = Stored {
        kind: Kind::Blank,
        place,
        payload: Vec::new(),
    };
    log.append(std::slice::from_ref(&next)).expect("goes on");
    log.sync().expect("goes on");
    let again = open().expect("opens after it went on");
    assert_eq!(again.read(place.index..).expect("reads"), [next]);
    Ok(())
}

fn put(file: &mut [u8], at: usize, word: u32) {
    if let Some(to) = file.get_mut(at..at + 4) {
        to.copy_from_slice(&word.to_le_bytes());
    }
}

fn with_checksums(files: &mut [Vec<u8>]) {
    if let Some((anchor, segments)) = files.split_first_mut() {
        if let Some(body) = anchor.get(16..) {
            let (crc, len) = (
                Crc32c::of(body).0,
                u32::try_from(body.len()).expect("short"),
            );
            put(anchor, 8, crc);
            put(anchor, 12, len);
        }
        let mut chain = 0;
        for segment in segments {
            chain = with_chain(segment, chain);
        }
    }
}

/// Puts a segment right, which follows `chain`; answers the checksum of its last record.
fn with_chain(segment: &mut [u8], chain: u32) -> u32 {
    let len = u32::try_from(segment.len()).expect("short");
    put(segment, 20, len);
    put(segment, 24, chain);
    let Some(head) = segment.get(16..64) else {
        return chain;
    };
    let mut chain = Crc32c::of(head).0;
    put(segment, 8, chain);
    let mut at = 64;
    while let Some(record) = segment.get_mut(at..)
        && record.len() >= RECORD_HEADER_BYTES
        && record.starts_with(b"dfsR")
    {
        let length = u32::from_le_bytes([record[12], record[13], record[14], record[15]]) as usize;
        put(record, 8, chain);
        let Some(summed) = record.get(8..RECORD_HEADER_BYTES + length) else {
            break;
        };
        chain = Crc32c::of(summed).0;
        put(record, 4, chain);
        at += record_bytes(length);
    }
    chain
}

/// Valid inputs of [`log`]: the files of logs that were used.
#[cfg(test)]
pub(crate) fn seeds(commands: &[u8]) -> Vec<Vec<u8>> {
    use super::segment::Vote;
    let place = |index| Place {
        term: 2,
        node: 1,
        index,
    };
    let disk = SimulatedDisk::new(1, 64 << 20);
    let there = Arc::clone(&disk) as Arc<dyn Disk>;
    let mut log = Log::create(there, FILESYSTEM, SEGMENT).expect("made");
    let mut kept = Vec::new();
    for round in 0..3u64 {
        let entries = (1..=12u64).map(|n| Stored {
            kind: [Kind::Blank, Kind::Commands, Kind::Membership]
                [usize::try_from(n % 3).expect("small")],
            place: place(round * 12 + n),
            payload: match n % 3 {
                0 => Vec::new(),
                1 => commands.to_vec(),
                _ => vec![1, 1, 1, 1, 1, 0],
            },
        });
        log.append(&entries.collect::<Vec<_>>()).expect("room");
        log.sync().expect("room");
        log.mark().expect("room");
        if round == 1 {
            let (term, node) = (2, 1);
            log.truncate_after(20).expect("room");
            let again = Stored {
                kind: Kind::Blank,
                place: place(21),
                payload: Vec::new(),
            };
            log.append(&[again]).expect("room");
            log.save_vote(Vote {
                term,
                node,
                committed: true,
            })
            .expect("room");
            break;
        }
        kept.push(files(&disk));
    }
    log.sync_all().expect("room");
    kept.push(files(&disk));
    let as_they_are = kept.iter().map(|files| [&[0][..], files].concat());
    let mended = kept.iter().map(|files| [&[1][..], files].concat());
    as_they_are.chain(mended).collect()
}

#[cfg(test)]
fn files(disk: &SimulatedDisk) -> Vec<u8> {
    let mut all = Vec::new();
    let segments = (1..4).map(segment_name);
    for name in [format!("{FOLDER}/anchor")].into_iter().chain(segments) {
        let Ok(file) = disk.open(&name) else { break };
        let bytes = super::segment::read_all(&*file).expect("reads");
        all.extend(u16::try_from(bytes.len()).expect("short").to_le_bytes());
        all.extend(bytes);
    }
    all
}
