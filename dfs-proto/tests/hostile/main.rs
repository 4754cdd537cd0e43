//! What the other side may send, whoever it is: never a panic, a hang, or memory beyond a frame.

mod frames;

use bytes::Bytes;
use dfs_hostile::{Counting, Random, peak_of};
use dfs_proto::{
    block::{Capability, ReplicaState},
    error::BlockError,
    id::{BlockId, MinionId, SessionId},
    log::{Keepsake, KeepsakeFile},
    payload::{Gathered, Payload},
    service::{
        AdminRequest, AdminResponse, Append, Appended, BlockBytes, ControlRequest, ControlResponse,
        GivenUp, Look, Looked, MasterRequest, MasterResponse, Minion, MinionRequest,
        MinionResponse,
    },
    wire::{FRAME_BYTES_MAX, Framed, Incoming, Link, Outgoing, answer, channel, transport, within},
};
use frames::{BOMBS, bombs, hostile};
use futures::{SinkExt, StreamExt};
use std::{
    io,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tarpc::{ClientMessage, Request, Response, server::Channel};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames in all.
const STREAMS: usize = 100_000;
/// What a link may allocate: a frame, and the link itself.
const ALLOCATED_MAX: usize = FRAME_BYTES_MAX + (1 << 20);

/// A minion that takes everything and has nothing.
#[derive(Clone)]
struct Deaf;

impl Minion for Deaf {
    async fn append(self, _: tarpc::context::Context, _: Append) -> Result<Appended, BlockError> {
        let (length, synced) = (0, 0);
        Ok(Appended { length, synced })
    }

    async fn sync(
        self,
        _: tarpc::context::Context,
        _: Capability,
        _: BlockId,
        _: u32,
    ) -> Result<(), BlockError> {
        Ok(())
    }

    async fn read(
        self,
        _: tarpc::context::Context,
        _: Capability,
        block: BlockId,
        _: u32,
        _: u32,
    ) -> Result<BlockBytes, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn measure(
        self,
        _: tarpc::context::Context,
        _: Capability,
        block: BlockId,
    ) -> Result<ReplicaState, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn given_up(
        self,
        _: tarpc::context::Context,
        _: Capability,
        block: BlockId,
    ) -> Result<GivenUp, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn whoami(self, _: tarpc::context::Context) -> Option<MinionId> {
        None
    }

    async fn look(
        self,
        _: tarpc::context::Context,
        _: Capability,
        block: BlockId,
        _: Look,
    ) -> Result<Looked, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn held(
        self,
        _: tarpc::context::Context,
        _: Capability,
        _: BlockId,
        _: u32,
    ) -> Result<Vec<ReplicaState>, BlockError> {
        Ok(Vec::new())
    }

    async fn keepsake(self, _: tarpc::context::Context) -> Result<Option<Keepsake>, BlockError> {
        Ok(None)
    }

    async fn read_keepsake(
        self,
        _: tarpc::context::Context,
        _: KeepsakeFile,
        _: u64,
    ) -> Result<Payload, BlockError> {
        Ok(Payload::default())
    }
}

/// A peer that says these bytes, hangs up, and takes whatever it is told.
struct Caller {
    says: Vec<u8>,
    said: usize,
    at_once: usize,
}

impl AsyncRead for Caller {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.says[self.said..];
        let now = rest.len().min(self.at_once).min(into.remaining());
        into.put_slice(&rest[..now]);
        self.said += now;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Caller {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn link(says: Vec<u8>, at_once: usize) -> Link {
    let said = 0;
    let caller = Caller {
        says,
        said,
        at_once,
    };
    Link::other(caller, "hostile")
}

/// Counts the lines that our own code logs for people.
struct Lines;

static LINES: AtomicUsize = AtomicUsize::new(0);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("dfs") && *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        LINES.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// The bytes of a message.
async fn bytes_of<Item: Incoming, SinkItem: Outgoing>(message: SinkItem) -> Vec<u8> {
    let (here, mut there) = tokio::io::duplex(1 << 20);
    let mut codec: Framed<Item, SinkItem> = transport(Link::other(here, "honest"));
    codec.send(message).await.expect("sent");
    codec.close().await.expect("closed");
    let mut bytes = Vec::new();
    there.read_to_end(&mut bytes).await.expect("read");
    bytes
}

/// Frames that a minion understands.
async fn honest() -> Vec<Vec<u8>> {
    let append = |len: usize| {
        let bytes = Payload(Bytes::from(vec![3; len]));
        let append = Append {
            capability: Capability::default(),
            session: SessionId(1),
            block: BlockId(1),
            pieces: Vec::new(),
            bytes,
            chain: vec![(MinionId(2), vec!["127.0.0.1:7500".to_owned()])],
            sync: true,
            timeout_ms: 1000,
        };
        MinionRequest::Append { append }
    };
    let measure = MinionRequest::Measure {
        capability: Capability::default(),
        block: BlockId(7),
    };
    let mut frames = Vec::new();
    for message in [MinionRequest::Whoami {}, measure, append(100), append(5000)] {
        let request = ClientMessage::Request(Request {
            context: within(Duration::from_secs(1)),
            id: 1,
            message,
        });
        frames.push(bytes_of::<Response<MinionResponse>, _>(request).await);
    }
    let answer = Response {
        request_id: 1,
        message: Ok(MinionResponse::Read(Ok(BlockBytes {
            pieces: Vec::new(),
            bytes: Gathered(vec![Bytes::from(vec![4; 5000])]),
        }))),
    };
    frames.push(bytes_of::<ClientMessage<MinionRequest>, _>(answer).await);
    frames
}

/// Receives until the link ends.
async fn listen<Item: Incoming, SinkItem: Outgoing>(link: Link) {
    let mut codec: Framed<Item, SinkItem> = transport(link);
    while let Some(Ok(_)) = codec.next().await {}
}

/// Gives the stream to one of those who listen in a cluster.
async fn hear(who: usize, link: Link) {
    let ends = match who {
        0..=3 => Some(channel(link).execute(Deaf.serve())),
        4 => return listen::<ClientMessage<MasterRequest>, Response<MasterResponse>>(link).await,
        5 => return listen::<ClientMessage<ControlRequest>, Response<ControlResponse>>(link).await,
        6 => return listen::<ClientMessage<AdminRequest>, Response<AdminResponse>>(link).await,
        7 => return listen::<Response<MasterResponse>, ClientMessage<MasterRequest>>(link).await,
        8 => return listen::<Response<ControlResponse>, ClientMessage<ControlRequest>>(link).await,
        9 => return listen::<Response<AdminResponse>, ClientMessage<AdminRequest>>(link).await,
        _ => return listen::<Response<MinionResponse>, ClientMessage<MinionRequest>>(link).await,
    };
    if let Some(requests) = ends {
        answer(requests, CancellationToken::new()).await;
    }
}

const LISTENERS: usize = 11;

/// One after the other, because memory and lines are counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

struct Trial {
    runtime: tokio::runtime::Runtime,
    worst: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Trial {
    fn begin() -> Trial {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // The first one sets it for all.
        tracing::subscriber::set_global_default(Lines).ok();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Trial {
            runtime: builder.enable_all().build().expect("a runtime"),
            worst: 0,
            _alone: alone,
        }
    }

    /// Lets a listener hear a stream; how many lines it logged.
    fn hear(&mut self, number: usize, who: usize, says: Vec<u8>, at_once: usize) -> usize {
        let said = says.len();
        let before = LINES.load(Ordering::Relaxed);
        let (ended, peak) = peak_of(|| {
            self.runtime.block_on(async {
                let heard = hear(who, link(says, at_once));
                tokio::time::timeout(Duration::from_secs(60), heard).await
            })
        });
        assert!(ended.is_ok(), "stream {number} hangs listener {who}");
        let lines = LINES.load(Ordering::Relaxed) - before;
        assert!(lines <= 1, "stream {number}: {lines} lines");
        assert!(
            peak <= ALLOCATED_MAX,
            "stream {number} of {said} bytes makes listener {who} allocate {peak} bytes"
        );
        self.worst = self.worst.max(peak);
        lines
    }

    /// A quarter of all streams.
    fn streams(&mut self, seed: u64) {
        let honest = self.runtime.block_on(honest());
        let mut random = Random(seed);
        let mut refused = 0;
        for number in 0..STREAMS / 4 {
            let says = hostile(&mut random, &honest);
            let at_once = 1 + random.below(says.len() + 1);
            refused += self.hear(number, number % LISTENERS, says, at_once);
        }
        println!("{refused} refused; at most {} bytes allocated", self.worst);
        assert!(refused > STREAMS / 8, "only {refused} were hostile enough");
    }
}

#[test]
fn hostile_frames_are_refused_within_bounds_1() {
    Trial::begin().streams(1);
}

#[test]
fn hostile_frames_are_refused_within_bounds_2() {
    Trial::begin().streams(2);
}

#[test]
fn hostile_frames_are_refused_within_bounds_3() {
    Trial::begin().streams(3);
}

#[test]
fn hostile_frames_are_refused_within_bounds_4() {
    Trial::begin().streams(4);
}

#[test]
fn messages_do_not_unfold_beyond_a_frame() {
    let mut trial = Trial::begin();
    for (number, says) in bombs().enumerate() {
        // The first half of them are requests, the others answers.
        let listeners = if number < BOMBS / 2 {
            3..7
        } else {
            7..LISTENERS
        };
        for who in listeners {
            trial.hear(number, who, says.clone(), usize::MAX);
        }
    }
    println!("at most {} bytes allocated", trial.worst);
}
