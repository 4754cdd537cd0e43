//! Copies what is alive of worn blocks into a new one, in the order that the master says.
//!
//! The bytes are read here, where every one of them is, verified, cut to what is wanted, joined where
//! they follow each other in a file, and appended down a chain as a writer would. Slowly: whoever
//! reads and writes files comes first.

use crate::{
    append::Appender,
    pace::{Pace, Urgency},
    store::{READ_BYTES_MAX, Store},
};
use bytes::{Bytes, BytesMut};
use dfs_proto::{
    block::Piece,
    checksum::Crc32c,
    error::BlockError,
    extent::PIECE_BYTES_MAX,
    id::{BlockId, MinionId, SessionId},
    minion::BlockRange,
    payload::Payload,
    service::Append,
};
use std::{sync::Arc, time::Duration};

/// Bytes of one append.
const BATCH_BYTES: usize = 1 << 20;

/// Pieces of one append.
const BATCH_PIECES: usize = 1024;

/// One append may take so long.
const APPEND_MS: u32 = 10_000;

/// A whole block may take so long, at the least rate and beside others.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(400);

/// The new block.
pub(crate) struct Target<'a> {
    pub(crate) block: BlockId,
    /// Whose it is.
    pub(crate) session: SessionId,
    /// Who has it besides this minion.
    pub(crate) chain: &'a [(MinionId, Vec<String>)],
}

/// Copies `sources` into the target. The seal that follows syncs it on every minion.
pub(crate) async fn rewrite(
    store: &Arc<Store>,
    appender: &Appender,
    pace: &Pace,
    target: &Target<'_>,
    sources: &[BlockRange],
) -> Result<(), BlockError> {
    let mut batch = Batch::default();
    for source in sources {
        let mut at = source.start;
        while at < source.end {
            let upto = source.end.min(at + READ_BYTES_MAX);
            let read = store.read(source.block, at, upto, None).await?;
            for (piece, bytes) in read.pieces.iter().zip(&read.bytes.0) {
                let from = at.max(piece.block_offset) - piece.block_offset;
                let to = upto.min(piece.block_end()) - piece.block_offset;
                let part = bytes.slice(from as usize..to as usize);
                batch.take(piece, from, part);
                if batch.bytes >= BATCH_BYTES || batch.pieces.len() >= BATCH_PIECES {
                    pace.turn(2 * batch.bytes, Urgency::Someday).await;
                    batch.send(appender, target).await?;
                }
            }
            at = upto;
        }
    }
    batch.send(appender, target).await
}

/// Pieces that are not sent yet.
#[derive(Default)]
struct Batch {
    sent: u32,
    pieces: Vec<(Piece, BytesMut)>,
    bytes: usize,
}

impl Batch {
    /// Adds a part of a piece, from its `from`-th byte on.
    fn take(&mut self, of: &Piece, from: u32, mut part: Bytes) {
        // For people only, who find on a disk what a writer claimed.
        let mut file_offset = of.file_offset.saturating_add(u64::from(from));
        self.bytes += part.len();
        if let Some((last, bytes)) = self.pieces.last_mut()
            && last.inode == of.inode
            && last.file_offset.checked_add(bytes.len() as u64) == Some(file_offset)
        {
            let room = (PIECE_BYTES_MAX as usize).saturating_sub(bytes.len());
            let joined = part.split_to(room.min(part.len()));
            bytes.extend_from_slice(&joined);
            file_offset = file_offset.saturating_add(joined.len() as u64);
        }
        if !part.is_empty() {
            let piece = Piece { file_offset, ..*of };
            self.pieces.push((piece, BytesMut::from(&part[..])));
        }
    }

    async fn send(&mut self, appender: &Appender, target: &Target<'_>) -> Result<(), BlockError> {
        let mut bytes = BytesMut::with_capacity(std::mem::take(&mut self.bytes));
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for (n, (piece, payload)) in (u64::from(self.sent)..).zip(self.pieces.drain(..)) {
            let len = u32::try_from(payload.len()).expect("at most a piece");
            pieces.push(Piece {
                block_offset: self.sent,
                len,
                crc: Crc32c::of(&payload),
                sequence: n,
                ..piece
            });
            self.sent += len;
            bytes.extend_from_slice(&payload);
        }
        if pieces.is_empty() {
            return Ok(());
        }
        let append = Append {
            capability: Default::default(),
            session: target.session,
            block: target.block,
            pieces,
            bytes: Payload(bytes.freeze()),
            chain: target.chain.to_vec(),
            sync: false,
            timeout_ms: APPEND_MS,
        };
        appender.append(append).await.map(drop)
    }
}
