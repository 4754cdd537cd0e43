//! A minion with two disks, one of which is pulled out, fails, or comes back.

#[path = "common/mod.rs"]
#[expect(unreachable_pub, reason = "shared by two programs")]
mod common;

use common::{Known, Master, TIMEOUT, append_of, connect, content, send};
use dfs_host::clock::SystemClock;
use dfs_minion::{
    daemon::{Running, start},
    settings::Settings,
};
use dfs_proto::{
    block::Capability,
    error::BlockError,
    id::{BlockId, MinionId},
    minion::{Order, Task},
    service::{Look, MinionClient},
    wire::within,
};
use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};
use tokio_util::sync::CancellationToken;

const MINION: MinionId = MinionId(1);
const BYTES: u32 = 300_000;

struct Bench {
    folder: tempfile::TempDir,
    name: String,
    master: Master,
    address: String,
    all: CancellationToken,
}

impl Bench {
    async fn new(name: &str) -> Bench {
        let all = CancellationToken::new();
        let master = Master::default();
        let address = format!("memory:{name}-master");
        master.start(&address, all.clone()).await;
        let folder = tempfile::tempdir().expect("a folder");
        for disk in ["a", "b"] {
            fs::create_dir(folder.path().join(disk)).expect("made");
        }
        Bench {
            folder,
            name: name.to_owned(),
            master,
            address,
            all,
        }
    }

    fn disk(&self, which: &str) -> PathBuf {
        self.folder.path().join(which)
    }

    /// The blocks whose files are on a disk.
    fn blocks_on(&self, which: &str) -> BTreeSet<BlockId> {
        let files = fs::read_dir(self.disk(which).join("blocks")).expect("a folder");
        let names = files.map(|file| file.expect("read").file_name().into_string().expect("text"));
        let ids = names.map(|name| BlockId(u64::from_str_radix(&name, 16).expect("a block")));
        ids.collect()
    }

    async fn start(&self) -> (Running, CancellationToken, MinionClient) {
        let disks = vec![self.disk("a"), self.disk("b")];
        let mut settings = Settings::local(disks, vec![self.address.clone()]);
        settings.listen = format!("memory:{}", self.name);
        let stop = self.all.child_token();
        self.master.known.lock().beats.clear();
        let running = start(settings, Arc::new(SystemClock::new()), stop.clone()).await;
        let running = running.expect("starts");
        self.master
            .until("a beat", |known| known.beats.contains_key(&MINION))
            .await;
        let client = connect(&running.addresses[0]).await;
        (running, stop, client)
    }

    /// Writes blocks until both disks have some.
    async fn fill(&self, client: &MinionClient) -> u64 {
        for block in 1..100 {
            write(client, BlockId(block)).await.expect("written");
            let both = !self.blocks_on("a").is_empty() && !self.blocks_on("b").is_empty();
            if both && block >= 6 {
                return block;
            }
        }
        panic!("all blocks are on one disk");
    }
}

async fn write(client: &MinionClient, block: BlockId) -> Result<(), BlockError> {
    let append = append_of(block, 0, content(block, 0, BYTES), 60_000, &[]);
    send(client, append).await.map(drop)
}

async fn read(client: &MinionClient, block: BlockId) -> Result<(), BlockError> {
    let asked = client.read(within(TIMEOUT), Capability::default(), block, 0, BYTES);
    let read = asked.await.expect("the link holds")?;
    assert_eq!(read.bytes.joined(), content(block, 0, BYTES));
    Ok(())
}

fn failed(known: &Known, path: &str) -> Option<String> {
    let beat = known.beats.get(&MINION)?;
    let mut disks = beat.disks.iter();
    disks.find(|disk| disk.path.ends_with(path))?.failed.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_pulled_out_is_lost_and_the_other_serves_on() {
    let bench = Bench::new("pulled").await;
    let (running, stop, client) = bench.start().await;
    let last = bench.fill(&client).await;
    let (gone, kept) = (bench.blocks_on("a"), bench.blocks_on("b"));
    fs::rename(bench.disk("a"), bench.disk("away")).expect("pulled out");
    bench
        .master
        .until("it is noticed", |known| failed(known, "/a").is_some())
        .await;
    {
        let known = bench.master.known.lock();
        let why = failed(&known, "/a").expect("noticed");
        // Whoever looks first: for its marker, or for its free space.
        assert!(
            why.contains("marker") || why.contains("free space"),
            "{why}"
        );
        assert_eq!(failed(&known, "/b"), None);
    }
    let lost = |known: &Known| known.lost.iter().copied().collect::<BTreeSet<_>>() == gone;
    bench.master.until("its blocks are told lost", lost).await;
    for block in &gone {
        assert_eq!(
            read(&client, *block).await,
            Err(BlockError::DiskFailed(*block))
        );
        let look = Look {
            read: true,
            hurry: true,
        };
        let looked = client.look(within(TIMEOUT), Capability::default(), *block, look);
        let looked = looked.await.expect("the link holds");
        assert_eq!(looked, Err(BlockError::DiskFailed(*block)));
    }
    for block in &kept {
        assert_eq!(read(&client, *block).await, Ok(()));
    }
    for block in last + 1..last + 4 {
        write(&client, BlockId(block))
            .await
            .expect("the other disk takes it");
        assert_eq!(read(&client, BlockId(block)).await, Ok(()));
    }

    // A master that does not know of it any more is told again.
    {
        let mut known = bench.master.known.lock();
        known.lost.clear();
        known.forget = true;
    }
    bench
        .master
        .until("its blocks are told lost again", lost)
        .await;
    bench.master.known.lock().want_report = true;
    let reported = |known: &Known| known.reported.contains_key(&MINION);
    bench.master.until("a report", reported).await;
    {
        let known = bench.master.known.lock();
        let named = known.reported[&MINION].iter().map(|replica| replica.block);
        let named: BTreeSet<BlockId> = named.collect();
        assert!(named.is_disjoint(&gone) && named.is_superset(&kept));
    }

    // Put back and started anew, it is in service, with all that it had.
    stop.cancel();
    running.ended.await.expect("no panic").expect("stops well");
    fs::rename(bench.disk("away"), bench.disk("a")).expect("put back");
    let (_running, _stop, client) = bench.start().await;
    for block in gone.iter().chain(&kept) {
        assert_eq!(read(&client, *block).await, Ok(()));
    }
    let known = bench.master.known.lock();
    assert_eq!(failed(&known, "/a"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_for_what_went_with_a_disk_are_carried_out() {
    let bench = Bench::new("orders").await;
    let (_running, _stop, client) = bench.start().await;
    bench.fill(&client).await;
    let gone: Vec<BlockId> = bench.blocks_on("a").into_iter().collect();
    let kept: Vec<BlockId> = bench.blocks_on("b").into_iter().collect();
    fs::rename(bench.disk("a"), bench.disk("away")).expect("pulled out");
    bench
        .master
        .until("it is noticed", |known| failed(known, "/a").is_some())
        .await;
    let seal = Task::Seal { length: BYTES };
    for (number, task) in (1..).zip([seal, Task::Measure]) {
        let ended = bench.master.order(MINION, number, gone[0], task).await;
        assert_eq!(ended.outcome, Ok(None), "there is none here");
    }
    // In one batch: what went with its disk is not in the way of what can be dropped.
    let order = |number, block| {
        let task = Task::Drop { placement: 1 };
        (
            MINION,
            Order {
                term: 1,
                number,
                block,
                task,
            },
        )
    };
    let orders = [order(10, gone[0]), order(11, kept[0])];
    bench.master.known.lock().orders.extend(orders);
    let ended = |known: &Known| known.finished.iter().filter(|one| one.number >= 10).count() == 2;
    bench.master.until("both are dropped", ended).await;
    let known = bench.master.known.lock();
    for one in known.finished.iter().filter(|one| one.number >= 10) {
        assert_eq!(one.outcome, Ok(None));
    }
    assert!(!bench.blocks_on("b").contains(&kept[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_disk_in_its_place_is_noticed() {
    let bench = Bench::new("swapped").await;
    let (_running, _stop, _client) = bench.start().await;
    let marker = bench.disk("a").join("marker");
    fs::copy(bench.disk("b").join("marker"), &marker).expect("copied");
    bench
        .master
        .until("it is noticed", |known| failed(known, "/a").is_some())
        .await;
    let known = bench.master.known.lock();
    let why = failed(&known, "/a").expect("noticed");
    assert!(why.contains("another disk"), "{why}");
}
