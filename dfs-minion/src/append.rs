//! Appends: written here and, at the same time, passed on to the next minion of the chain.
//!
//! An append waits for the one before it, for a while: small ones take a shorter way than large ones
//! (see [`SPREAD_BYTES_MAX`]), and come first to who is at the end of both. From the moment it is
//! accepted its bytes go two ways at once, and the answer comes when both have arrived: it says what
//! every replica from here on has. When a minion behind fails, the bytes here stay and the answer
//! names who failed.

use crate::store::{Accepted, Block, Pending, Store};
use bytes::Bytes;
use dfs_proto::{
    block::Piece,
    checksum::Crc32c,
    error::BlockError,
    extent::{BLOCK_BYTES_MAX, PIECE_BYTES_MAX},
    id::{MinionId, SessionId},
    service::{Append, Appended, MinionClient},
    wire::{Address, Pool, within},
};
use futures::future::try_join_all;
use parking_lot::RwLock;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tarpc::client::RpcError;
use tokio::time::{Instant, timeout_at};

/// Payload bytes of one append, at the most.
const APPEND_BYTES_MAX: usize = 8 << 20;

/// Up to so many payload bytes, an append goes from the first minion to all others at once: one
/// passage less to wait for, where larger ones would have to share the way out.
const SPREAD_BYTES_MAX: usize = 64 << 10;

/// How long an append waits for the one before it: as long as a large one may take down the chain
/// while the small one behind it came at once.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(2);

/// The longest that any append may take, whatever it asks for.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Payload bytes that are compared at once when an append is repeated.
const COMPARED_BYTES: u32 = 512 << 10;

/// The sessions whose appends are refused, as the master told last.
#[derive(Default)]
pub(crate) struct Fenced(RwLock<HashSet<SessionId>>);

impl Fenced {
    /// Takes over what the master says.
    pub(crate) fn set(&self, sessions: &[SessionId]) {
        let same = {
            let known = self.0.read();
            known.len() == sessions.len() && sessions.iter().all(|one| known.contains(one))
        };
        if !same {
            *self.0.write() = sessions.iter().copied().collect();
        }
    }

    fn check(&self, session: SessionId) -> Result<(), BlockError> {
        match self.0.read().contains(&session) {
            true => Err(BlockError::Fenced(session)),
            false => Ok(()),
        }
    }
}

/// Where appends go: the store here, and the minions behind.
pub(crate) struct Appender {
    pub(crate) store: Arc<Store>,
    pub(crate) minions: Pool<MinionClient>,
    pub(crate) fenced: Arc<Fenced>,
}

impl Appender {
    /// Appends here and down the chain.
    pub(crate) async fn append(&self, append: Append) -> Result<Appended, BlockError> {
        self.fenced.check(append.session)?;
        self.append_ordered(append).await
    }

    /// As [`Appender::append`], where the master has ordered it: it may be a block of a session that
    /// is fenced.
    pub(crate) async fn append_ordered(&self, append: Append) -> Result<Appended, BlockError> {
        check(&append)?;
        let asked = Duration::from_millis(u64::from(append.timeout_ms));
        let deadline = Instant::now() + asked.min(TIMEOUT_MAX);
        let work = self.append_all(&append, deadline);
        timeout_at(deadline, work).await.unwrap_or_else(|_| {
            let why = format!("an append took more than {} ms", append.timeout_ms);
            Err(BlockError::Unavailable(why))
        })
    }

    async fn append_all(&self, append: &Append, deadline: Instant) -> Result<Appended, BlockError> {
        let (block, here) = self.accept(append, deadline).await?;
        let here = block.settled(here);
        let (here, next) = tokio::try_join!(here, self.pass_on(append, deadline))?;
        Ok(match next {
            None => Appended {
                length: here.length,
                synced: here.synced,
            },
            Some(next) => Appended {
                length: here.length.min(next.length),
                synced: here.synced.min(next.synced),
            },
        })
    }

    /// Has the store take the append, after the one before it.
    async fn accept(
        &self,
        append: &Append,
        deadline: Instant,
    ) -> Result<(Arc<Block>, Pending), BlockError> {
        let (mut pieces, mut bytes) = (&append.pieces[..], append.bytes.0.clone());
        let patience = deadline.min(Instant::now() + PREDECESSOR_WAIT);
        loop {
            let (id, session) = (append.block, append.session);
            let (block, accepted) = self
                .store
                .accept(id, session, pieces, &bytes, append.sync)?;
            match accepted {
                Accepted::Queued(pending) => return Ok((block, pending)),
                Accepted::Early { length } => {
                    let start = pieces.first().map_or(0, |piece| piece.block_offset);
                    let waited = timeout_at(patience, block.wait_for_predecessor(start)).await;
                    if waited.is_err() {
                        self.store.forget_unmade(&block);
                        return Err(BlockError::Gap { block: id, length });
                    }
                }
                Accepted::Repeat { accepted } => {
                    let known = pieces.partition_point(|piece| piece.block_end() <= accepted);
                    self.compare(&block, &pieces[..known], accepted).await?;
                    let len: u32 = pieces[..known].iter().map(|piece| piece.len).sum();
                    pieces = &pieces[known..];
                    bytes = bytes.slice(len as usize..);
                    match pieces.first() {
                        None => return self.repeated(block, append),
                        Some(piece) if piece.block_offset < accepted => {
                            let offset = piece.block_offset;
                            return Err(BlockError::Conflict { block: id, offset });
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }

    /// Whether these are the pieces that are here already.
    async fn compare(
        &self,
        block: &Arc<Block>,
        pieces: &[Piece],
        accepted: u32,
    ) -> Result<(), BlockError> {
        block.wait_written(accepted).await;
        let mut rest = pieces;
        while let Some(first) = rest.first() {
            let until = first.block_offset + COMPARED_BYTES;
            let some = rest.partition_point(|piece| piece.block_offset < until);
            let (some, after) = rest.split_at(some);
            let end = some.last().map_or(until, Piece::block_end);
            let here = self
                .store
                .read(block.id, first.block_offset, end, None)
                .await?;
            if here.pieces != some {
                let pairs = here.pieces.iter().zip(some);
                let same = pairs.take_while(|(here, there)| here == there).count();
                let offset = some.get(same).unwrap_or(first).block_offset;
                let block = block.id;
                return Err(BlockError::Conflict { block, offset });
            }
            rest = after;
        }
        Ok(())
    }

    /// The answer to an append that is here already.
    fn repeated(
        &self,
        block: Arc<Block>,
        append: &Append,
    ) -> Result<(Arc<Block>, Pending), BlockError> {
        let end = append.pieces.last().map_or(0, Piece::block_end);
        let pending = block.sync_to(if append.sync { end } else { 0 })?;
        Ok((block, pending))
    }

    /// Sends the append to the minions behind: a large one to the next, which passes it on, a
    /// small one to each at once. What they all have; `None` if there are none.
    async fn pass_on(
        &self,
        append: &Append,
        deadline: Instant,
    ) -> Result<Option<Appended>, BlockError> {
        let Some((next, behind)) = append.chain.split_first() else {
            return Ok(None);
        };
        if append.bytes.0.len() > SPREAD_BYTES_MAX {
            let sent = self.pass_to(next, behind, append, deadline);
            return sent.await.map(Some);
        }
        let each = append.chain.iter();
        let sent = each.map(|minion| self.pass_to(minion, &[], append, deadline));
        let sent = try_join_all(sent).await?;
        Ok(sent.into_iter().reduce(|one, other| Appended {
            length: one.length.min(other.length),
            synced: one.synced.min(other.synced),
        }))
    }

    async fn pass_to(
        &self,
        (minion, addresses): &(MinionId, Vec<String>),
        behind: &[(MinionId, Vec<String>)],
        append: &Append,
        deadline: Instant,
    ) -> Result<Appended, BlockError> {
        // What is left for the answer to come back here in time.
        let left = deadline.saturating_duration_since(Instant::now()) * 9 / 10;
        let message = Append {
            chain: behind.to_vec(),
            timeout_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            ..append.clone()
        };
        let sent = self.send(*minion, addresses, message, left).await;
        sent.map_err(|error| match error {
            // One further down: whoever asked wants to know which.
            Said::Block(BlockError::NextFailed { minion, why }) => {
                BlockError::NextFailed { minion, why }
            }
            error => BlockError::NextFailed {
                minion: *minion,
                why: error.to_string(),
            },
        })
    }

    async fn send(
        &self,
        minion: MinionId,
        addresses: &[String],
        message: Append,
        left: Duration,
    ) -> Result<Appended, Said> {
        let block = message.block;
        let peer = parse(addresses)?;
        let dialed = tokio::time::timeout(left, self.minions.bulk_of(minion, &peer, block.0));
        let client = dialed.await.map_err(|_| Said::Silent)?;
        let client = client.map_err(|error| Said::Unreachable(error.to_string()))?;
        match client.append(within(left), message).await {
            Ok(answer) => answer.map_err(Said::Block),
            Err(RpcError::DeadlineExceeded) => Err(Said::Silent),
            Err(error) => {
                self.minions.drop_link(&peer);
                Err(Said::Unreachable(error.to_string()))
            }
        }
    }
}

/// How the next minion failed.
#[derive(Debug, thiserror::Error)]
enum Said {
    #[error(transparent)]
    Block(BlockError),
    #[error("it did not answer in time")]
    Silent,
    #[error("{0}")]
    Unreachable(String),
}

fn parse(addresses: &[String]) -> Result<Vec<Address>, Said> {
    let parsed = addresses.iter().map(|text| text.parse());
    parsed
        .collect::<Result<_, _>>()
        .map_err(|error: dfs_proto::wire::NotAnAddress| Said::Unreachable(error.to_string()))
}

/// Whether an append keeps the rules: contiguous pieces, of the bytes that came with them.
fn check(append: &Append) -> Result<(), BlockError> {
    let malformed = |why: String| Err(BlockError::Malformed(why));
    let first = append.pieces.first();
    let Some(mut next) = first.map(|piece| piece.block_offset) else {
        return malformed("an append without pieces".into());
    };
    let bytes: &Bytes = &append.bytes.0;
    let mut at = 0;
    if bytes.len() > APPEND_BYTES_MAX {
        return malformed(format!("an append of {} bytes", bytes.len()));
    }
    for piece in &append.pieces {
        let len = piece.len as usize;
        if !(1..=PIECE_BYTES_MAX).contains(&piece.len) || piece.block_offset != next {
            return malformed(format!(
                "{len} bytes at {}, not at {next}",
                piece.block_offset
            ));
        }
        if next > BLOCK_BYTES_MAX - piece.len {
            return malformed(format!("a block has at most {BLOCK_BYTES_MAX} bytes"));
        }
        let Some(payload) = bytes.get(at..at + len) else {
            return malformed("fewer bytes than the pieces say".into());
        };
        if Crc32c::of(payload) != piece.crc {
            return malformed(format!("the bytes at {next} do not match their checksum"));
        }
        at += len;
        next = piece.block_end();
    }
    match at == bytes.len() {
        true => Ok(()),
        false => malformed("more bytes than the pieces say".into()),
    }
}
