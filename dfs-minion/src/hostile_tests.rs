//! The minion's parsers before damaged bytes.

use crate::{
    format::{BlockHeader, Holes, PieceHeader, Trailer, encode_index},
    hostile::{self, BLOCK, FILESYSTEM, Verdict},
    keepsake,
    marker::Marker,
};
use dfs_hostile::{Counting, Trial};
use dfs_proto::{
    block::Piece,
    checksum::Crc32c,
    id::{DiskId, InodeId, MinionId, SessionId},
    time::Timestamp,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn stand(
    name: &str,
    parser: fn(&[u8]) -> Verdict,
    seeds: Vec<Vec<u8>>,
    inputs: usize,
    allocated_max: usize,
) {
    assert!(hostile::PARSERS.iter().any(|(target, _)| *target == name));
    let trial = Trial {
        name,
        parser,
        seeds,
        inputs,
        allocated_max,
    };
    trial.run();
}

fn header() -> BlockHeader {
    BlockHeader {
        filesystem: FILESYSTEM,
        block: BLOCK,
        session: SessionId(5),
        created: Timestamp::EPOCH,
    }
}

fn piece(block_offset: u32, payload: &[u8], synced: u32) -> PieceHeader {
    let len = u32::try_from(payload.len()).expect("short");
    PieceHeader {
        piece: Piece {
            block_offset,
            len,
            crc: Crc32c::of(payload),
            inode: InodeId(9),
            file_offset: 7,
            sequence: 1,
        },
        synced,
        flags: 0,
    }
}

/// A block's file with pieces of these lengths, of which the first half is synced.
fn file(lens: &[u32], sealed: bool) -> Vec<u8> {
    let mut bytes = header().encode().to_vec();
    let (mut at, mut starts) = (0, Vec::new());
    for len in lens {
        let payload: Vec<u8> = (0..*len).map(|n| (at + n).to_le_bytes()[0]).collect();
        bytes.extend(piece(at, &payload, at / 2).encode(BLOCK));
        bytes.extend(payload);
        starts.push(at);
        at += len;
    }
    if sealed {
        bytes.extend(index_and_trailer(&starts, at));
    }
    bytes
}

fn index_and_trailer(starts: &[u32], length: u32) -> Vec<u8> {
    let index = encode_index(starts);
    let trailer = trailer(starts, length).encode(BLOCK);
    [&index[..], &trailer].concat()
}

fn trailer(starts: &[u32], length: u32) -> Trailer {
    Trailer {
        pieces: u32::try_from(starts.len()).expect("few"),
        length,
        index: Crc32c::of(&encode_index(starts)),
    }
}

fn holes() -> Holes {
    Holes {
        count: 3,
        length: 930,
        pieces: 5,
        ranges: vec![(0, 200), (230, 530)],
    }
}

/// As they are, and with checksums that are put right.
fn twice(which: u8, part: &[u8]) -> [Vec<u8>; 2] {
    [which, 128 + which].map(|which| [&[which][..], part].concat())
}

#[test]
fn hostile_parts() {
    let starts = [0, 5, 9];
    let trailer = trailer(&starts, 12).encode(BLOCK);
    let mut seeds = Vec::new();
    seeds.extend(twice(0, &header().encode()));
    seeds.extend(twice(1, &piece(7, b"payload", 3).encode(BLOCK)));
    seeds.extend(twice(2, &[&trailer[..], &encode_index(&starts)].concat()));
    seeds.extend(twice(3, &holes().encode(BLOCK)));
    stand("minion_parts", hostile::parts, seeds, 40_000, 1 << 20);
}

#[test]
fn hostile_block_files() {
    let lens = [100, 100, 30, 300, 400];
    let list = holes().encode(BLOCK);
    let mut seeds = Vec::new();
    // A block that is not sealed has no holes.
    for (flags, sealed) in [
        (0, true),
        (8, true),
        (15, true),
        (13, true),
        (0, false),
        (8, false),
    ] {
        let list: &[u8] = if flags & 1 != 0 { &list } else { &[] };
        let len = u16::try_from(list.len()).expect("short");
        let file = file(&lens, sealed);
        seeds.push([&[flags][..], &len.to_le_bytes(), list, &file].concat());
    }
    // The window of the search behind damage is 1 MiB, and two of them may be there.
    stand("minion_block", hostile::block_file, seeds, 1500, 16 << 20);
}

#[test]
fn hostile_markers() {
    let marker = Marker {
        filesystem: FILESYSTEM,
        minion: MinionId(3),
        disk: DiskId(1),
        disks: [1, 2, 0xab].map(DiskId).into(),
    };
    let seeds = twice(0, marker.text().as_bytes()).to_vec();
    stand("minion_marker", hostile::marker, seeds, 20_000, 1 << 20);
}

#[test]
fn hostile_manifests() {
    let text = "dfs keepsake, format 1\nfilesystem 000000000000000000000000000000ab\nepoch 5\n\
                snapshot 1234\nsnapshot-bytes 5678\noldest 42\nchecksum 00000000\n";
    let mended = [&[128], text.as_bytes()].concat();
    let parser = keepsake::hostile::manifest;
    stand("minion_manifest", parser, vec![mended], 20_000, 1 << 20);
}

#[test]
fn hostile_keepsakes() {
    let first = &keepsake::segments()[0];
    let flags = [0, 1, 2, 3, 2 | 9 << 2, 3 | 20 << 2];
    let seeds = flags.map(|flags| [&[flags], &first[..]].concat()).to_vec();
    let parser = keepsake::hostile::segment;
    stand("minion_keepsake", parser, seeds, 20_000, 4 << 20);
}

#[test]
fn hostile_settings() {
    let seeds: [&[u8]; 3] = [
        b"",
        b"data = ['/a', '/b']\nmaster = ['m:1']\nlisten = '127.0.0.1:0'\nreserve = '1GiB'\n",
        b"disk-threads = 8\nflight = '1.5MiB'\naccept_new_disks = true\nlog-format = 'json'\n",
    ];
    let seeds = seeds.map(<[u8]>::to_vec).to_vec();
    stand("minion_settings", hostile::settings, seeds, 300, 4 << 20);
}
