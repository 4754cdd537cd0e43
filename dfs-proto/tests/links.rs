//! Calls with payloads over every transport, and every way in which a handshake can fail.

use bytes::Bytes;
use dfs_proto::{
    block::{Capability, Piece, ReplicaState},
    checksum::Crc32c,
    error::BlockError,
    id::{BlockId, FilesystemId, InodeId, MinionId, SessionId},
    log::{Keepsake, KeepsakeFile},
    payload::{Gathered, Payload},
    service::{Append, Appended, BlockBytes, GivenUp, Look, Looked, Minion, MinionClient},
    wire::{
        Address, Client, DialError, Dialed, Greeting, Identity, Listener, PROTOCOL_VERSION,
        ServiceKind, answer, channel, dial, serve, within,
    },
};
use std::{sync::Arc, time::Duration};
use tarpc::{context::Context, server::Channel};
use tokio_util::sync::CancellationToken;

const SECOND: Duration = Duration::from_secs(1);

/// A minion that remembers nothing: blocks are full of their own number.
#[derive(Clone)]
struct Echo;

impl Minion for Echo {
    async fn append(self, _: Context, append: Append) -> Result<Appended, BlockError> {
        let length = u32::try_from(append.bytes.0.len()).expect("short");
        let synced = Crc32c::of(&append.bytes.0).0;
        Ok(Appended { length, synced })
    }

    async fn sync(self, _: Context, _: Capability, _: BlockId, _: u32) -> Result<(), BlockError> {
        Ok(())
    }

    async fn read(
        self,
        _: Context,
        _: Capability,
        block: BlockId,
        start: u32,
        end: u32,
    ) -> Result<BlockBytes, BlockError> {
        let bytes = (start..end).step_by(65536).map(|at| {
            let len = (end - at).min(65536) as usize;
            Bytes::from(vec![block.0.to_le_bytes()[0]; len])
        });
        let bytes = Gathered(bytes.collect());
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
        Some(MinionId(3))
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

fn greeting() -> Greeting {
    Greeting {
        service: ServiceKind::Minion,
        filesystem: Some(FilesystemId(1)),
    }
}

/// Serves `Echo` as minion 3 of file system 1 until the token is dropped.
async fn start(at: &Address) -> (Address, tokio_util::sync::DropGuard) {
    let listener = Listener::bind(at).await.expect("listens");
    let listener = listener.offering(&[ServiceKind::Minion]);
    let address = listener.address();
    let shutdown = CancellationToken::new();
    let identity = || Identity {
        filesystem: Some(FilesystemId(1)),
        minion: Some(MinionId(3)),
        build: "test".to_owned(),
    };
    let of_links = shutdown.clone();
    let services = move |accepted: dfs_proto::wire::Accepted| {
        let requests = channel(accepted.link).execute(Echo.serve());
        tokio::spawn(answer(requests, of_links.clone()));
    };
    tokio::spawn(serve(
        listener,
        Arc::new(identity),
        Arc::new(services),
        shutdown.clone(),
    ));
    (address, shutdown.drop_guard())
}

async fn calls_work_over(at: Address) {
    let (address, _running) = start(&at).await;
    let Dialed { link, identity } = dial(&address, &greeting(), SECOND).await.expect("a link");
    assert_eq!(identity.minion, Some(MinionId(3)));
    let client = MinionClient::over(link);
    for len in [0, 1, 4096, 4097, 65536, 1 << 20, 5_000_001] {
        let bytes = Bytes::from(
            (0..len)
                .map(|i: usize| i.to_le_bytes()[0])
                .collect::<Vec<_>>(),
        );
        let sum = Crc32c::of(&bytes).0;
        let append = Append {
            capability: Capability::default(),
            session: SessionId(1),
            block: BlockId(1),
            pieces: vec![Piece {
                block_offset: 0,
                len: 1,
                crc: Crc32c(0),
                inode: InodeId(2),
                file_offset: 0,
                sequence: 0,
            }],
            bytes: Payload(bytes),
            chain: Vec::new(),
            sync: false,
            timeout_ms: 1000,
        };
        let appended = client.append(within(SECOND * 5), append).await;
        let appended = appended.expect("arrives").expect("is taken");
        assert_eq!((appended.length as usize, appended.synced), (len, sum));
    }
    let read = client.read(
        within(SECOND * 5),
        Capability::default(),
        BlockId(9),
        0,
        1_000_000,
    );
    let read = read.await.expect("arrives").expect("is there");
    assert_eq!(read.bytes.0.len(), 1);
    let all = read.bytes.len();
    assert_eq!(all, 1_000_000);
    assert!(read.bytes.joined().iter().all(|b| *b == 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_over_tcp() {
    calls_work_over("127.0.0.1:0".parse().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    calls_work_over(Address::Unix(folder.path().join("socket"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_over_memory() {
    calls_work_over("memory:echo".parse().unwrap()).await;
}

#[tokio::test]
async fn the_wrong_file_system_and_service_are_named() {
    let (address, _running) = start(&"memory:refusals".parse().unwrap()).await;
    let mut wrong = greeting();
    wrong.filesystem = Some(FilesystemId(2));
    let error = dial(&address, &wrong, SECOND).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DialError::WrongFilesystem { .. }), "{text}");
    assert!(text.contains(&FilesystemId(1).to_string()), "{text}");
    assert!(text.contains(&FilesystemId(2).to_string()), "{text}");
    let mut wrong = greeting();
    wrong.service = ServiceKind::Master;
    let error = dial(&address, &wrong, SECOND).await.unwrap_err();
    assert!(matches!(error, DialError::NoSuchService { .. }), "{error}");
}

/// Opens a connection, says `says` after a greeting if `greets`, and keeps it open.
async fn intrude(address: &Address, greets: bool, says: &[u8]) -> tokio::net::TcpStream {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let at = address.to_string();
    let mut stream = tokio::net::TcpStream::connect(at).await.expect("connects");
    if greets {
        // A greeting to the minion service from file system 1; see docs/protocol.md.
        let body = [2, 1, 1];
        let mut greeting = b"\xd5dfs".to_vec();
        greeting.extend(PROTOCOL_VERSION.to_le_bytes());
        greeting.extend(b"\x01\x00\x03\x00\x00\x00");
        let sum = Crc32c::of_parts([&greeting[..], &body]);
        greeting.extend(sum.0.to_le_bytes());
        greeting.extend(body);
        stream.write_all(&greeting).await.expect("greets");
        let mut welcome = [0; 16];
        stream.read_exact(&mut welcome).await.expect("is welcome");
        assert_eq!(welcome[6], 2);
    }
    // The other side may have hung up by now, as it should.
    stream.write_all(says).await.ok();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn intruders_are_shown_out_while_others_are_served() {
    use tokio::io::AsyncReadExt;
    let (address, _running) = start(&"127.0.0.1:0".parse().unwrap()).await;
    let dialed = dial(&address, &greeting(), SECOND).await.expect("a link");
    let honest = MinionClient::over(dialed.link);
    let mut expelled = Vec::new();
    for round in 0..100u8 {
        let garbage = vec![round; 300];
        expelled.push(intrude(&address, false, &garbage).await);
        expelled.push(intrude(&address, true, &garbage).await);
        // Silent ones, and one that stops in the middle of its greeting.
        if round % 10 == 0 {
            expelled.push(intrude(&address, false, &[]).await);
            expelled.push(intrude(&address, false, b"\xd5dfs\x01").await);
        }
        let answer = honest.whoami(within(SECOND * 5)).await;
        assert_eq!(answer.expect("is served"), Some(MinionId(3)));
    }
    for mut stream in expelled {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(SECOND * 20, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "a connection is still open");
    }
    let answer = honest.whoami(within(SECOND * 5)).await;
    assert_eq!(answer.expect("is served"), Some(MinionId(3)));
    // Half a frame of one connection does not disturb those that come after it.
    let _half = intrude(&address, true, b"\xd5F\x01").await;
    dial(&address, &greeting(), SECOND).await.expect("a link");
}

#[tokio::test]
async fn what_cannot_be_listened_on_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (address, running) = start(&"127.0.0.1:0".parse().unwrap()).await;
    let error = Listener::bind(&address)
        .await
        .err()
        .expect("in use")
        .to_string();
    let (_, port) = address
        .to_string()
        .rsplit_once(':')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert!(
        error.contains(&format!("port {port} belongs to another process")),
        "{error}"
    );
    assert!(error.contains("--listen"), "{error}");
    drop(running);

    let socket = Address::Unix(path.clone());
    let listener = Listener::bind(&socket).await.expect("listens");
    let error = Listener::bind(&socket)
        .await
        .err()
        .expect("in use")
        .to_string();
    assert!(error.contains("--socket"), "{error}");
    drop(listener);
    assert!(!path.exists(), "the socket went with its listener");

    // What a killed process leaves behind is replaced; what is no socket is not.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("listens"));
    assert!(path.exists());
    drop(
        Listener::bind(&socket)
            .await
            .expect("replaces a stale socket"),
    );
    std::fs::write(&path, "precious").unwrap();
    assert!(Listener::bind(&socket).await.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}
