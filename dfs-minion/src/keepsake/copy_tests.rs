//! A keepsake on a disk that loses power, and under damage.

use super::copy::{Copy, Refused};
use bytes::Bytes;
use dfs_host::disk::{Crash, Disk, SimulatedDisk};
use dfs_proto::{
    checksum::Crc32c,
    id::FilesystemId,
    log::{
        KeepsakeFile, Kept, SnapshotPart, StreamSpot,
        record::{Header, Kind, Place, SegmentHeader, Spot, write_record},
    },
    payload::Payload,
};
use std::sync::Arc;

const FILESYSTEM: FilesystemId = FilesystemId(7);

/// A log of three segments, as a master would send it.
pub(crate) fn segments() -> Vec<Vec<u8>> {
    let (mut chain, mut index) = (0, 0);
    let mut all = Vec::new();
    for sequence in 1..=3 {
        let header = SegmentHeader {
            sequence,
            bytes: 4096,
            before: chain,
            filesystem: FILESYSTEM,
        };
        let (head, crc) = header.encode();
        let mut bytes = head.to_vec();
        chain = crc;
        for _ in 0..5 {
            index += 1;
            let header = Header {
                kind: Kind::Commands,
                place: Place {
                    index,
                    ..Place::default()
                },
                segment: sequence,
                before: chain,
                synced: Spot::default(),
            };
            let payload = vec![b'p'; usize::try_from(index * 13).expect("small")];
            chain = write_record(&mut bytes, &header, &payload);
        }
        all.push(bytes);
    }
    all
}

fn spot(segment: usize, offset: usize) -> Spot {
    Spot {
        segment: u32::try_from(segment).expect("few") + 1,
        offset: u32::try_from(offset).expect("short"),
    }
}

fn disk() -> Arc<SimulatedDisk> {
    SimulatedDisk::new(1, 16 << 20)
}

fn open(disk: &Arc<SimulatedDisk>) -> Option<Copy> {
    let disk = Arc::clone(disk) as Arc<dyn Disk>;
    Copy::open(disk, FILESYSTEM).expect("the disk works")
}

fn begin(disk: &Arc<SimulatedDisk>, epoch: u64) -> Copy {
    Copy::begin(Arc::clone(disk) as Arc<dyn Disk>, FILESYSTEM, epoch).expect("room")
}

/// Sends all segments in parts of so many bytes.
fn send(copy: &mut Copy, part: usize) {
    for (number, bytes) in segments().iter().enumerate() {
        // The header comes as a whole.
        let first = part.max(64).min(bytes.len());
        copy.take_log(spot(number, 0), &bytes[..first])
            .expect("follows");
        let mut at = first;
        while at < bytes.len() {
            let end = (at + part).min(bytes.len());
            copy.take_log(spot(number, at), &bytes[at..end])
                .expect("follows");
            at = end;
        }
    }
}

fn snapshot(copy: &mut Copy, index: u64, oldest: u32, spoil: bool) {
    let mut stream = vec![b's'; 1000];
    let mut sum = Crc32c::of(&stream).0.to_le_bytes();
    sum[0] ^= u8::from(spoil);
    stream.extend(sum);
    let mut offset = 0;
    for part in [&stream[..400], &stream[400..], &[]] {
        let part = SnapshotPart {
            index,
            oldest,
            at: StreamSpot { stream: 9, offset },
            bytes: Payload(Bytes::copy_from_slice(part)),
            last: part.is_empty(),
        };
        offset += part.bytes.0.len() as u64;
        copy.take_part(&part).expect("the disk works");
    }
}

fn whole(copy: &Copy, oldest: usize) {
    for (number, bytes) in segments().iter().enumerate().skip(oldest) {
        let file = KeepsakeFile::Segment(spot(number, 0).segment);
        assert_eq!(copy.read(file, 0).expect("reads"), *bytes);
    }
}

#[test]
fn a_log_is_kept_as_it_comes_whatever_its_parts() {
    for part in [8, 57, 64, 100, 5000] {
        let disk = disk();
        let mut copy = begin(&disk, 3);
        send(&mut copy, part);
        copy.sync().expect("syncs");
        let kept = copy.kept().expect("it is of use");
        let third = &segments()[2];
        assert_eq!(
            (kept.index, kept.end, kept.beyond),
            (15, spot(2, third.len()), 0)
        );
        whole(&copy, 0);
        disk.crash(Crash::PowerAtWorst);
        let again = open(&disk).expect("is there");
        assert_eq!(again.kept(), Some(kept));
        whole(&again, 0);
    }
}

#[test]
fn a_snapshot_makes_what_is_before_it_unnecessary() {
    let disk = disk();
    let mut copy = begin(&disk, 3);
    send(&mut copy, 5000);
    snapshot(&mut copy, 7, 2, true);
    assert_eq!(
        copy.kept().map(|kept| kept.snapshot),
        Some(0),
        "it was spoiled"
    );
    snapshot(&mut copy, 7, 2, false);
    snapshot(&mut copy, 12, 3, false);
    let kept = copy.kept().expect("it is of use");
    assert_eq!(
        (kept.snapshot, kept.oldest, kept.snapshot_bytes),
        (12, 3, 1004)
    );
    assert_eq!(disk.list("keepsake").expect("lists").len(), 3);
    disk.crash(Crash::PowerAtWorst);
    let again = open(&disk).expect("is there");
    assert_eq!(again.kept(), Some(Kept { ..kept }));
    whole(&again, 2);
}

#[test]
fn what_does_not_follow_is_refused() {
    let all = segments();
    let disk = disk();
    let mut copy = begin(&disk, 3);
    copy.take_log(spot(0, 0), &all[0]).expect("follows");
    let mut refused = |at, bytes: &[u8]| {
        let error = copy.take_log(at, bytes).expect_err("refused");
        assert!(matches!(error, Refused::Follows(_)), "{error}");
    };
    refused(spot(2, 0), &all[2]);
    refused(spot(0, 64), &all[0][64..]);
    refused(spot(1, 0), &all[1][..63]);
    let mut other = all[1].clone();
    other[30] ^= 1;
    refused(spot(1, 0), &other);
    let mut damaged = all[1].clone();
    damaged[200] ^= 1;
    refused(spot(1, 0), &damaged);
}

#[test]
fn an_earlier_master_is_not_followed_any_more() {
    let disk = disk();
    let mut copy = begin(&disk, 3);
    send(&mut copy, 5000);
    assert!(copy.follows(3).expect("writes"));
    assert!(copy.follows(4).expect("writes"));
    assert!(!copy.follows(3).expect("writes"));
    disk.crash(Crash::PowerAtWorst);
    let mut again = open(&disk).expect("is there");
    assert!(!again.follows(3).expect("writes"), "also after a power cut");
}

#[test]
fn damage_is_told_from_a_torn_tail() {
    let disk = disk();
    let mut copy = begin(&disk, 3);
    send(&mut copy, 5000);
    copy.sync().expect("syncs");
    let kept = copy.kept().expect("whole");
    drop(copy);
    let third = segments()[2].len() as u64;
    // The last record: nothing tells that it is not a torn tail.
    disk.flip("keepsake/00000003.seg", third - 10, 1)
        .expect("there");
    let torn = open(&disk).expect("is there").kept().expect("of use");
    assert_eq!((torn.index, kept.index), (14, 15));
    disk.flip("keepsake/00000001.seg", 70, 1).expect("there");
    let damaged = open(&disk).expect("is there");
    let (_, why) = damaged.identity();
    let why = why.expect("damaged");
    assert!(why.starts_with("keepsake/00000001.seg at byte 64"), "{why}");
    assert_eq!(damaged.kept(), None);
}

#[test]
fn what_rots_later_is_found_when_it_is_read_again() {
    let last = segments()[2].len() as u64;
    for (name, offset) in [
        ("keepsake/00000002.seg", 70),
        ("keepsake/00000003.seg", last - 10),
        ("keepsake/snapshot-0000000000000003", 500),
    ] {
        let disk = disk();
        let mut copy = begin(&disk, 3);
        send(&mut copy, 5000);
        snapshot(&mut copy, 3, 1, false);
        let verified = |copy: &mut Copy| {
            copy.verify_log().expect("the disk works");
            let snapshot = copy.snapshot().expect("the disk works").expect("is there");
            if !snapshot.is_whole().expect("the disk works") {
                copy.snapshot_rots(&snapshot);
            }
            copy.kept().is_some()
        };
        assert!(verified(&mut copy), "all is right");
        disk.flip(name, offset, 1).expect("there");
        assert!(!verified(&mut copy), "{name} has rotted");
        let (_, why) = copy.identity();
        why.expect("it is told");
    }
}
