//! What a block file says after a crash, and how far it can be believed.
//!
//! A sealed block says itself how long it is. An open one is scanned piece by piece. A bad piece
//! above every length that a header (or the footer) calls synced is a torn tail: the block is cut
//! there. A bad piece below is rot: it is kept, as a gap in the middle of good pieces, and the
//! block is marked as damaged. Behind a damaged header the scan looks for the next whole one,
//! whose own words say which piece it is. Nothing is written here; the caller cuts and syncs.

use super::index::{Index, pieces_before, position};
use crate::format::{
    BlockHeader, HEADER_BYTES, PIECE_HEADER_BYTES, PIECE_MAGIC, PIECES_MAX, PieceHeader,
    TRAILER_BYTES, Trailer, decode_index,
};
use dfs_host::disk::DiskFile;
use dfs_proto::{block::Piece, checksum::Crc32c, extent::PIECE_BYTES_MAX, id::BlockId};
use std::io;

/// What was found in a block file.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its header; `None` where that is damaged, or the file was never begun.
    pub(crate) header: Option<BlockHeader>,
    /// The pieces that count; those in `damaged` are in it too.
    pub(crate) index: Index,
    /// Whether the footer is there.
    pub(crate) sealed: bool,
    /// Whether bytes that count are damaged.
    pub(crate) damaged: bool,
    /// Whether the file goes on behind what counts.
    pub(crate) torn: bool,
}

/// The trailer of a sealed block's file, if it has one that fits the length of the file.
pub(crate) fn read_trailer(file: &dyn DiskFile, block: BlockId) -> io::Result<Option<Trailer>> {
    let file_bytes = file.len()?;
    let Some(at) = file_bytes.checked_sub(TRAILER_BYTES as u64) else {
        return Ok(None);
    };
    let mut bytes = [0; TRAILER_BYTES];
    let got = file.read_at(&mut bytes, at)?;
    Ok(Trailer::decode(block, &bytes[..got]).filter(|trailer| {
        let pieces = trailer.pieces as usize;
        position(trailer.length, pieces) + pieces as u64 * 4 == at
    }))
}

/// The header of a block's file.
pub(crate) fn read_header(file: &dyn DiskFile) -> io::Result<Option<BlockHeader>> {
    let mut bytes = [0; HEADER_BYTES];
    let got = file.read_at(&mut bytes, 0)?;
    Ok(BlockHeader::decode(&bytes[..got]))
}

/// The index in a sealed block's footer, or, where that is damaged, none.
pub(crate) fn read_index(file: &dyn DiskFile, trailer: &Trailer) -> io::Result<Option<Index>> {
    let mut bytes = vec![0; trailer.pieces as usize * 4];
    let at = position(trailer.length, trailer.pieces as usize);
    let got = file.read_at(&mut bytes, at)?;
    Ok(decode_index(&bytes[..got], trailer).and_then(|starts| Index::of(starts, trailer.length)))
}

/// Reads all of a block's file and says what it is worth. `end` is how many bytes and pieces it has,
/// where that is known from elsewhere than its footer.
pub(crate) fn scan(
    file: &dyn DiskFile,
    block: BlockId,
    end: Option<(u32, u32)>,
) -> io::Result<Found> {
    let header = read_header(file)?;
    let trailer = read_trailer(file, block)?;
    let file_bytes = file.len()?;
    let end = trailer.map(|t| (t.length, t.pieces)).or(end);
    let pieces_end = end.map_or(file_bytes, |(length, pieces)| {
        position(length, pieces as usize)
    });
    let mut scan = Scan {
        window: Window::new(file, pieces_end),
        block,
        index: Index::default(),
        bad: Vec::new(),
        synced: end.map_or(0, |(length, _)| length),
    };
    scan.run()?;
    if let Some((length, pieces)) = end {
        scan.gap(length, pieces as usize);
    }
    let torn_at = scan.bad.iter().copied().find(|at| *at >= scan.synced);
    let index = match torn_at {
        Some(at) => scan
            .index
            .cut(at)
            .expect("a bad piece begins where one ends"),
        None => scan.index,
    };
    let rotten = scan.bad.iter().any(|at| *at < index.length());
    let headless = header.is_none() && index.length() > 0;
    Ok(Found {
        header,
        sealed: trailer.is_some(),
        damaged: rotten || headless,
        torn: trailer.is_none() && index.position_end() != file_bytes,
        index,
    })
}

/// Reads the pieces of a block that are known, from the disk.
pub(super) struct Walk<'a>(Scan<'a>);

impl<'a> Walk<'a> {
    /// Begins before the first, with nothing of the file in memory up to `end`.
    pub(super) fn new(file: &'a dyn DiskFile, block: BlockId, end: u64) -> Walk<'a> {
        file.forget_cached(0, end);
        Walk(Scan {
            window: Window::new(file, end),
            block,
            index: Index::default(),
            bad: Vec::new(),
            synced: 0,
        })
    }

    /// Goes on behind the next piece, which is not read.
    pub(super) fn pass(&mut self, len: u32) {
        self.0.index.push(len);
    }

    /// The next piece, of `len` bytes, if it is there and whole.
    pub(super) fn next(&mut self, len: u32) -> io::Result<Option<Piece>> {
        let at = self.0.index.position_end();
        let start = self.0.index.length();
        self.0.index.push(len);
        let found = self.0.piece_at(at)?;
        Ok(found.and_then(|(header, whole)| {
            let piece = header.piece;
            let right = whole && piece.block_offset == start && piece.len == len;
            right.then_some(piece)
        }))
    }
}

struct Scan<'a> {
    window: Window<'a>,
    block: BlockId,
    index: Index,
    bad: Vec<u32>,
    synced: u32,
}

impl Scan<'_> {
    fn run(&mut self) -> io::Result<()> {
        while self.index.pieces() < PIECES_MAX {
            let at = self.index.position_end();
            match self.piece_at(at)? {
                Some((header, whole)) if header.piece.block_offset == self.index.length() => {
                    self.synced = self.synced.max(header.synced);
                    if !whole {
                        self.bad.push(self.index.length());
                    }
                    self.index.push(header.piece.len);
                }
                _ => match self.next_header(at + 1)? {
                    Some((start, before)) => self.gap(start, before),
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    /// The header at `at`, if it is one, and whether its payload is what it says.
    fn piece_at(&mut self, at: u64) -> io::Result<Option<(PieceHeader, bool)>> {
        let block = self.block;
        let bytes = self.window.bytes(at, PIECE_HEADER_BYTES)?;
        let Some(header) = PieceHeader::decode(block, bytes) else {
            return Ok(None);
        };
        let len = header.piece.len as usize;
        let payload = self.window.bytes(at + PIECE_HEADER_BYTES as u64, len)?;
        let whole = payload.len() == len && Crc32c::of(payload) == header.piece.crc;
        Ok(Some((header, whole)))
    }

    /// The next header behind damage that can be one of this block's: where its payload begins and
    /// how many pieces are before it.
    fn next_header(&mut self, from: u64) -> io::Result<Option<(u32, usize)>> {
        let mut at = from;
        loop {
            let bytes = self.window.bytes(at, SEARCH_BYTES)?;
            if bytes.len() < PIECE_HEADER_BYTES {
                return Ok(None);
            }
            let tried = bytes.len() - PIECE_HEADER_BYTES + 1;
            for (n, candidate) in bytes.windows(PIECE_HEADER_BYTES).enumerate() {
                if candidate[..4] == PIECE_MAGIC[..]
                    && let Some(header) = PieceHeader::decode(self.block, candidate)
                    && let start = header.piece.block_offset
                    && let Some(before) = pieces_before(at + n as u64, start)
                    && can_follow(&self.index, start, before)
                {
                    return Ok(Some((start, before)));
                }
            }
            at += tried as u64;
        }
    }

    /// Fills the index with bad pieces up to payload offset `until` and `pieces` pieces. Where they
    /// really began is lost; their bytes fail every check, so any boundaries do.
    fn gap(&mut self, until: u32, pieces: usize) {
        while self.index.pieces() < pieces && self.index.length() < until {
            let left = u32::try_from(pieces - self.index.pieces()).unwrap_or(u32::MAX);
            let bytes = until - self.index.length();
            self.bad.push(self.index.length());
            // What claims more bytes than its pieces can have is not believed: a piece is read whole.
            let bytes = if left == 1 { bytes } else { bytes / left };
            self.index.push(bytes.min(PIECE_BYTES_MAX));
        }
    }
}

/// Whether a piece at payload offset `start`, the `before`-th, can be behind a gap after `index`: a
/// gap has room for at least one byte a piece, and for no more than a piece may have.
fn can_follow(index: &Index, start: u32, before: usize) -> bool {
    let missing = before.saturating_sub(index.pieces());
    let bytes = start.saturating_sub(index.length()) as usize;
    let most = missing.saturating_mul(PIECE_BYTES_MAX as usize);
    missing > 0 && (missing..=most).contains(&bytes) && before < PIECES_MAX
}

const SEARCH_BYTES: usize = 256 << 10;
const WINDOW_BYTES: usize = 1 << 20;

/// A file read front to back through one buffer.
struct Window<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    at: u64,
    filled: usize,
    buffer: Vec<u8>,
}

impl Window<'_> {
    fn new(file: &dyn DiskFile, end: u64) -> Window<'_> {
        Window {
            file,
            end,
            at: 0,
            filled: 0,
            buffer: Vec::new(),
        }
    }

    /// The bytes at `at`: `len` of them, fewer only where the file ends.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let want = usize::try_from(self.end.saturating_sub(at)).map_or(len, |left| left.min(len));
        let inside = at >= self.at && at + want as u64 <= self.at + self.filled as u64;
        if !inside {
            let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let fill = left.min(WINDOW_BYTES.max(want));
            if self.buffer.len() < fill {
                self.buffer.resize(fill, 0);
            }
            self.filled = self.file.read_at(&mut self.buffer[..fill], at)?;
            self.at = at;
        }
        let from = usize::try_from(at - self.at).expect("inside the buffer");
        let to = (from + want).min(self.filled);
        Ok(&self.buffer[from.min(to)..to])
    }
}
