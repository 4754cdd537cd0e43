//! What the wire costs: processor seconds per gigabyte (both ends in this process) and the latency
//! of small calls, over TCP and Unix sockets.
//!
//! `cargo run --release -p dfs-proto --example wire_cost [SECONDS_PER_ROW]`. Processor time is that
//! of the whole process as the kernel counts it (10 ms steps), so that other load disturbs little.

use bytes::Bytes;
use dfs_proto::{
    block::{Capability, ReplicaState},
    error::BlockError,
    id::{BlockId, MinionId, SessionId},
    log::{Keepsake, KeepsakeFile},
    payload::{Gathered, Payload},
    service::{Append, Appended, BlockBytes, GivenUp, Look, Looked, Minion, MinionClient},
    wire::{
        Accepted, Address, ByteStream, Client, Greeting, Identity, Listener, ServiceKind, answer,
        channel, dial, serve, within,
    },
};
use std::{sync::Arc, time::Duration};
use tarpc::{context::Context, server::Channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const MIB: usize = 1 << 20;

#[derive(Clone)]
struct Source(Bytes);

impl Minion for Source {
    async fn append(self, _: Context, append: Append) -> Result<Appended, BlockError> {
        let length = u32::try_from(append.bytes.0.len()).unwrap_or(0);
        Ok(Appended { length, synced: 0 })
    }

    async fn sync(self, _: Context, _: Capability, _: BlockId, _: u32) -> Result<(), BlockError> {
        Ok(())
    }

    /// `start` bytes per payload, `end` bytes in all.
    async fn read(
        self,
        _: Context,
        _: Capability,
        _: BlockId,
        start: u32,
        end: u32,
    ) -> Result<BlockBytes, BlockError> {
        let one = self.0.slice(..start as usize);
        let bytes = Gathered(vec![one; (end / start) as usize]);
        Ok(BlockBytes {
            pieces: Vec::new(),
            bytes,
        })
    }

    async fn measure(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
    ) -> Result<ReplicaState, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn given_up(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
    ) -> Result<GivenUp, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn whoami(self, _: Context) -> Option<MinionId> {
        None
    }

    async fn look(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        _: Look,
    ) -> Result<Looked, BlockError> {
        Err(BlockError::NotHere(block))
    }

    async fn held(
        self,
        _: Context,
        _: Capability,
        _: BlockId,
        _: u32,
    ) -> Result<Vec<ReplicaState>, BlockError> {
        Ok(Vec::new())
    }

    async fn keepsake(self, _: Context) -> Result<Option<Keepsake>, BlockError> {
        Ok(None)
    }

    async fn read_keepsake(
        self,
        _: Context,
        _: KeepsakeFile,
        _: u64,
    ) -> Result<Payload, BlockError> {
        Ok(Payload::default())
    }
}

#[derive(Clone, Copy)]
enum Work {
    Get { payload: usize },
    Put,
    Ping,
}

async fn once(client: &MinionClient, work: Work, source: &Bytes) {
    let context = within(Duration::from_secs(20));
    match work {
        Work::Get { payload } => {
            let payload = u32::try_from(payload).expect("small");
            let got = client.read(context, Capability::default(), BlockId(1), payload, 1 << 20);
            let got = got.await.expect("answered").expect("read");
            assert!(!got.bytes.is_empty());
        }
        Work::Put => {
            let append = Append {
                capability: Capability::default(),
                session: SessionId(1),
                block: BlockId(1),
                pieces: Vec::new(),
                bytes: Payload(source.clone()),
                chain: Vec::new(),
                sync: false,
                timeout_ms: 1000,
            };
            let done = client
                .append(context, append)
                .await
                .expect("answered")
                .expect("taken");
            assert_eq!(done.length as usize, MIB);
        }
        Work::Ping => drop(client.whoami(context).await.expect("answered")),
    }
}

/// Seconds of processor time that this process has used.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split(' ').collect();
    let ticks: f64 = [12, 13]
        .iter()
        .filter_map(|i| fields[*i].parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

async fn row(name: &str, client: &MinionClient, work: Work, width: usize, span: Duration) {
    let source = Bytes::from(vec![5u8; MIB]);
    for _ in 0..20 {
        once(client, work, &source).await;
    }
    let (begin, cpu) = (Instant::now(), processor_seconds());
    let tasks: Vec<_> = (0..width)
        .map(|_| {
            let (client, source) = (client.clone(), source.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while begin.elapsed() < span {
                    let at = Instant::now();
                    once(&client, work, &source).await;
                    times.push(at.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("ends"));
    }
    let (took, cpu) = (begin.elapsed().as_secs_f64(), processor_seconds() - cpu);
    times.sort();
    let (median, calls) = (times[times.len() / 2], times.len() as f64);
    let p99 = times[times.len() * 99 / 100];
    match work {
        Work::Ping => println!(
            "{name:28} x{width:<3} p50 {median:>9.1?} p99 {p99:>9.1?} {:5.1} cpu-us/call {:7.0} calls/s",
            cpu * 1e6 / calls,
            calls / took
        ),
        _ => {
            let gigabytes = calls * MIB as f64 / 1e9;
            println!(
                "{name:28} x{width:<3} p50 {median:>9.1?} {:6.3} cpu-s/GB {:7.0} MB/s",
                cpu / gigabytes,
                gigabytes * 1000.0 / took
            );
        }
    }
}

async fn start(at: &Address) -> MinionClient {
    let listener = Listener::bind(at).await.expect("listens");
    let address = listener.address();
    let source = Source(Bytes::from(vec![9u8; MIB]));
    let identity = || Identity {
        filesystem: None,
        minion: None,
        build: String::new(),
    };
    let shutdown = CancellationToken::new();
    let services = move |accepted: Accepted| {
        let requests = channel(accepted.link).execute(source.clone().serve());
        tokio::spawn(answer(requests, shutdown.clone()));
    };
    let running = CancellationToken::new();
    tokio::spawn(serve(
        listener,
        Arc::new(identity),
        Arc::new(services),
        running,
    ));
    let greeting = Greeting {
        service: ServiceKind::Minion,
        filesystem: None,
    };
    let dialed = dial(&address, &greeting, Duration::from_secs(1))
        .await
        .expect("a link");
    MinionClient::over(dialed.link)
}

/// Bare sockets, as the limit: a request of 64 bytes, an answer of `answer` bytes.
async fn bare(name: &str, at: &Address, answer: usize, span: Duration) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut here, mut there): (Box<dyn ByteStream>, Box<dyn ByteStream>) = match at {
        Address::Unix(_) => {
            let (here, there) = tokio::net::UnixStream::pair().expect("a pair");
            (Box::new(here), Box::new(there))
        }
        _ => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("listens");
            let address = listener.local_addr().expect("bound");
            let here = tokio::net::TcpStream::connect(address)
                .await
                .expect("connects");
            let (there, _) = listener.accept().await.expect("accepts");
            here.set_nodelay(true).expect("set");
            there.set_nodelay(true).expect("set");
            (Box::new(here), Box::new(there))
        }
    };
    tokio::spawn(async move {
        let (mut request, answer) = ([0; 64], vec![1; answer]);
        while there.read_exact(&mut request).await.is_ok() {
            there.write_all(&answer).await.expect("writes");
        }
    });
    // In a task of its own, as a tarpc dispatch is: the main task is not a worker's.
    let task = tokio::spawn(async move {
        let (begin, cpu) = (Instant::now(), processor_seconds());
        let (mut calls, mut buffer) = (0.0, vec![0; answer]);
        while begin.elapsed() < span {
            here.write_all(&[0; 64]).await.expect("writes");
            here.read_exact(&mut buffer).await.expect("reads");
            calls += 1.0;
        }
        let (took, cpu) = (begin.elapsed().as_secs_f64(), processor_seconds() - cpu);
        (calls, took, cpu)
    });
    let (calls, took, cpu) = task.await.expect("ends");
    println!(
        "{name:28} x1   mean {:8.1} us {:5.1} cpu-us/call {:6.3} cpu-s/GB",
        took * 1e6 / calls,
        cpu * 1e6 / calls,
        cpu * 1e9 / (calls * answer as f64),
    );
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let seconds = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(3.0);
    let span = Duration::from_secs_f64(seconds);
    let socket = std::env::temp_dir().join(format!("dfs-wire-cost-{}", std::process::id()));
    for at in [
        Address::Tcp("127.0.0.1:0".to_owned()),
        Address::Unix(socket),
    ] {
        let client = start(&at).await;
        println!("{at}");
        bare("bare ping", &at, 64, span).await;
        bare("bare 1 MiB", &at, MIB, span).await;
        for width in [1, 4] {
            row(
                "get 1 MiB in one payload",
                &client,
                Work::Get { payload: MIB },
                width,
                span,
            )
            .await;
            row(
                "get 1 MiB in 64 KiB payloads",
                &client,
                Work::Get { payload: 65536 },
                width,
                span,
            )
            .await;
            row("put 1 MiB", &client, Work::Put, width, span).await;
        }
        for width in [1, 16, 64] {
            row("ping", &client, Work::Ping, width, span).await;
        }
    }
}
