//! For tests and measurements: a master that only numbers minions, and a writer of blocks.

use bytes::Bytes;
use dfs_proto::{
    block::{Capability, Piece, ReplicaState},
    checksum::Crc32c,
    error::{BlockError, FsError},
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    log::{Keep, Keeping},
    minion::{Beat, BeatAnswer, Finished, Order, Registered, Registration, Report, Task},
    payload::Payload,
    service::{Append, Appended, Control, MinionClient},
    wire::{
        Accepted, Address, Client, Greeting, Identity, Listener, ServiceKind, answer, channel,
        dial, serve, within,
    },
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tarpc::{context::Context, server::Channel};
use tokio_util::sync::CancellationToken;

pub const FILESYSTEM: FilesystemId = FilesystemId(0xf00d);
pub const SESSION: SessionId = SessionId(1 << 40 | 3);
pub const TIMEOUT: Duration = Duration::from_secs(3);

/// What the master knows.
#[derive(Default)]
pub struct Known {
    pub registered: BTreeMap<MinionId, Registration>,
    pub beats: BTreeMap<MinionId, Beat>,
    pub lost: Vec<BlockId>,
    pub changed: Vec<ReplicaState>,
    pub finished: Vec<Finished>,
    pub reported: BTreeMap<MinionId, Vec<ReplicaState>>,
    pub orders: Vec<(MinionId, Order)>,
    pub fenced: Vec<SessionId>,
    pub want_report: bool,
    pub forget: bool,
}

#[derive(Clone, Default)]
pub struct Master {
    pub known: Arc<Mutex<Known>>,
}

impl Control for Master {
    async fn register(self, _: Context, hello: Registration) -> Result<Registered, FsError> {
        if let Some(theirs) = hello.filesystem.filter(|fs| *fs != FILESYSTEM) {
            let ours = FILESYSTEM;
            return Err(FsError::WrongFilesystem { ours, theirs });
        }
        let mut known = self.known.lock();
        let next = MinionId(u32::try_from(known.registered.len()).expect("few") + 1);
        let minion = hello.minion.unwrap_or(next);
        known.registered.insert(minion, hello);
        Ok(Registered {
            filesystem: FILESYSTEM,
            minion,
            beat_interval_ms: 20,
            incarnation: 1,
        })
    }

    async fn beat(self, _: Context, beat: Beat) -> Result<BeatAnswer, FsError> {
        let mut known = self.known.lock();
        if std::mem::take(&mut known.forget) {
            return Err(FsError::UnknownMinion(beat.minion));
        }
        known.lost.extend(&beat.lost);
        known.changed.extend(&beat.changed);
        for finished in &beat.finished {
            known
                .orders
                .retain(|(_, order)| order.number != finished.number);
            known.finished.push(finished.clone());
        }
        let minion = beat.minion;
        known.beats.insert(minion, beat);
        let orders = known.orders.iter().filter(|(whom, _)| *whom == minion);
        Ok(BeatAnswer {
            orders: orders.map(|(_, order)| order.clone()).collect(),
            fenced: known.fenced.clone(),
            report: known.want_report,
        })
    }

    async fn report(self, _: Context, report: Report) -> Result<(), FsError> {
        let mut known = self.known.lock();
        known.want_report = false;
        known.reported.insert(report.minion, report.replicas);
        Ok(())
    }

    async fn keep(self, _: Context, _: Keep) -> Result<Keeping, FsError> {
        Ok(Keeping::Others)
    }
}

impl Master {
    /// Serves at an address until `shutdown`; where.
    pub async fn start(&self, address: &str, shutdown: CancellationToken) -> String {
        let at: Address = address.parse().expect("an address");
        let listener = Listener::bind(&at).await.expect("free");
        let bound = listener.address().to_string();
        let identity = || Identity {
            filesystem: Some(FILESYSTEM),
            minion: None,
            build: "test".to_owned(),
        };
        let master = self.clone();
        let stop = shutdown.clone();
        let services = move |accepted: Accepted| {
            let requests = channel(accepted.link).execute(master.clone().serve());
            tokio::spawn(answer(requests, stop.clone()));
        };
        tokio::spawn(serve(
            listener,
            Arc::new(identity),
            Arc::new(services),
            shutdown,
        ));
        bound
    }

    /// Waits until something is known.
    pub async fn until(&self, what: &str, ready: impl Fn(&Known) -> bool) {
        let waiting = async {
            while !ready(&self.known.lock()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .unwrap_or_else(|_| panic!("waited in vain until {what}"));
    }

    /// Gives an order and waits for its end.
    pub async fn order(
        &self,
        minion: MinionId,
        number: u64,
        block: BlockId,
        task: Task,
    ) -> Finished {
        let order = Order {
            term: 1,
            number,
            block,
            task,
        };
        self.known.lock().orders.push((minion, order));
        let ended = |known: &Known| known.finished.iter().any(|f| f.number == number);
        self.until("an order is carried out", ended).await;
        let known = self.known.lock();
        let finished = known.finished.iter().find(|f| f.number == number);
        finished.expect("waited for").clone()
    }
}

/// A client of the minion at an address.
pub async fn connect(address: &str) -> MinionClient {
    let greeting = Greeting {
        service: ServiceKind::Minion,
        filesystem: Some(FILESYSTEM),
    };
    let address = address.parse().expect("an address");
    let dialed = dial(&address, &greeting, TIMEOUT).await.expect("listening");
    MinionClient::over(dialed.link)
}

/// The bytes of a block.
pub fn content(block: BlockId, start: u32, len: u32) -> Bytes {
    let byte = |at: u32| {
        let mixed = (block.0 << 32 | u64::from(at)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.to_be_bytes()[0]
    };
    (start..start + len).map(byte).collect()
}

/// An append of `bytes` in pieces of at most `piece` bytes.
pub fn append_of(
    block: BlockId,
    start: u32,
    bytes: Bytes,
    piece: u32,
    chain: &[(MinionId, Vec<String>)],
) -> Append {
    let mut pieces = Vec::new();
    let mut at = start;
    for part in bytes.chunks(piece as usize) {
        let len = u32::try_from(part.len()).expect("a piece");
        pieces.push(Piece {
            block_offset: at,
            len,
            crc: Crc32c::of(part),
            inode: InodeId(7),
            file_offset: u64::from(at),
            sequence: u64::from(at),
        });
        at += len;
    }
    Append {
        capability: Capability::default(),
        session: SESSION,
        block,
        pieces,
        bytes: Payload(bytes),
        chain: chain.to_vec(),
        sync: false,
        timeout_ms: 3000,
    }
}

/// Sends an append.
pub async fn send(client: &MinionClient, append: Append) -> Result<Appended, BlockError> {
    let answer = client.append(within(TIMEOUT), append).await;
    answer.expect("the link holds")
}
