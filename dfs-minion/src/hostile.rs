//! What a disk may say to a minion, as functions from bytes to a verdict, for tests and for
//! cargo-fuzz: each asserts what must hold of what it accepts.

use crate::{
    format::{
        BlockHeader, HEADER_BYTES, Holes, PIECE_HEADER_BYTES, PIECE_MAGIC, PieceHeader,
        TRAILER_BYTES, Trailer, decode_index, encode_index,
    },
    keepsake,
    marker::Marker,
    settings::Settings,
    store::{BLOCKS, Drive, READ_BYTES_MAX, Store},
};
use dfs_host::{
    clock::ManualClock,
    disk::{Disk, SimulatedDisk},
    settings::try_load_text,
};
use dfs_proto::{
    block::ReplicaState,
    checksum::Crc32c,
    error::BlockError,
    id::{BlockId, DiskId, FilesystemId},
};
use std::{path::Path, sync::Arc};

/// Taken, or refused and why.
pub type Verdict = Result<(), String>;

/// What makes one of bytes.
pub type Parser = fn(&[u8]) -> Verdict;

/// All parsers of this crate, by the names of their targets.
pub const PARSERS: &[(&str, Parser)] = &[
    ("minion_parts", parts),
    ("minion_block", block_file),
    ("minion_marker", marker),
    ("minion_settings", settings),
    ("minion_manifest", keepsake::hostile::manifest),
    ("minion_keepsake", keepsake::hostile::segment),
];

/// The block that all bytes claim to be of.
pub(crate) const BLOCK: BlockId = BlockId(0x2a);
/// The file system that all bytes claim to be of.
pub(crate) const FILESYSTEM: FilesystemId = FilesystemId(0xf5);

/// Settings of a minion, as TOML.
pub fn settings(bytes: &[u8]) -> Verdict {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let loaded = try_load_text::<Settings>(["dfs-minion".into()], Path::new("its.toml"), text);
    loaded.map(drop).map_err(|error| {
        let said = error.to_string();
        assert!(said.contains("its.toml"), "the file is not named: {said}");
        said
    })
}

/// The marker of a disk. In the first byte: whether its checksum is put right.
pub fn marker(bytes: &[u8]) -> Verdict {
    let (mend, text) = bytes.split_first().ok_or("nothing is there")?;
    let mut text = String::from_utf8_lossy(text).into_owned();
    if *mend >= 128
        && let Some((said, _)) = text.trim_end().rsplit_once('\n')
    {
        let said = format!("{said}\n");
        let crc = Crc32c::of(said.as_bytes());
        text = format!("{said}checksum {crc:?}\n");
    }
    let marker = Marker::parse(&text).ok_or("no marker")?;
    assert_eq!(Marker::parse(&marker.text()), Some(marker));
    Ok(())
}

/// One part of a block file, or the list of its holes. In the first byte: which, and whether its
/// checksum is put right.
pub fn parts(bytes: &[u8]) -> Verdict {
    let (which, part) = bytes.split_first().ok_or("nothing is there")?;
    let mut part = part.to_vec();
    if *which >= 128 {
        match which % 4 {
            0 => sum(&mut part, HEADER_BYTES, &[]),
            1 => sum(&mut part, PIECE_HEADER_BYTES, &BLOCK.0.to_le_bytes()),
            2 => sum(&mut part, TRAILER_BYTES, &BLOCK.0.to_le_bytes()),
            _ => {
                let len = part.len();
                sum(&mut part, len, &[]);
            }
        }
    }
    match which % 4 {
        0 => {
            let header = BlockHeader::decode(&part).ok_or("no header of a block")?;
            assert_eq!(BlockHeader::decode(&header.encode()), Some(header));
        }
        1 => {
            let header = PieceHeader::decode(BLOCK, &part).ok_or("no header of a piece")?;
            let again = header.encode(BLOCK);
            assert_eq!(PieceHeader::decode(BLOCK, &again), Some(header));
            assert!(header.piece.block_end() > header.piece.block_offset);
        }
        2 => {
            let trailer = Trailer::decode(BLOCK, &part).ok_or("no trailer")?;
            let again = trailer.encode(BLOCK);
            assert_eq!(Trailer::decode(BLOCK, &again), Some(trailer));
            let index = &part[TRAILER_BYTES..];
            let starts = decode_index(index, &trailer).ok_or("not the index of the trailer")?;
            assert_eq!(encode_index(&starts), index);
        }
        _ => {
            let holes = Holes::decode(BLOCK, &part).ok_or("no list of holes")?;
            assert_eq!(Holes::decode(BLOCK, &holes.encode(BLOCK)), Some(holes));
        }
    }
    Ok(())
}

/// Puts the last four of the first `len` bytes right: the checksum of those before.
fn sum(part: &mut [u8], len: usize, salt: &[u8]) {
    if let Some(part) = part.get_mut(..len)
        && let Some((said, crc)) = part.split_last_chunk_mut::<4>()
    {
        *crc = Crc32c::of_parts([salt, said]).0.to_le_bytes();
    }
}

/// The files of a block as a minion finds them at its start: a byte of flags (1: there is a list of
/// holes; 2: its holes are made; 4: its checksum is put right; 8: so are those of the block's file),
/// the length of the list (2 bytes), the list, the block's file.
pub fn block_file(bytes: &[u8]) -> Verdict {
    let (flags, rest) = bytes.split_first().ok_or("nothing is there")?;
    let (len, rest) = rest.split_first_chunk().ok_or("no length of the list")?;
    let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    let (holes, file) = rest.split_at(len);
    let (mut holes, mut file) = (holes.to_vec(), file.to_vec());
    if flags & 4 != 0 {
        sum(&mut holes, len, &[]);
    }
    if flags & 8 != 0 {
        with_checksums(&mut file);
    }
    let disk = SimulatedDisk::new(1, 256 << 20);
    disk.create_folder(BLOCKS).expect("room");
    let name = format!("{BLOCKS}/{:016x}", BLOCK.0);
    put(&*disk, &name, &file);
    if flags & 1 != 0 {
        let ending = if flags & 2 != 0 {
            "punched"
        } else {
            "punching"
        };
        put(&*disk, &format!("{name}.{ending}"), &holes);
    }
    let store = open(&disk);
    let found = store.replica(BLOCK);
    assert_eq!(
        open(&disk).replica(BLOCK),
        found,
        "found at the second look"
    );
    let Some(found) = found else {
        return Err("the file was never begun".to_owned());
    };
    read_all(&store, &found)?;
    match found.damaged {
        true => Err("damaged".to_owned()),
        false => Ok(()),
    }
}

fn put(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let file = disk.create(name).expect("room");
    file.write_at(&[bytes], 0).expect("room");
    file.sync().expect("room");
}

fn open(disk: &Arc<SimulatedDisk>) -> Arc<Store> {
    let drive = Drive::new(DiskId(1), "simulated".into(), disk.clone(), 1, Some(0));
    let drive = Arc::new(drive.expect("a disk that works"));
    let clock = Arc::new(ManualClock::new());
    let store = Store::open(vec![drive], Some(FILESYSTEM), clock);
    Arc::new(store.expect("a disk that works"))
}

/// Reads all of a block: whatever is told is whole pieces without gaps, each with its checksum, and
/// what cannot be told is damage.
fn read_all(store: &Arc<Store>, found: &ReplicaState) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let mut at = 0;
    while at < found.length {
        let end = found.length.min(at + READ_BYTES_MAX);
        let read = runtime.block_on(store.read(BLOCK, at, end, None));
        let told = match read {
            Ok(told) => told,
            Err(BlockError::Gone(_)) => {
                at = end;
                continue;
            }
            Err(damaged @ BlockError::Damaged { .. }) => return Err(damaged.to_string()),
            Err(other) => panic!("bytes of a block that is here: {other}"),
        };
        let bytes = told.bytes.joined();
        let mut from = 0;
        let mut next = None;
        for piece in &told.pieces {
            assert!(next.is_none_or(|next| next == piece.block_offset), "a gap");
            let upto = from + piece.len as usize;
            assert_eq!(Crc32c::of(&bytes[from..upto]), piece.crc);
            from = upto;
            next = Some(piece.block_end());
        }
        assert_eq!(from, bytes.len());
        assert!(told.pieces[0].block_offset <= at && next >= Some(end));
        at = end;
    }
    Ok(())
}

/// Puts all checksums right that stand where the file's own lengths say.
fn with_checksums(file: &mut [u8]) {
    sum(file, HEADER_BYTES, &[]);
    let mut at = HEADER_BYTES;
    while let Some(piece) = file.get_mut(at..)
        && piece.starts_with(PIECE_MAGIC)
        && piece.len() >= PIECE_HEADER_BYTES
    {
        let len = u32::from_le_bytes([piece[4], piece[5], piece[6], piece[7]]) as usize;
        let end = PIECE_HEADER_BYTES.saturating_add(len);
        if let Some(payload) = piece.get(PIECE_HEADER_BYTES..end) {
            let crc = Crc32c::of(payload).0.to_le_bytes();
            piece[44..48].copy_from_slice(&crc);
        }
        sum(piece, PIECE_HEADER_BYTES, &BLOCK.0.to_le_bytes());
        at = at.saturating_add(end);
    }
    let Some(trailer_at) = file.len().checked_sub(TRAILER_BYTES) else {
        return;
    };
    if let Some(index) = file.get(at..trailer_at) {
        let crc = Crc32c::of(index).0.to_le_bytes();
        file[trailer_at + 20..trailer_at + 24].copy_from_slice(&crc);
    }
    sum(
        &mut file[trailer_at..],
        TRAILER_BYTES,
        &BLOCK.0.to_le_bytes(),
    );
}
