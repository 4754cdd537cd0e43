//! The bytes of docs/protocol.md are those that the code sends and understands.

use bytes::Bytes;
use dfs_proto::{
    change::{Access, Change},
    id::{FilesystemId, InodeId, MinionId},
    payload::Gathered,
    service::{BlockBytes, MinionRequest, MinionResponse},
    time::Timestamp,
    wire::{
        Address, DialError, Framed, Greeting, Identity, Link, Listener, ServiceKind, dial, serve,
        transport, within,
    },
};
use futures::{SinkExt, StreamExt};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tarpc::{ClientMessage, Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

type Answers = Framed<ClientMessage<MinionRequest>, Response<MinionResponse>>;
type Requests = Framed<Response<MinionResponse>, ClientMessage<MinionRequest>>;

const SECOND: Duration = Duration::from_secs(1);

/// The lines `name: hex` of the blocks marked `golden`.
fn golden() -> BTreeMap<String, Vec<u8>> {
    let text = include_str!("../../docs/protocol.md");
    let blocks = text.split("```golden\n").skip(1);
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or("").lines());
    let bytes = |hex: &str| {
        let digits: Vec<u8> = hex.bytes().filter(|b| *b != b' ').collect();
        let pairs = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).expect("hex"));
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
            .collect()
    };
    lines
        .map(|line| {
            let (name, hex) = line.split_once(": ").expect("name: hex");
            (name.to_owned(), bytes(hex))
        })
        .collect()
}

#[track_caller]
fn same(name: &str, bytes: &[u8]) {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(
        golden().get(name).map(|bytes| hex(bytes)),
        Some(hex(bytes)),
        "docs/protocol.md: {name}"
    );
}

fn greeting() -> Greeting {
    Greeting {
        service: ServiceKind::Minion,
        filesystem: Some(FilesystemId(0x1f)),
    }
}

fn identity() -> Identity {
    Identity {
        filesystem: Some(FilesystemId(0x1f)),
        minion: Some(MinionId(3)),
        build: "0.1.0".to_owned(),
    }
}

/// What a dialer sends to a listener that answers with `answer`, and what it makes of that.
async fn dialed(answer: Vec<u8>) -> (Vec<u8>, Result<Identity, DialError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = Address::Tcp(listener.local_addr().expect("bound").to_string());
    let listening = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let mut greeting = vec![0; 16];
        stream.read_exact(&mut greeting).await.expect("a record");
        let mut body = vec![0; greeting[8].into()];
        stream.read_exact(&mut body).await.expect("a body");
        greeting.extend(body);
        stream.write_all(&answer).await.expect("answers");
        (greeting, stream)
    });
    let dialed = dial(&address, &greeting(), SECOND * 5).await;
    let (greeting, _stream) = listening.await.expect("listens");
    (greeting, dialed.map(|dialed| dialed.identity))
}

/// What a listener answers to these bytes before it closes or waits for more.
async fn answered(greeting: &[u8]) -> Vec<u8> {
    let anywhere = Address::Tcp("127.0.0.1:0".to_owned());
    let listener = Listener::bind(&anywhere).await.expect("listens");
    let address = listener.address().to_string();
    let running = CancellationToken::new();
    let services = Arc::new(drop);
    tokio::spawn(serve(
        listener,
        Arc::new(identity),
        services,
        running.clone(),
    ));
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(greeting).await.expect("sends");
    let mut answer = Vec::new();
    // A close before all was read shows as a reset.
    stream.read_to_end(&mut answer).await.ok();
    running.cancel();
    answer
}

#[tokio::test]
async fn handshakes_are_as_documented() {
    let welcome = golden()["welcome"].clone();
    let (sent, found) = dialed(welcome.clone()).await;
    same("greeting", &sent);
    same("welcome", &answered(&sent).await);
    assert_eq!(found.expect("welcome"), identity());

    let refusal = golden()["refusal, file system"].clone();
    let (_, found) = dialed(refusal).await;
    let text = found.expect_err("refused").to_string();
    let (ours, theirs) = (FilesystemId(0x1f), FilesystemId(0x20));
    assert!(
        text.contains(&format!("belongs to file system {theirs}, not to {ours}")),
        "{text}"
    );
}

#[tokio::test]
async fn versions_that_differ_are_both_named() {
    let mut other = golden()["greeting"].clone();
    other[4] = 9;
    let answer = answered(&resummed(other)).await;
    assert_eq!((answer[4], answer[6]), (2, 3), "a refusal of our version");

    let mut other = golden()["welcome"].clone();
    other[4] = 9;
    let (_, found) = dialed(resummed(other)).await;
    let text = found.expect_err("refused").to_string();
    assert!(
        text.contains("speaks version 9 of the protocol and this program version 2"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_no_handshake_is_not_answered() {
    assert_eq!(answered(b"GET / HTTP/1.1\r\nHost: dfs\r\n\r\n").await, b"");
    let mut damaged = golden()["greeting"].clone();
    damaged[17] ^= 4;
    assert_eq!(answered(&damaged).await, b"");
    let (_, found) = dialed(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    let text = found.expect_err("foreign").to_string();
    assert!(text.contains("is no dfs daemon"), "{text}");
}

/// The record with a checksum that is right.
fn resummed(mut record: Vec<u8>) -> Vec<u8> {
    let sum = dfs_proto::checksum::Crc32c::of_parts([&record[..12], &record[16..]]);
    record[12..16].copy_from_slice(&sum.0.to_le_bytes());
    record
}

fn pipe() -> (Link, DuplexStream) {
    let (here, there) = duplex(1 << 20);
    (Link::other(here, "test"), there)
}

async fn available(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let read = stream.read(&mut bytes).await.expect("reads");
    bytes.truncate(read);
    bytes
}

fn block_bytes(bytes: usize) -> MinionResponse {
    let slices = vec![Bytes::from(vec![0xab; bytes])];
    MinionResponse::Read(Ok(BlockBytes {
        pieces: Vec::new(),
        bytes: Gathered(slices),
    }))
}

#[tokio::test]
async fn requests_are_as_documented() {
    let (link, mut wire) = pipe();
    let mut requests: Requests = transport(link);
    let whoami = ClientMessage::Request(Request {
        context: within(SECOND * 100_000),
        id: 5,
        message: MinionRequest::Whoami {},
    });
    requests.send(whoami).await.expect("sent");
    let bytes = available(&mut wire).await;
    same("request, whoami", &bytes);
    let cancel = ClientMessage::Cancel {
        trace_context: Default::default(),
        request_id: 5,
    };
    requests.send(cancel).await.expect("sent");
    let cancel = available(&mut wire).await;
    same("cancel", &cancel);

    let (link, mut wire) = pipe();
    let mut received: Answers = transport(link);
    wire.write_all(&[bytes, cancel].concat())
        .await
        .expect("sent");
    match received.next().await.expect("a frame").expect("right") {
        ClientMessage::Request(request) => assert_eq!(request.id, 5),
        other => panic!("{other:?}"),
    }
    match received.next().await.expect("a frame").expect("right") {
        ClientMessage::Cancel { request_id, .. } => assert_eq!(request_id, 5),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn answers_are_as_documented() {
    let (link, mut wire) = pipe();
    let mut answers: Answers = transport(link);
    for (name, message) in [
        (
            "answer, whoami is minion 3",
            MinionResponse::Whoami(Some(MinionId(3))),
        ),
        ("answer, 3 bytes inline", block_bytes(3)),
        ("answer, 4097 bytes beside, head", block_bytes(4097)),
    ] {
        let answer = Response {
            request_id: 5,
            message: Ok(message),
        };
        answers.send(answer).await.expect("sent");
        let mut bytes = available(&mut wire).await;
        if name.ends_with("head") {
            while bytes.len() < 4097 {
                bytes.extend(available(&mut wire).await);
            }
            let payload = bytes.split_off(bytes.len() - 4097);
            assert_eq!(payload, [0xab; 4097]);
        }
        same(name, &bytes);
    }
}

/// The last change: the numbers of those before it have not moved.
#[test]
fn changes_are_as_documented() {
    let moment = |seconds| Timestamp { seconds, nanos: 5 };
    let access = Access {
        inode: InodeId(300),
        atime: moment(3),
        ctime: moment(1),
    };
    let change = Change::Access {
        accesses: vec![access],
    };
    let bytes = postcard::to_stdvec(&change).expect("small");
    same("change, access of inode 300 at 3.000000005 s", &bytes);
    assert_eq!(postcard::from_bytes(&bytes), Ok(change));
}
