//! Measures appends and reads through a chain of three minions on this machine: each on a runtime
//! of its own, on folders below the one named. `store_speed DIR [tcp] [stream] [small]`

#[path = "../tests/common/mod.rs"]
#[expect(unreachable_pub, dead_code, reason = "shared by two programs")]
mod common;

use bytes::Bytes;
use common::{Master, append_of, connect, send};
use dfs_host::clock::SystemClock;
use dfs_minion::{daemon, settings::Settings};
use dfs_proto::{
    block::Capability,
    id::{BlockId, MinionId},
    service::MinionClient,
    wire::within,
};
use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let rest: Vec<String> = args.collect();
    let asked = |word: &str| rest.iter().any(|arg| arg == word);
    let (tcp, all) = (asked("tcp"), !asked("stream") && !asked("small"));
    let runtime = runtime();
    let stop = CancellationToken::new();
    let master = Master::default();
    let at = runtime.block_on(master.start("127.0.0.1:0", stop.clone()));
    let mut places = Vec::new();
    let mut threads = Vec::new();
    for n in 0..3 {
        let data = folder.join(format!("minion{n}"));
        let mut settings = Settings::local(vec![data], vec![at.clone()]);
        settings.threads = Some(if asked("two") { 2 } else { 1 });
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let stop = stop.clone();
        threads.push(std::thread::spawn(move || {
            let own = dfs_host::runtime::runtime(settings.threads).expect("threads");
            own.block_on(async {
                let clock = Arc::new(SystemClock::new());
                let running = daemon::start(settings, clock, stop).await.expect("starts");
                tell.send(running.addresses).expect("listening");
                running
                    .ended
                    .await
                    .expect("no panic")
                    .expect("told to stop");
            });
        }));
        let addresses = told.recv().expect("started");
        let kept = usize::from(!tcp);
        places.push((MinionId(n + 1), vec![addresses[kept].clone()]));
        runtime.block_on(master.until("it beats", |known| known.beats.len() == places.len()));
    }
    let (streams, smalls) = (all || asked("stream"), all || asked("small"));
    runtime.block_on(measure(&places, streams, smalls));
    stop.cancel();
    for thread in threads {
        thread.join().expect("no panic");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

type Place = (MinionId, Vec<String>);

async fn measure(places: &[Place], streams: bool, smalls: bool) {
    let head = connect(&places[0].1[0]).await;
    for copies in [1, 2, 3].into_iter().filter(|_| smalls) {
        small(&head, &places[1..copies], copies).await;
    }
    if !streams {
        return;
    }
    for (round, copies) in [(0, 1), (1, 3), (2, 3), (3, 3)] {
        stream(&head, &places[1..copies], places, round, copies).await;
    }
    read(&head, "as written").await;
    let synced = std::process::Command::new("sync").status();
    assert!(synced.is_ok_and(|status| status.success()));
    if std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok() {
        read(&head, "cold").await;
        read(&head, "warm").await;
    }
}

const STREAM_BYTES: u64 = 768 << 20;

async fn stream(head: &MinionClient, chain: &[Place], places: &[Place], round: u64, copies: usize) {
    let bytes: Bytes = (0..1 << 20)
        .map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let (cpu, began) = (cpu(), Instant::now());
    let mut flight = VecDeque::new();
    let mut ends = Vec::new();
    for n in 0..STREAM_BYTES >> 20 {
        let block = BlockId(1 + round * 100 + n / 64);
        let start = u32::try_from(n % 64).expect("small") << 20;
        let append = append_of(block, start, bytes.clone(), 64 << 10, chain);
        let head = head.clone();
        flight.push_back(tokio::spawn(async move { send(&head, append).await }));
        ends.push((block, start + (1 << 20)));
        if flight.len() >= 8 {
            let sent = flight.pop_front().expect("eight");
            sent.await.expect("no panic").expect("appended");
        }
    }
    for sent in flight {
        sent.await.expect("no panic").expect("appended");
    }
    let written = began.elapsed();
    let mut syncs = tokio::task::JoinSet::new();
    for (_, addresses) in &places[..copies] {
        let client = connect(&addresses[0]).await;
        for n in 0..STREAM_BYTES >> 26 {
            let block = BlockId(1 + round * 100 + n);
            let client = client.clone();
            syncs.spawn(async move {
                let sync = client.sync(
                    within(Duration::from_secs(60)),
                    Capability::default(),
                    block,
                    64 << 20,
                );
                sync.await.expect("the link holds").expect("synced");
            });
        }
    }
    while let Some(done) = syncs.join_next().await {
        done.expect("no panic");
    }
    let synced = began.elapsed();
    let rate = |took: Duration| (STREAM_BYTES >> 20) as f64 / took.as_secs_f64();
    println!(
        "stream, {copies} copies: {:.0} MiB/s written, {:.0} MiB/s with fsync; {:.2} CPU-s per GiB",
        rate(written),
        rate(synced),
        (self::cpu() - cpu) / (STREAM_BYTES as f64 / (1u64 << 30) as f64),
    );
}

async fn small(head: &MinionClient, chain: &[Place], copies: usize) {
    let block = BlockId(9000 + copies as u64);
    let bytes = Bytes::from(vec![7; 4096]);
    let mut took = Vec::new();
    let cpu = cpu();
    for n in 0..2000 {
        let mut append = append_of(block, n * 4096, bytes.clone(), 64 << 10, chain);
        append.sync = true;
        let began = Instant::now();
        send(head, append).await.expect("appended");
        took.push(began.elapsed());
    }
    let each = (self::cpu() - cpu) / took.len() as f64 * 1e6;
    took.sort_unstable();
    println!(
        "4 KiB append with sync, {copies} copies: p50 {:?} p90 {:?} p99 {:?}; {each:.0} us CPU",
        took[1000], took[1800], took[1980]
    );
}

async fn read(head: &MinionClient, how: &str) {
    let (cpu, began) = (cpu(), Instant::now());
    let mut flight = VecDeque::new();
    for n in 0..STREAM_BYTES >> 20 {
        let block = BlockId(1 + n / 64);
        let start = u32::try_from(n % 64).expect("small") << 20;
        let head = head.clone();
        flight.push_back(tokio::spawn(async move {
            let read = head.read(
                within(common::TIMEOUT),
                Capability::default(),
                block,
                start,
                start + (1 << 20),
            );
            read.await
                .expect("the link holds")
                .expect("whole")
                .bytes
                .len()
        }));
        if flight.len() >= 4 {
            let read = flight.pop_front().expect("four");
            assert_eq!(read.await.expect("no panic"), 1 << 20);
        }
    }
    for read in flight {
        assert_eq!(read.await.expect("no panic"), 1 << 20);
    }
    println!(
        "read, {how}: {:.0} MiB/s; {:.2} CPU-s per GiB",
        (STREAM_BYTES >> 20) as f64 / began.elapsed().as_secs_f64(),
        (self::cpu() - cpu) / (STREAM_BYTES as f64 / (1u64 << 30) as f64),
    );
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .expect("a stat")
        .split(' ')
        .collect();
    let ticks: f64 =
        fields[11].parse::<f64>().expect("a number") + fields[12].parse::<f64>().expect("a number");
    ticks / 100.0
}
