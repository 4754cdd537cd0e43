//! The wire's parsers before damaged bytes.

use crate::{
    block::{Capability, Piece, ReplicaState},
    change::{Caller, Change, CommitBytes, FileCommit, Make, Ticket},
    checksum::Crc32c,
    error::BlockError,
    extent::Extent,
    hostile,
    id::{BlockId, DiskId, FilesystemId, InodeId, MinionId, SessionId},
    minion::{DiskState, Registration},
    name::Name,
    payload::{Gathered, Payload},
    service::{
        AdminRequest, Append, Appended, BlockBytes, ControlRequest, MasterRequest, MinionRequest,
        MinionResponse,
    },
    time::Timestamp,
    wire::{
        Greeting, Identity, Incoming, Link, Outgoing, PROTOCOL_VERSION, ServiceKind,
        handshake::{Kind, Refusal, encode},
        transport, within,
    },
};
use bytes::Bytes;
use dfs_hostile::{Counting, Trial};
use futures::SinkExt;
use std::time::Duration;
use tarpc::{ClientMessage, Request, Response};
use tokio::io::AsyncReadExt;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a link may allocate, its other end, and the pipe between them: some frames at the most.
const ALLOCATED_MAX: usize = 64 << 20;

/// The bytes of a message.
fn frame<Item: Incoming, SinkItem: Outgoing>(message: SinkItem) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (here, mut there) = tokio::io::duplex(1 << 20);
        let mut codec = transport::<Item, SinkItem>(Link::other(here, "honest"));
        codec.send(message).await.expect("sent");
        codec.close().await.expect("closed");
        let mut bytes = Vec::new();
        there.read_to_end(&mut bytes).await.expect("read");
        bytes
    })
}

fn request<T>(message: T) -> ClientMessage<T> {
    ClientMessage::Request(Request {
        context: within(Duration::from_secs(1)),
        id: 1,
        message,
    })
}

fn append(len: u32) -> MinionRequest {
    let bytes = vec![3; len as usize];
    let piece = Piece {
        block_offset: 0,
        len,
        crc: Crc32c::of(&bytes),
        inode: InodeId(9),
        file_offset: 4,
        sequence: 1,
    };
    let append = Append {
        capability: Capability::default(),
        session: SessionId(1),
        block: BlockId(1),
        pieces: vec![piece],
        bytes: Payload(Bytes::from(bytes)),
        chain: vec![(MinionId(2), vec!["127.0.0.1:7500".to_owned()])],
        sync: true,
        timeout_ms: 1000,
    };
    MinionRequest::Append { append }
}

fn changes() -> Vec<Change> {
    let extent = Extent {
        file_offset: 0,
        len: 5,
        block: BlockId(1),
        block_offset: 0,
    };
    let commit = FileCommit {
        inode: InodeId(10),
        truncations: 0,
        mtime: Timestamp::EPOCH,
        kill_privileges: false,
        bytes: CommitBytes::Extents {
            extents: vec![extent],
            from_inline: None,
        },
    };
    vec![
        Change::Make {
            parent: InodeId::ROOT,
            name: Name::new(b"name").expect("a name"),
            what: Make::Symlink(Bytes::from_static(b"target")),
            mode: 0o644,
            caller: Caller {
                uid: 1,
                gid: 2,
                umask: 0o22,
            },
        },
        Change::Commit {
            files: vec![commit],
            synced: vec![(BlockId(1), 5)],
            durable: true,
        },
        Change::Close {
            inodes: vec![InodeId(10), InodeId(11)],
        },
        Change::Allocate {
            inode: InodeId(7),
            policy: None,
            avoid: vec![MinionId(1)],
            near: None,
        },
    ]
}

fn registration() -> Registration {
    Registration {
        filesystem: Some(FilesystemId(7)),
        minion: Some(MinionId(1)),
        addresses: vec!["127.0.0.1:7500".to_owned()],
        host: "h".to_owned(),
        rack: String::new(),
        build: "b".to_owned(),
        disks: vec![DiskState {
            disk: DiskId(1),
            path: "/d".to_owned(),
            bytes_total: 9,
            bytes_free: 8,
            bytes_used: 1,
            blocks: 1,
            failed: None,
        }],
    }
}

/// Frames, each with the number of who understands it.
fn frames() -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    let measure = MinionRequest::Measure {
        capability: Capability::default(),
        block: BlockId(7),
    };
    for message in [MinionRequest::Whoami {}, measure, append(100), append(5000)] {
        frames.push((0, frame::<Response<MinionResponse>, _>(request(message))));
    }
    for change in changes() {
        let ticket = Ticket {
            session: SessionId(1),
            sequence: 2,
            all_below: 1,
        };
        let message = request(MasterRequest::Change { ticket, change });
        frames.push((1, frame::<Response<()>, _>(message)));
    }
    let register = ControlRequest::Register {
        registration: registration(),
    };
    frames.push((2, frame::<Response<()>, _>(request(register))));
    let status = request(AdminRequest::Status {});
    frames.push((3, frame::<Response<()>, _>(status)));
    let block = BlockId(7);
    let answers = [
        MinionResponse::Read(Ok(BlockBytes {
            pieces: Vec::new(),
            bytes: Gathered(vec![Bytes::from(vec![4; 5000])]),
        })),
        MinionResponse::Read(Err(BlockError::NotHere(block))),
        MinionResponse::Append(Ok(Appended {
            length: 9,
            synced: 9,
        })),
        MinionResponse::Measure(Ok(ReplicaState {
            block,
            length: 1,
            synced: 1,
            sealed: true,
            damaged: false,
            punched: 0,
        })),
    ];
    for answer in answers {
        let answer = Response {
            request_id: 1,
            message: Ok(answer),
        };
        frames.push((4, frame::<ClientMessage<()>, _>(answer)));
    }
    frames
}

fn stand(name: &str, parser: fn(&[u8]) -> hostile::Verdict, seeds: Vec<Vec<u8>>, inputs: usize) {
    assert!(hostile::PARSERS.iter().any(|(target, _)| *target == name));
    let allocated_max = ALLOCATED_MAX;
    let trial = Trial {
        name,
        parser,
        seeds,
        inputs,
        allocated_max,
    };
    trial.run();
}

#[test]
fn hostile_streams() {
    let frames = frames();
    let mut seeds = Vec::new();
    for (who, bytes) in &frames {
        seeds.push([&[*who][..], bytes].concat());
        seeds.push([&[128 + *who][..], bytes, bytes].concat());
    }
    stand("wire_stream", hostile::stream, seeds, 3000);
}

#[test]
fn hostile_messages() {
    let whole = |(who, bytes): &(u8, Vec<u8>)| {
        let alone = bytes[8..12] == [0; 4];
        alone.then(|| [&[*who][..], &bytes[20..]].concat())
    };
    let seeds = frames().iter().filter_map(whole).collect();
    stand("wire_message", hostile::message, seeds, 6000);
}

#[test]
fn hostile_handshakes() {
    let greeting = Greeting {
        service: ServiceKind::Minion,
        filesystem: Some(FilesystemId(7)),
    };
    let identity = Identity {
        filesystem: None,
        minion: Some(MinionId(1)),
        build: "0.1.0".to_owned(),
    };
    let refusal = Refusal::Filesystem {
        listener: FilesystemId(1),
        dialer: FilesystemId(2),
    };
    let malformed = Refusal::Malformed("why".to_owned());
    let records = [
        encode(PROTOCOL_VERSION, Kind::Greeting, &greeting),
        encode(PROTOCOL_VERSION - 1, Kind::Welcome, &identity),
        encode(PROTOCOL_VERSION, Kind::Refusal, &refusal),
        encode(PROTOCOL_VERSION, Kind::Refusal, &malformed),
    ];
    let mended = |mend: u8| records.iter().map(move |r| [&[mend][..], r].concat());
    let seeds = mended(0).chain(mended(128)).collect();
    stand("wire_handshake", hostile::handshake, seeds, 20_000);
}

#[test]
fn hostile_words() {
    let words: [&[u8]; 8] = [
        b"\0name",
        b"\0\xff\xfe",
        b"\x01127.0.0.1:7400",
        b"\x01[::1]:7400",
        b"\x01unix:/run/dfs/x.sock",
        b"\x01memory:m",
        b"\x01minion-3:0",
        b"\x020123456789abcdef0123456789abcdef",
    ];
    let seeds = words.map(<[u8]>::to_vec).to_vec();
    stand("wire_words", hostile::words, seeds, 20_000);
}
