//! For tests: a store on a simulated disk beside what it must hold, as plainly as can be.
//!
//! The bytes of a block follow from its id, so the oracle only remembers where pieces end, how far
//! the block was acknowledged, and how far it was acknowledged as synced.

use super::{
    block::{Pending, Reach},
    drive::Drive,
    shelf::Store,
    write::Accepted,
};
use bytes::Bytes;
use dfs_host::{
    clock::ManualClock,
    disk::{Crash, SimulatedDisk},
};
use dfs_proto::{
    block::{Piece, ReplicaState},
    checksum::Crc32c,
    error::BlockError,
    id::{BlockId, DiskId, FilesystemId, InodeId, SessionId},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, sync::Arc};

pub(super) const FILESYSTEM: FilesystemId = FilesystemId(0xf5);
pub(super) const SESSION: SessionId = SessionId(5);

/// What must be there of a block.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// All pieces that were ever sent and not cut since.
    pub(super) sent: Vec<Piece>,
    /// Acknowledged.
    pub(super) length: u32,
    /// Acknowledged as synced.
    pub(super) synced: u32,
    /// Acknowledged as sealed.
    pub(super) sealed: bool,
    /// A seal was asked for and not acknowledged.
    pub(super) sealing: bool,
    /// A drop was asked for and not acknowledged.
    pub(super) dropping: bool,
    /// An append failed: the writer sends nothing more.
    pub(super) broken: bool,
    /// Payload ranges that were given up, and by how many orders.
    pub(super) holes: Vec<(u32, u32)>,
    pub(super) orders: u32,
    /// As an order says that was not acknowledged: it may have been carried out or not.
    pub(super) punching: Option<Vec<(u32, u32)>>,
}

impl Expected {
    /// Whether a piece lies in what was given up.
    fn is_hole(&self, piece: &Piece) -> bool {
        let within =
            |(from, to): &(u32, u32)| *from <= piece.block_offset && piece.block_end() <= *to;
        self.holes.iter().any(within)
    }
}

pub(super) struct World {
    pub(super) disk: Arc<SimulatedDisk>,
    pub(super) store: Arc<Store>,
    pub(super) expected: BTreeMap<BlockId, Expected>,
    pub(super) random: StdRng,
    next_block: u64,
}

/// The byte of a block at an offset.
fn byte(block: BlockId, offset: u32) -> u8 {
    let mixed = (block.0 << 32 | u64::from(offset)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[0]
}

pub(super) fn content(block: BlockId, start: u32, end: u32) -> Vec<u8> {
    (start..end).map(|offset| byte(block, offset)).collect()
}

/// Pieces of these lengths from `start` on, with their bytes.
pub(super) fn pieces_of(block: BlockId, start: u32, lens: &[u32]) -> (Vec<Piece>, Bytes) {
    let mut at = start;
    let mut pieces = Vec::new();
    for len in lens {
        pieces.push(Piece {
            block_offset: at,
            len: *len,
            crc: Crc32c::of(&content(block, at, at + len)),
            inode: InodeId(block.0 + 1),
            file_offset: u64::from(at) * 3,
            sequence: u64::from(at),
        });
        at += len;
    }
    (pieces, content(block, start, at).into())
}

pub(super) fn open_store(disk: &Arc<SimulatedDisk>) -> Arc<Store> {
    let drive = Drive::new(DiskId(1), "simulated".into(), disk.clone(), 2, Some(0));
    let drive = Arc::new(drive.expect("a disk that works"));
    let clock = Arc::new(ManualClock::new());
    let store = Store::open(vec![drive], Some(FILESYSTEM), clock);
    Arc::new(store.expect("a disk that works"))
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let disk = SimulatedDisk::new(seed, 64 << 20);
        World {
            store: open_store(&disk),
            disk,
            expected: BTreeMap::new(),
            random: StdRng::seed_from_u64(seed),
            next_block: 1,
        }
    }

    /// Appends pieces of these lengths at `start`; what was acknowledged.
    pub(super) async fn append(
        &self,
        block: BlockId,
        start: u32,
        lens: &[u32],
        sync: bool,
    ) -> Result<Reach, BlockError> {
        let (pieces, bytes) = pieces_of(block, start, lens);
        let (there, accepted) = self.store.accept(block, SESSION, &pieces, &bytes, sync)?;
        let pending: Pending = match accepted {
            Accepted::Queued(pending) => pending,
            Accepted::Early { length } => return Err(BlockError::Gap { block, length }),
            Accepted::Repeat { .. } => panic!("the tests of appends repeat, not these"),
        };
        there.settled(pending).await
    }

    fn any_block(&mut self) -> Option<BlockId> {
        let known = self.expected.len();
        (known > 0).then(|| {
            let n = self.random.random_range(0..known);
            *self.expected.keys().nth(n).expect("below their number")
        })
    }

    /// One random operation, and its mark in the oracle.
    pub(super) async fn step(&mut self) {
        let dice = self.random.random_range(0..100_u32);
        let block = match self.any_block() {
            Some(block) if dice < 90 || self.expected.len() > 12 => block,
            _ => {
                let block = BlockId(self.next_block);
                self.next_block += 1;
                self.expected.insert(block, Expected::default());
                block
            }
        };
        match dice {
            0..5 => self.step_drop(block).await,
            5..12 => self.step_seal(block).await,
            12..20 => self.step_punch(block).await,
            20..30 => self.step_sync(block).await,
            30..45 => self.step_read(block).await,
            _ => self.step_append(block).await,
        }
    }

    async fn step_append(&mut self, block: BlockId) {
        let mut want = self.expected[&block].clone();
        if want.sealed || want.sealing || want.dropping || want.broken {
            return;
        }
        let count = self.random.random_range(1..6);
        let large = self.random.random_range(0..8) == 0;
        let most = if large { 40_000 } else { 2_000 };
        let lens: Vec<u32> = (0..count)
            .map(|_| self.random.random_range(1..most))
            .collect();
        let sync = self.random.random_range(0..3) == 0;
        let (pieces, _) = pieces_of(block, want.length, &lens);
        want.sent.extend(&pieces);
        match self.append(block, want.length, &lens, sync).await {
            Ok(reach) => {
                want.length = pieces.last().expect("not none").block_end();
                assert_eq!(reach.length, want.length);
                want.synced = want.synced.max(reach.synced);
                assert!(!sync || want.synced == want.length);
            }
            Err(_) => want.broken = true,
        }
        self.expected.insert(block, want);
    }

    async fn step_sync(&mut self, block: BlockId) {
        let end = self.expected[&block].length;
        let Some(there) = self.store.block(block) else {
            return;
        };
        if let Ok(pending) = there.sync_to(end)
            && there.settled(pending).await.is_ok()
        {
            let want = self.expected.get_mut(&block).expect("known");
            want.synced = want.synced.max(end);
        }
    }

    async fn step_seal(&mut self, block: BlockId) {
        let want = self.expected[&block].clone();
        if want.sealed || want.dropping || want.length == 0 {
            return;
        }
        let ends: Vec<u32> = want.sent.iter().map(Piece::block_end).collect();
        let ends: Vec<u32> = ends.into_iter().filter(|end| *end <= want.length).collect();
        let at = match self.random.random_range(0..4) {
            0 => ends[self.random.random_range(0..ends.len())],
            _ => want.length,
        };
        let sealed = self.store.seal(block, at).await;
        let want = self.expected.get_mut(&block).expect("known");
        match sealed {
            Ok(replica) => {
                assert_eq!((replica.length, replica.synced), (at, at));
                assert!(replica.sealed);
                want.sent.retain(|piece| piece.block_end() <= at);
                (want.length, want.synced, want.sealed) = (at, at, true);
            }
            Err(_) => {
                want.sealing = true;
                want.synced = want.synced.min(at);
            }
        }
    }

    async fn step_punch(&mut self, block: BlockId) {
        let mut want = self.expected[&block].clone();
        if want.dropping || want.punching.is_some() {
            return;
        }
        let mut ranges = want.holes.clone();
        for _ in 0..self.random.random_range(1..4) {
            let from = self.random.random_range(0..=want.length);
            ranges.push((from, self.random.random_range(from..=want.length)));
        }
        let count = want.orders + 1;
        if !want.sealed && !want.sealing {
            let early = self.store.punch(block, count, ranges).await;
            assert!(early.is_err(), "only sealed blocks are punched");
            return;
        }
        match self.store.punch(block, count, ranges.clone()).await {
            Ok(replica) => {
                assert_eq!(replica.punched, count);
                (want.holes, want.orders) = (ranges, count);
            }
            Err(_) => want.punching = Some(ranges),
        }
        self.expected.insert(block, want);
    }

    async fn step_drop(&mut self, block: BlockId) {
        match self.store.drop_blocks(&[block]).await {
            Ok(()) if self.store.drives()[0].failed().is_none() => {
                self.expected.remove(&block);
                assert_eq!(self.store.replica(block), None);
            }
            _ => self.expected.get_mut(&block).expect("known").dropping = true,
        }
    }

    async fn step_read(&mut self, block: BlockId) {
        let length = self.expected[&block].length;
        if length == 0 {
            return;
        }
        let start = self.random.random_range(0..length);
        let end = self.random.random_range(start + 1..=length);
        if let Ok(bytes) = self.read(block, start, end).await {
            assert_eq!(bytes, content(block, start, end));
        }
    }

    /// The bytes of `[start, end)`, after checking that the pieces around them are whole.
    pub(super) async fn read(
        &self,
        block: BlockId,
        start: u32,
        end: u32,
    ) -> Result<Vec<u8>, BlockError> {
        let mut bytes = Vec::new();
        let mut at = start;
        while at < end {
            let part = self
                .store
                .read(block, at, end.min(at + (1 << 20)), None)
                .await?;
            let first = part.pieces[0].block_offset;
            let all: Vec<u8> = part.bytes.joined().to_vec();
            let last = part.pieces[part.pieces.len() - 1].block_end();
            assert!(first <= at && last as usize == first as usize + all.len());
            let upto = end.min(last);
            bytes.extend(&all[(at - first) as usize..(upto - first) as usize]);
            at = upto;
        }
        Ok(bytes)
    }

    /// Crashes, opens again, and checks that all is there that must be, and nothing that cannot be.
    pub(super) async fn crash(&mut self, how: Crash) {
        self.disk.crash(how);
        self.store = open_store(&self.disk);
        let found = self.store.replicas();
        let again = open_store(&self.disk.crashed(Crash::PowerAtWorst));
        assert_eq!(
            again.replicas(),
            found,
            "recovery is durable and idempotent"
        );
        let by_id: BTreeMap<_, _> = found.iter().map(|r| (r.block, *r)).collect();
        for block in by_id.keys() {
            assert!(self.expected.contains_key(block), "{block} was dropped");
        }
        let expected = std::mem::take(&mut self.expected);
        for (block, want) in expected {
            match by_id.get(&block) {
                None => assert!(
                    want.dropping || want.synced == 0 && (how != Crash::Kill || want.length == 0),
                    "{block} is lost: {want:?}"
                ),
                Some(there) => {
                    let want = self.check(block, want, there, how).await;
                    self.expected.insert(block, want);
                }
            }
        }
    }

    async fn check(
        &self,
        block: BlockId,
        mut want: Expected,
        there: &ReplicaState,
        how: Crash,
    ) -> Expected {
        assert!(!there.damaged, "{there:?} {want:?}");
        assert_eq!(there.synced, there.length);
        assert!(there.length >= want.synced, "{there:?} {want:?}");
        if how == Crash::Kill && !want.sealing {
            assert!(there.length >= want.length, "{there:?} {want:?}");
        }
        assert!(!want.sealed || (there.sealed && there.length == want.length));
        assert!(!there.sealed || want.sealed || want.sealing);
        let kept = want.sent.partition_point(|p| p.block_end() <= there.length);
        want.sent.truncate(kept);
        let end = want.sent.last().map_or(0, Piece::block_end);
        assert_eq!(end, there.length, "whole pieces are kept");
        if let Some(ranges) = want.punching.take()
            && there.punched == want.orders + 1
        {
            (want.holes, want.orders) = (ranges, there.punched);
        }
        assert_eq!(there.punched, want.orders);
        self.check_bytes(block, &want).await;
        Expected {
            sent: want.sent,
            length: end,
            synced: end,
            sealed: there.sealed,
            holes: want.holes,
            orders: want.orders,
            ..Expected::default()
        }
    }

    /// Every piece has its bytes, or was given up if that was ordered.
    pub(super) async fn check_bytes(&self, block: BlockId, want: &Expected) {
        for piece in &want.sent {
            let (start, end) = (piece.block_offset, piece.block_end());
            match self.read(block, start, end).await {
                Ok(bytes) => {
                    assert!(
                        bytes == content(block, start, end),
                        "wrong bytes in {block}"
                    );
                    assert!(!want.is_hole(piece), "{piece:?} is there still");
                }
                Err(BlockError::Gone(_)) => assert!(want.is_hole(piece), "{piece:?} is gone"),
                Err(error) => panic!("{error}: nothing is damaged"),
            }
        }
    }
}
