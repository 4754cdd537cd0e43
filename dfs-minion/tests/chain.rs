//! Three minions and a master that only numbers them, in one process over links in memory.

#[path = "common/mod.rs"]
#[expect(unreachable_pub, reason = "shared by two programs")]
mod common;

use common::{FILESYSTEM, Master, SESSION, append_of, connect, content, send};
use dfs_host::{
    clock::SystemClock,
    disk::{Disk, Fault, SimulatedDisk},
};
use dfs_minion::{
    daemon::{DaemonError, DataDisk, Running, start_on_disks},
    settings::Settings,
};
use dfs_proto::{
    block::Capability,
    error::BlockError,
    id::{BlockId, FilesystemId, MinionId},
    minion::{BlockRange, Task},
    service::MinionClient,
    wire::{Accepted, Address, Identity, Listener, serve, within},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const BLOCK: BlockId = BlockId(11);

struct Cluster {
    name: String,
    master: Master,
    disks: Vec<Arc<SimulatedDisk>>,
    stops: Vec<CancellationToken>,
    running: Vec<Running>,
    all: CancellationToken,
}

impl Cluster {
    async fn start(name: &str) -> Cluster {
        let all = CancellationToken::new();
        let master = Master::default();
        master
            .start(&format!("memory:{name}-master"), all.clone())
            .await;
        let mut cluster = Cluster {
            name: name.to_owned(),
            master,
            disks: (0..3).map(|n| SimulatedDisk::new(n, 1 << 30)).collect(),
            stops: Vec::new(),
            running: Vec::new(),
            all,
        };
        for n in 0..3 {
            let (stop, running) = cluster.start_minion(n).await;
            cluster.stops.push(stop);
            cluster.running.push(running);
            let count = n + 1;
            let registered = |known: &common::Known| known.beats.len() == count;
            cluster.master.until("a minion beats", registered).await;
        }
        cluster
    }

    async fn start_minion(&self, n: usize) -> (CancellationToken, Running) {
        let master = format!("memory:{}-master", self.name);
        let mut settings = Settings::local(vec![], vec![master]);
        settings.listen = self.address(n);
        let disk = DataDisk {
            path: format!("disk {n}"),
            disk: self.disks[n].clone(),
        };
        let stop = self.all.child_token();
        let clock = Arc::new(SystemClock::new());
        let seed = n as u64;
        let running = start_on_disks(settings, vec![disk], clock, seed, stop.clone()).await;
        (stop, running.expect("starts"))
    }

    fn address(&self, n: usize) -> String {
        format!("memory:{}-{n}", self.name)
    }

    fn chain(&self, minions: &[usize]) -> Vec<(MinionId, Vec<String>)> {
        let link = |n: &usize| {
            let id = MinionId(u32::try_from(*n).expect("few") + 1);
            (id, vec![self.address(*n)])
        };
        minions.iter().map(link).collect()
    }

    async fn client(&self, n: usize) -> MinionClient {
        connect(&self.address(n)).await
    }

    async fn check(&self, n: usize, block: BlockId, length: u32) {
        let client = self.client(n).await;
        let mut at = 0;
        while at < length {
            let end = length.min(at + (1 << 20));
            let read = client.read(
                within(common::TIMEOUT),
                Capability::default(),
                block,
                at,
                end,
            );
            let read = read.await.expect("the link holds").expect("whole");
            let mut bytes = read.bytes.joined();
            for piece in &read.pieces {
                let part = bytes.split_to(piece.len as usize);
                assert!(part == content(block, piece.block_offset, piece.len));
            }
            at = read.pieces.last().expect("not none").block_end();
        }
        assert_eq!(at, length);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_go_down_the_chain_in_any_order_of_arrival() {
    let cluster = Cluster::start("order").await;
    let head = cluster.client(0).await;
    let chain = cluster.chain(&[1, 2]);
    let mut sends = Vec::new();
    for n in (0..40).rev() {
        let start = n * 100_000;
        let bytes = content(BLOCK, start, 100_000);
        let append = append_of(BLOCK, start, bytes, 64 << 10, &chain);
        let head = head.clone();
        sends.push(tokio::spawn(async move { send(&head, append).await }));
    }
    for sent in sends {
        sent.await.expect("no panic").expect("appended");
    }
    let mut last = append_of(BLOCK, 4_000_000, content(BLOCK, 4_000_000, 9), 64, &chain);
    last.sync = true;
    let reach = send(&head, last.clone()).await.expect("appended");
    assert_eq!((reach.length, reach.synced), (4_000_009, 4_000_009));
    // An exact repeat is acknowledged again; other bytes are a conflict.
    assert_eq!(send(&head, last.clone()).await, Ok(reach));
    let mut other = append_of(BLOCK, 4_000_000, content(BLOCK, 0, 9), 64, &chain);
    other.sync = true;
    let conflict = BlockError::Conflict {
        block: BLOCK,
        offset: 4_000_000,
    };
    assert_eq!(send(&head, other).await, Err(conflict));
    for n in 0..3 {
        cluster.check(n, BLOCK, 4_000_009).await;
    }
    let sealed = cluster
        .master
        .order(MinionId(2), 1, BLOCK, Task::Seal { length: 4_000_000 });
    let sealed = sealed.await.outcome.expect("sealed").expect("there");
    assert!(sealed.sealed && sealed.length == 4_000_000);
    cluster.check(1, BLOCK, 4_000_000).await;
    let dropped = cluster
        .master
        .order(MinionId(3), 2, BLOCK, Task::Drop { placement: 1 });
    assert_eq!(dropped.await.outcome, Ok(None));
    cluster.master.known.lock().want_report = true;
    let reported = |known: &common::Known| !known.want_report;
    cluster.master.until("a report came", reported).await;
    cluster.all.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_alive_is_copied_down_a_chain_and_joined_by_file() {
    let cluster = Cluster::start("rewrite").await;
    let head = cluster.client(0).await;
    // In these blocks a byte's place in its file is its place in the block.
    let append = append_of(BLOCK, 0, content(BLOCK, 0, 3_000_000), 1000, &[]);
    send(&head, append).await.expect("appended");
    let part = |start, end| BlockRange {
        block: BLOCK,
        start,
        end,
    };
    let sources = [
        part(1_000_500, 2_900_000),
        part(5, 20_001),
        part(20_001, 20_002),
        part(2_900_000, 3_000_000),
    ];
    let length: u32 = sources.iter().map(BlockRange::bytes).sum();
    let rewrite = |sources: &[BlockRange]| Task::Rewrite {
        session: SESSION,
        sources: sources.to_vec(),
        chain: cluster.chain(&[1]),
    };
    let new = BlockId(12);
    let task = rewrite(&sources);
    let done = cluster.master.order(MinionId(1), 1, new, task).await;
    let there = done.outcome.expect("carried out").expect("there");
    assert_eq!(
        (there.block, there.length, there.sealed),
        (new, length, false)
    );
    for n in 0..2 {
        let client = cluster.client(n).await;
        let (mut at, mut pieces) = (0, 0);
        let mut expected = sources.iter();
        let mut rest = part(0, 0);
        while at < length {
            let end = length.min(at + (1 << 20));
            let context = within(common::TIMEOUT);
            let read = client.read(context, Capability::default(), new, at, end);
            let read = read.await.expect("the link holds").expect("whole");
            let mut bytes = read.bytes.joined();
            for piece in &read.pieces {
                let start = u32::try_from(piece.file_offset).expect("small");
                let payload = bytes.split_to(piece.len as usize);
                assert!(payload == content(BLOCK, start, piece.len));
                // In the order of the sources, across their bounds where the file goes on.
                let mut from = start;
                while from < start + piece.len {
                    if rest.bytes() == 0 {
                        rest = *expected.next().expect("not more than the sources");
                    }
                    assert_eq!(from, rest.start);
                    from = rest.end.min(start + piece.len);
                    rest.start = from;
                }
                pieces += 1;
            }
            at = read.pieces.last().expect("not none").block_end();
        }
        assert!(expected.next().is_none() && rest.bytes() == 0);
        assert!(pieces < length / (64 << 10) + 8, "{pieces} pieces");
    }

    let task = rewrite(&[part(2_999_999, 3_000_001)]);
    let other = BlockId(13);
    let failed = cluster.master.order(MinionId(1), 2, other, task).await;
    let why = failed.outcome.expect_err("there is not so much");
    assert!(why.contains("has only 3000000 bytes"), "{why}");
    cluster.all.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_and_a_short_replica_make_a_whole_one() {
    const LENGTH: u32 = 900_000;
    let cluster = Cluster::start("two halves").await;
    for (n, length) in [(0, LENGTH), (1, 500_000)] {
        let append = append_of(BLOCK, 0, content(BLOCK, 0, length), 50_000, &[]);
        let client = cluster.client(n).await;
        send(&client, append).await.expect("appended");
    }
    let seal = Task::Seal { length: LENGTH };
    let sealed = cluster.master.order(MinionId(1), 1, BLOCK, seal).await;
    assert!(sealed.outcome.expect("sealed").expect("there").sealed);
    let disk = &cluster.disks[0];
    let names = disk.list("blocks").expect("listed");
    let name = format!("blocks/{}", names.first().expect("one"));
    disk.flip(&name, 120_000, 1).expect("flipped");

    let copy = |sources: &[usize]| Task::Copy {
        session: SESSION,
        length: LENGTH,
        urgent: true,
        sources: cluster.chain(sources),
    };
    // Either alone is not enough.
    for (number, sources) in [(2, [0]), (3, [1])] {
        let task = copy(&sources);
        let failed = cluster.master.order(MinionId(3), number, BLOCK, task).await;
        let why = failed.outcome.expect_err("there is no source");
        assert!(why.contains("no source has the bytes at"), "{why}");
    }
    // Who is asked whether its own is whole says that it is not, and keeps it.
    let looked = cluster.master.order(MinionId(1), 5, BLOCK, copy(&[])).await;
    let there = looked.outcome.expect("looked").expect("there");
    assert!(there.damaged && there.length == LENGTH);
    let task = copy(&[0, 1]);
    let copied = cluster.master.order(MinionId(3), 4, BLOCK, task).await;
    let there = copied.outcome.expect("copied").expect("there");
    assert!(there.sealed && there.length == LENGTH && !there.damaged);
    cluster.check(2, BLOCK, LENGTH).await;
    cluster.all.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_refused_after_a_while_and_malformed_bytes_at_once() {
    let cluster = Cluster::start("gap").await;
    let head = cluster.client(0).await;
    let early = append_of(BLOCK, 5, content(BLOCK, 5, 9), 64, &[]);
    let length = 0;
    let gap = BlockError::Gap {
        block: BLOCK,
        length,
    };
    assert_eq!(send(&head, early).await, Err(gap));
    let mut wrong = append_of(BLOCK, 0, content(BLOCK, 0, 9), 64, &[]);
    wrong.bytes.0 = content(BLOCK, 1, 9);
    let refused = send(&head, wrong).await;
    assert!(matches!(refused, Err(BlockError::Malformed(_))));
    cluster.master.known.lock().fenced.push(SESSION);
    let told = Instant::now() + Duration::from_secs(5);
    loop {
        let append = append_of(BlockId(12), 0, content(BLOCK, 0, 9), 64, &[]);
        match send(&head, append).await {
            Err(BlockError::Fenced(session)) => break assert_eq!(session, SESSION),
            other => assert!(Instant::now() < told, "not fenced: {other:?}"),
        }
    }
    cluster.all.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_next_is_named_and_the_others_go_on() {
    let mut cluster = Cluster::start("dead").await;
    let head = cluster.client(0).await;
    let chain = cluster.chain(&[1, 2]);
    let append =
        |start, chain: &[_]| append_of(BLOCK, start, content(BLOCK, start, 5_000), 4096, chain);
    send(&head, append(0, &chain)).await.expect("appended");
    cluster.stops[2].cancel();
    let dead = cluster.running.pop().expect("three");
    dead.ended.await.expect("no panic").expect("told to stop");
    let began = Instant::now();
    let failed = send(&head, append(5_000, &chain)).await;
    assert!(
        matches!(
            &failed,
            Err(BlockError::NextFailed {
                minion: MinionId(3),
                ..
            })
        ),
        "{failed:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(2));
    // What the first two have they keep, and the same append goes on without the third.
    let shorter = cluster.chain(&[1]);
    let reach = send(&head, append(5_000, &shorter))
        .await
        .expect("appended");
    assert_eq!(reach.length, 10_000);
    cluster.check(0, BLOCK, 10_000).await;
    cluster.check(1, BLOCK, 10_000).await;
    // It comes back with what it had, and is known.
    let (stop, running) = cluster.start_minion(2).await;
    cluster.check(2, BLOCK, 5_000).await;
    stop.cancel();
    running
        .ended
        .await
        .expect("no panic")
        .expect("told to stop");
    cluster.all.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_next_costs_the_time_that_was_given() {
    let cluster = Cluster::start("frozen").await;
    // Somebody who greets and then says nothing more.
    let held = Arc::new(Mutex::new(Vec::new()));
    let frozen: Address = "memory:frozen-one".parse().expect("an address");
    let listener = Listener::bind(&frozen).await.expect("free");
    let identity = || Identity {
        filesystem: Some(FILESYSTEM),
        minion: Some(MinionId(9)),
        build: String::new(),
    };
    let hold = Arc::clone(&held);
    let services = move |accepted: Accepted| hold.lock().push(accepted.link);
    tokio::spawn(serve(
        listener,
        Arc::new(identity),
        Arc::new(services),
        cluster.all.clone(),
    ));
    let mut chain = cluster.chain(&[1]);
    chain.push((MinionId(9), vec![frozen.to_string()]));
    let head = cluster.client(0).await;
    let mut append = append_of(BLOCK, 0, content(BLOCK, 0, 5_000), 4096, &chain);
    append.timeout_ms = 600;
    let began = Instant::now();
    let failed = send(&head, append).await;
    assert!(
        matches!(
            &failed,
            Err(BlockError::NextFailed {
                minion: MinionId(9),
                ..
            })
        ),
        "{failed:?}"
    );
    assert!(began.elapsed() < Duration::from_millis(900));
    cluster.check(0, BLOCK, 5_000).await;
    cluster.check(1, BLOCK, 5_000).await;
    cluster.all.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_disk_is_told_and_a_forgotten_minion_registers_again() {
    let cluster = Cluster::start("failed").await;
    let head = cluster.client(0).await;
    let append = append_of(BLOCK, 0, content(BLOCK, 0, 5_000), 4096, &[]);
    send(&head, append).await.expect("appended");
    cluster.master.known.lock().forget = true;
    let again = |known: &common::Known| !known.forget;
    cluster.master.until("one was forgotten", again).await;
    cluster.disks[0].fail_after(1, Fault::SyncError);
    let sync = head.sync(within(common::TIMEOUT), Capability::default(), BLOCK, 5_000);
    let failed = sync.await.expect("the link holds");
    assert_eq!(failed, Err(BlockError::DiskFailed(BLOCK)));
    let told = |known: &common::Known| known.lost == [BLOCK];
    cluster.master.until("the block is lost", told).await;
    let why = |known: &common::Known| known.beats[&MinionId(1)].disks[0].failed.is_some();
    cluster.master.until("the disk failed", why).await;
    cluster.all.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minion_of_another_file_system_stops_and_says_so() {
    let cluster = Cluster::start("foreign").await;
    for stop in &cluster.stops {
        stop.cancel();
    }
    let stop = CancellationToken::new();
    let other = Master::default();
    let identity = || Identity {
        filesystem: Some(FilesystemId(0xbad)),
        minion: None,
        build: String::new(),
    };
    let at: Address = "memory:foreign-other".parse().expect("an address");
    let listener = Listener::bind(&at).await.expect("free");
    let services = move |_: Accepted| drop(other.clone());
    tokio::spawn(serve(
        listener,
        Arc::new(identity),
        Arc::new(services),
        stop.clone(),
    ));
    let mut settings = Settings::local(vec![], vec!["memory:foreign-other".into()]);
    settings.listen = "memory:foreign-minion".to_owned();
    let disk = DataDisk {
        path: "disk 0".to_owned(),
        disk: cluster.disks[0].clone(),
    };
    let clock = Arc::new(SystemClock::new());
    let running = start_on_disks(settings, vec![disk], clock, 1, stop.clone()).await;
    let ended = running.expect("starts").ended.await.expect("no panic");
    assert!(matches!(ended, Err(DaemonError::Beat(_))), "{ended:?}");
    stop.cancel();
    cluster.all.cancel();
}
