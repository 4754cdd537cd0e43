//! Copies a sealed block from minions that have it, so that it is here as it is there.
//!
//! Every piece is verified as it arrives, and where one source has damaged bytes or is silent the next
//! one is asked for them: of several damaged replicas a whole one can come. What was given up has no
//! bytes any more: zeros take its place, and are given up here too. At the end all of it is read back
//! from the disk.

use crate::{
    append::Appender,
    pace::{Pace, Urgency},
    store::Store,
};
use bytes::{Bytes, BytesMut};
use dfs_proto::{
    block::{Capability, Piece, ReplicaState},
    checksum::Crc32c,
    error::BlockError,
    extent::PIECE_BYTES_MAX,
    id::{BlockId, InodeId, MinionId, SessionId},
    payload::Payload,
    service::{Append, BlockBytes, GivenUp, MinionClient},
    wire::{Address, within},
};
use std::{sync::Arc, time::Duration};

/// Payload bytes of one read and one append.
const BATCH_BYTES: u32 = 1 << 20;

/// A source may take so long for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// One append may take so long.
const APPEND_MS: u32 = 10_000;

/// A whole block may take so long, at the least rate and beside others.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(400);

/// Why a block was not copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Uncopied {
    /// No source has what is wanted; what each said.
    #[error("no source has the bytes at {at}: {said}")]
    NoSource {
        /// Payload offset.
        at: u32,
        /// What they said.
        said: String,
    },
    /// It cannot be kept here.
    #[error("it cannot be kept here: {0}")]
    Here(#[from] BlockError),
    /// It was written, and is not what was read back.
    #[error("what was written cannot be read back: the disk is not to be trusted")]
    NotReadBack,
}

/// What is to be here.
pub(crate) struct Target {
    pub(crate) block: BlockId,
    /// Whose the block was.
    pub(crate) session: SessionId,
    /// Payload bytes.
    pub(crate) length: u32,
    /// How much the copy makes way for others.
    pub(crate) urgency: Urgency,
}

/// Who has it, the one that answered last first.
struct Sources<'a> {
    appender: &'a Appender,
    block: BlockId,
    minions: Vec<(MinionId, Vec<Address>)>,
}

/// Copies the target; it is sealed, synced and read back when this is done.
pub(crate) async fn copy(
    store: &Arc<Store>,
    appender: &Appender,
    pace: &Pace,
    target: &Target,
    sources: &[(MinionId, Vec<String>)],
) -> Result<ReplicaState, Uncopied> {
    let addresses = |of: &Vec<String>| of.iter().filter_map(|text| text.parse().ok()).collect();
    let minions = sources.iter().map(|(minion, of)| (*minion, addresses(of)));
    let mut sources = Sources {
        appender,
        block: target.block,
        minions: minions.collect(),
    };
    if let Some(there) = already(store, target).await? {
        return Ok(there);
    }
    store.may_make(target.block);
    let mut given_up = sources.given_up().await?;
    let mut at = 0;
    while at < target.length {
        let step = match next(&given_up, at, target.length) {
            Next::GivenUp(end) => zeros(at, end),
            Next::There(end) => {
                let end = end.min(at + BATCH_BYTES);
                pace.turn((end - at) as usize, target.urgency).await;
                let read = match sources.read(at, end, target.length).await {
                    // Perhaps each of them lacks another part of it.
                    Err(Uncopied::NoSource { .. }) if end - at > 1 => {
                        sources.read(at, at + 1, target.length).await
                    }
                    read => read,
                };
                match read? {
                    Some(bytes) => bytes,
                    // More was given up meanwhile.
                    None => {
                        given_up = sources.given_up().await?;
                        continue;
                    }
                }
            }
        };
        at = append(appender, target, step).await?;
    }
    finish(store, target, given_up).await
}

/// What an earlier attempt has left, if it is whole: an order may be carried out again before the
/// master has heard of its end. Anything else is removed.
async fn already(store: &Arc<Store>, target: &Target) -> Result<Option<ReplicaState>, BlockError> {
    let Some(there) = store.replica(target.block) else {
        return Ok(None);
    };
    if there.sealed && there.length == target.length {
        let verified = store.look(target.block, true).await?.replica;
        if !verified.damaged {
            return Ok(Some(verified));
        }
    }
    store.drop_blocks(&[target.block]).await?;
    Ok(None)
}

/// Seals the copy, gives up in it what was given up, and reads it back.
async fn finish(
    store: &Arc<Store>,
    target: &Target,
    given_up: GivenUp,
) -> Result<ReplicaState, Uncopied> {
    store.seal(target.block, target.length).await?;
    if given_up.count > 0 {
        let GivenUp { count, ranges } = given_up;
        store.punch(target.block, count, ranges).await?;
    }
    let there = store.look(target.block, true).await?.replica;
    match there.damaged {
        true => Err(Uncopied::NotReadBack),
        false => Ok(there),
    }
}

async fn append(
    appender: &Appender,
    target: &Target,
    (pieces, bytes): (Vec<Piece>, Bytes),
) -> Result<u32, BlockError> {
    let append = Append {
        capability: Capability::default(),
        session: target.session,
        block: target.block,
        pieces,
        bytes: Payload(bytes),
        chain: Vec::new(),
        sync: false,
        timeout_ms: APPEND_MS,
    };
    let end = append.pieces.last().map_or(0, Piece::block_end);
    appender.append_ordered(append).await?;
    Ok(end)
}

/// What stands at an offset, and up to where.
enum Next {
    GivenUp(u32),
    There(u32),
}

/// What stands at `at` in a block of this length of which so much was given up.
fn next(given_up: &GivenUp, at: u32, length: u32) -> Next {
    let ranges = &given_up.ranges;
    match ranges.get(ranges.partition_point(|(_, end)| *end <= at)) {
        Some((start, end)) if *start <= at => Next::GivenUp(length.min(*end).min(at + BATCH_BYTES)),
        Some((start, _)) => Next::There(length.min(*start)),
        None => Next::There(length),
    }
}

/// Pieces of zeros that are nobody's.
fn zeros(start: u32, end: u32) -> (Vec<Piece>, Bytes) {
    let mut pieces = Vec::new();
    let mut at = start;
    let whole = vec![0; PIECE_BYTES_MAX as usize];
    while at < end {
        let len = (end - at).min(PIECE_BYTES_MAX);
        pieces.push(Piece {
            block_offset: at,
            len,
            crc: Crc32c::of(&whole[..len as usize]),
            inode: InodeId(0),
            file_offset: 0,
            sequence: 0,
        });
        at += len;
    }
    (pieces, BytesMut::zeroed((end - start) as usize).freeze())
}

/// The pieces of an answer, if they are what was asked for: whole pieces from `at` on, undamaged, and
/// nothing behind `length`.
fn check(answer: BlockBytes, at: u32, length: u32) -> Result<(Vec<Piece>, Bytes), String> {
    let bytes = answer.bytes.joined();
    let (mut next, mut from) = (at, 0);
    for piece in &answer.pieces {
        let payload = bytes.get(from..from + piece.len as usize);
        let Some(payload) = payload.filter(|_| piece.block_offset == next) else {
            return Err(format!("the piece at {} is misplaced", piece.block_offset));
        };
        if Crc32c::of(payload) != piece.crc {
            return Err(format!("the piece at {next} does not match its checksum"));
        }
        (next, from) = (piece.block_end(), from + payload.len());
    }
    match next > at && next <= length && from == bytes.len() {
        true => Ok((answer.pieces, bytes)),
        false => Err(format!("pieces up to {next} of {length}")),
    }
}

impl Sources<'_> {
    async fn given_up(&mut self) -> Result<GivenUp, Uncopied> {
        let block = self.block;
        let ask = |client: MinionClient| async move {
            let asked = client.given_up(within(ANSWER_MAX), Capability::default(), block);
            let answer = asked.await.map_err(|error| error.to_string())?;
            answer.map_err(|error| error.to_string())
        };
        self.first(0, ask).await
    }

    /// The whole pieces from `at` on, up to the one that has `end`; `None` where the source says that
    /// they were given up.
    async fn read(
        &mut self,
        at: u32,
        end: u32,
        length: u32,
    ) -> Result<Option<(Vec<Piece>, Bytes)>, Uncopied> {
        let block = self.block;
        let ask = |client: MinionClient| async move {
            let asked = client.read(within(ANSWER_MAX), Capability::default(), block, at, end);
            match asked.await.map_err(|error| error.to_string())? {
                Ok(answer) => check(answer, at, length).map(Some),
                Err(BlockError::Gone(_)) => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        };
        self.first(at, ask).await
    }

    /// The answer of the first source that has one; who had none is asked last from then on.
    async fn first<T, Answer: Future<Output = Result<T, String>>>(
        &mut self,
        at: u32,
        ask: impl Fn(MinionClient) -> Answer,
    ) -> Result<T, Uncopied> {
        let mut said = Vec::new();
        for _ in 0..self.minions.len() {
            let (minion, addresses) = &self.minions[0];
            let dialed = self
                .appender
                .minions
                .bulk_of(*minion, addresses, self.block.0);
            let answer = match tokio::time::timeout(ANSWER_MAX, dialed).await {
                Ok(Ok(client)) => ask(client).await,
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("it did not answer in time".to_owned()),
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(why) => said.push(format!("minion {minion}: {why}")),
            }
            self.minions.rotate_left(1);
        }
        let said = match said.is_empty() {
            true => "there is none".to_owned(),
            false => said.join("; "),
        };
        Err(Uncopied::NoSource { at, said })
    }
}
