//! What a disk, or a master, may say of a keepsake, as functions from bytes to a verdict, for tests and
//! for cargo-fuzz.

use super::{
    copy::Copy,
    manifest::{FOLDER, Manifest},
};
use dfs_host::disk::{Disk, SimulatedDisk};
use dfs_proto::{
    checksum::Crc32c,
    id::FilesystemId,
    log::{
        KeepsakeFile,
        record::{RECORD_HEADER_BYTES, Spot, record_bytes},
    },
};
use std::sync::Arc;

/// The file system that all bytes claim to be of.
const FILESYSTEM: FilesystemId = FilesystemId(7);

/// A manifest. In the first byte: whether its checksum is put right.
pub(crate) fn manifest(bytes: &[u8]) -> Result<(), String> {
    let (mend, text) = bytes.split_first().ok_or("nothing is there")?;
    let mut text = String::from_utf8_lossy(text).into_owned();
    if *mend >= 128
        && let Some((said, _)) = text.trim_end().rsplit_once('\n')
    {
        let said = format!("{said}\n");
        let crc = Crc32c::of(said.as_bytes());
        text = format!("{said}checksum {crc:?}\n");
    }
    let manifest = Manifest::parse(&text).ok_or("no manifest")?;
    assert_eq!(Manifest::parse(&manifest.text()), Some(manifest));
    Ok(())
}

/// Segment 1 of a log: 1 in the first byte puts checksums right, 2 has a master send it, in two parts
/// that meet at the other bits times 8, and not the disk.
pub(crate) fn segment(bytes: &[u8]) -> Result<(), String> {
    let (flags, bytes) = bytes.split_first().ok_or("nothing is there")?;
    let mut bytes = bytes.to_vec();
    if flags & 1 != 0 {
        with_chain(&mut bytes);
    }
    let disk = SimulatedDisk::new(1, 1 << 20);
    let there = || Arc::clone(&disk) as Arc<dyn Disk>;
    let mut copy = Copy::begin(there(), FILESYSTEM, 1).expect("room");
    if flags & 2 != 0 {
        let split = (usize::from(flags >> 2) * 8).max(64).min(bytes.len());
        let (first, second) = bytes.split_at(split);
        let spot = |offset| Spot { segment: 1, offset };
        let taken = copy.take_log(spot(0), first);
        taken.map_err(|error| error.to_string())?;
        let split = u32::try_from(split).expect("small");
        let taken = copy.take_log(spot(split), second);
        taken.map_err(|error| error.to_string())?;
        copy.sync().expect("syncs");
    } else {
        let manifest = Manifest {
            filesystem: FILESYSTEM,
            epoch: 1,
            snapshot: 0,
            snapshot_bytes: 0,
            oldest: 1,
        };
        manifest.write(&*disk).expect("room");
        let file = disk
            .create(&format!("{FOLDER}/00000001.seg"))
            .expect("room");
        file.write_at(&[&bytes], 0).expect("room");
        copy = opened(there());
    }
    let (_, damage) = copy.identity();
    if let Some(damage) = damage {
        assert!(damage.contains("keepsake/"), "no file is named: {damage}");
        return Err(damage);
    }
    let kept = copy.kept().ok_or("nothing came")?;
    let again = opened(there());
    let seen = again.kept().expect("what was opened opens again");
    assert_eq!(
        (seen.end, seen.chain, seen.index),
        (kept.end, kept.chain, kept.index)
    );
    let read = again.read(KeepsakeFile::Segment(1), 0).expect("reads");
    let end = usize::try_from(kept.end.offset).expect("32 bits");
    assert_eq!(read, bytes[..end], "not what was said");
    Ok(())
}

fn opened(disk: Arc<dyn Disk>) -> Copy {
    let copy = Copy::open(disk, FILESYSTEM).expect("the disk works");
    copy.expect("there is a manifest")
}

fn put(file: &mut [u8], at: usize, word: u32) {
    if let Some(to) = file.get_mut(at..at + 4) {
        to.copy_from_slice(&word.to_le_bytes());
    }
}

/// Puts the checksums of a segment right, and what each record says of the one before.
pub(crate) fn with_chain(segment: &mut [u8]) {
    let Some(head) = segment.get(16..64) else {
        return;
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
        let Some(summed) = record.get(8..RECORD_HEADER_BYTES.saturating_add(length)) else {
            break;
        };
        chain = Crc32c::of(summed).0;
        put(record, 4, chain);
        at += record_bytes(length);
    }
}
