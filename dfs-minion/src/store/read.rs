//! Bytes of a block, as pieces whose checksums were verified.
//!
//! The pieces that cover a request are next to each other in the file: one read fetches them with
//! their headers, and the answer shares that buffer. Nothing leaves here that fails its checksum.

use super::{
    block::{Block, Phase},
    buffers::Room,
    index::Span,
    opened::Opened,
    recover,
    shelf::Store,
};
use crate::format::{PIECE_HEADER_BYTES, PieceHeader};
use bytes::Bytes;
use dfs_host::disk::{DiskFile, is_broken};
use dfs_proto::{
    block::Piece, checksum::Crc32c, error::BlockError, extent::PIECE_BYTES_MAX, id::BlockId,
    payload::Gathered, service::BlockBytes,
};
use std::{io, sync::Arc};
use tokio::sync::oneshot;

/// Payload bytes that one read may ask for; whole pieces may add one at either end.
pub(crate) const READ_BYTES_MAX: u32 = 1 << 20;

/// Payload offset at which the bytes on the disk are not what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DamagedAt(pub(crate) u32);

type Place = (Arc<dyn DiskFile>, Span);

impl Store {
    /// The whole pieces that cover `[start, end)` of a block.
    pub(crate) async fn read(
        self: &Arc<Self>,
        id: BlockId,
        start: u32,
        end: u32,
        room: Room,
    ) -> Result<BlockBytes, BlockError> {
        if start >= end || end - start > READ_BYTES_MAX + 2 * PIECE_BYTES_MAX {
            let why = format!("a read of [{start}, {end}): 1 byte to 1 MiB and two pieces");
            return Err(BlockError::Malformed(why));
        }
        let block = self.block(id).ok_or(BlockError::NotHere(id))?;
        block.in_service()?;
        let length = block.readable(end)?;
        if block.has_given_up(start, end) {
            return Err(BlockError::Gone(id));
        }
        let mut room = room;
        if let Some((file, span)) = self.place(&block, start, end) {
            let mut buffer = self.buffers.take(span.file_bytes, room);
            match file.read_cached_at(buffer.bytes(), span.position) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    room = buffer.give_back();
                }
                got => {
                    let read = self.fetched(got, buffer.freeze(), &block, span);
                    return self.judge_read(&block, length, (start, end), read);
                }
            }
        }
        let (answer, answered) = oneshot::channel();
        let (store, from) = (Arc::clone(self), Arc::clone(&block));
        let job = move || {
            let read = store.read_blocking(&from, start, end, room);
            // Who asked may have moved on to another replica.
            let _ = answer.send(read);
        };
        let queued = block.drive.threads.submit(job);
        queued.map_err(|_| BlockError::Unavailable("the disk has too much to do".into()))?;
        let read = answered.await.unwrap_or(Err(DamagedAt(start)));
        self.judge_read(&block, length, (start, end), read)
    }

    /// Where the pieces are, if that is known without the disk.
    fn place(&self, block: &Block, start: u32, end: u32) -> Option<Place> {
        let state = block.state.lock();
        if let Some(tail) = &state.tail {
            let file = tail.file.clone()?;
            return tail.index.cover(start, end).map(|span| (file, span));
        }
        drop(state);
        let opened = self.opened.get(block.id)?;
        let span = opened.index.cover(start, end)?;
        Some((Arc::clone(&opened.file), span))
    }

    fn read_blocking(
        &self,
        block: &Block,
        start: u32,
        end: u32,
        room: Room,
    ) -> Result<BlockBytes, DamagedAt> {
        let place = match self.place(block, start, end) {
            Some(place) => Some(place),
            None => self.open_sealed(block).and_then(|opened| {
                let span = opened.index.cover(start, end)?;
                Some((Arc::clone(&opened.file), span))
            }),
        };
        let (file, span) = place.ok_or(DamagedAt(start))?;
        let mut buffer = self.buffers.take(span.file_bytes, room);
        let got = file.read_at(buffer.bytes(), span.position);
        self.fetched(got, buffer.freeze(), block, span)
    }

    /// What a read of a span came to.
    fn fetched(
        &self,
        got: io::Result<usize>,
        bytes: Bytes,
        block: &Block,
        span: Span,
    ) -> Result<BlockBytes, DamagedAt> {
        match got {
            Ok(got) => unpack(block.id, span, &bytes.slice(..got)),
            Err(error) => {
                self.note_failed_read(block, &error);
                Err(DamagedAt(span.start))
            }
        }
    }

    /// Opens the file of a sealed block and reads its index; `None` if that cannot be done. Blocks.
    pub(super) fn open_sealed(&self, block: &Block) -> Option<Arc<Opened>> {
        let tried = (|| {
            let file = block.drive.disk.open(&block.file_name())?;
            let trailer = recover::read_trailer(&*file, block.id)?;
            let index = match trailer {
                Some(trailer) => recover::read_index(&*file, &trailer)?,
                None => None,
            };
            let index = match index {
                Some(index) => index,
                None => {
                    self.note_damage(block);
                    recover::scan(&*file, block.id, block.known_end())?.index
                }
            };
            Ok::<_, io::Error>(Opened { file, index })
        })();
        match tried {
            Ok(opened) => {
                let opened = Arc::new(opened);
                if !block.is_gone() {
                    self.opened.keep(block.id, Arc::clone(&opened));
                }
                Some(opened)
            }
            Err(error) => {
                self.note_failed_read(block, &error);
                None
            }
        }
    }

    /// Damage is only what it seems if the block is still what it was when the read began.
    fn judge_read(
        &self,
        block: &Block,
        length: u32,
        (start, end): (u32, u32),
        read: Result<BlockBytes, DamagedAt>,
    ) -> Result<BlockBytes, BlockError> {
        read.or_else(|DamagedAt(offset)| {
            block.in_service()?;
            if block.has_given_up(start, end) {
                return Err(BlockError::Gone(block.id));
            }
            if block.readable(start + 1)? < length {
                let length = block.state.lock().length;
                return Err(BlockError::Short {
                    block: block.id,
                    length,
                });
            }
            self.note_damage(block);
            Err(BlockError::Damaged {
                block: block.id,
                offset,
            })
        })
    }

    /// Notes an error in a read or an opening: if it is the disk's, that is out of service.
    pub(super) fn note_failed_read(&self, block: &Block, error: &io::Error) {
        if is_broken(error) {
            block.drive.fail(&format!("a read failed: {error}"));
        } else {
            tracing::warn!(block = block.id.0, %error, "a block cannot be read");
        }
    }

    /// Remembers that a replica is damaged, to be told with the next beat.
    pub(crate) fn note_damage(&self, block: &Block) {
        if block.mark_damaged() {
            tracing::warn!(block = block.id.0, disk = %block.drive.path, "a replica is damaged");
            self.changed.lock().insert(block.id);
        }
    }
}

impl Block {
    /// Its length, if it goes at least up to `end`.
    fn readable(&self, end: u32) -> Result<u32, BlockError> {
        let state = self.state.lock();
        if state.phase == Phase::Gone {
            return Err(BlockError::NotHere(self.id));
        }
        if end > state.length {
            return Err(BlockError::Short {
                block: self.id,
                length: state.length,
            });
        }
        Ok(state.length)
    }
}

/// The pieces in the bytes of a span, verified.
pub(crate) fn unpack(block: BlockId, span: Span, bytes: &Bytes) -> Result<BlockBytes, DamagedAt> {
    let (mut pieces, mut payloads): (Vec<Piece>, Vec<Bytes>) = (Vec::new(), Vec::new());
    let (mut at, mut next) = (0, span.start);
    while next < span.end {
        let damaged = DamagedAt(next);
        let rest = bytes.get(at..).ok_or(damaged)?;
        let header = PieceHeader::decode(block, rest).ok_or(damaged)?;
        let from = at + PIECE_HEADER_BYTES;
        at = from + header.piece.len as usize;
        if header.piece.block_offset != next || at > bytes.len() {
            return Err(damaged);
        }
        let payload = bytes.slice(from..at);
        if Crc32c::of(&payload) != header.piece.crc {
            return Err(damaged);
        }
        next = header.piece.block_end();
        pieces.push(header.piece);
        payloads.push(payload);
    }
    if next != span.end {
        return Err(DamagedAt(span.start));
    }
    Ok(BlockBytes {
        pieces,
        bytes: Gathered(payloads),
    })
}
