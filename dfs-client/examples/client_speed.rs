//! What the client costs against a running cluster, without a mount: `client_speed ADDRESS`.
//!
//! Prints one line per workload. Figures of a busy machine are lower bounds.

use bytes::Bytes;
use dfs_client::{Dfs, Error, OpenFile, OpenHow, Settings};
use dfs_host::clock::{Clock, SystemClock};
use dfs_proto::{change::Caller, id::InodeId, name::Name};
use std::{sync::Arc, time::Duration};

const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0,
};
const MIB: usize = 1 << 20;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Error> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let host = std::env::args().nth(2).unwrap_or_default();
    let clock = Arc::new(SystemClock::new());
    let settings = Settings {
        master: vec![address],
        host,
        purpose: "measure".to_owned(),
        ..Settings::default()
    };
    let dfs = Dfs::connect(settings.clone(), clock.clone()).await?;
    let folder = format!("measure-{}", std::process::id());
    let folder = Name::new(folder.as_bytes()).expect("a name");
    let make = dfs_proto::change::Make::Directory;
    let root = dfs
        .make(InodeId::ROOT, &folder, make, 0o755, CALLER)
        .await?;
    let bench = Bench {
        dfs,
        clock,
        root: root.inode,
    };
    let mib = std::env::args().nth(3).and_then(|n| n.parse().ok());
    let large = bench.stream_out(mib.unwrap_or(1024) * MIB).await?;
    let other = Dfs::connect(settings, bench.clock.clone()).await?;
    bench.stream_in(&other, large).await?;
    bench.logged(200).await?;
    bench.inlined(200).await?;
    bench.synced(1).await?;
    bench.synced(16).await?;
    bench.creates(3000).await?;
    bench.small(3000).await?;
    bench.dfs.shutdown(Duration::from_secs(10)).await
}

struct Bench {
    dfs: Dfs,
    clock: Arc<SystemClock>,
    root: InodeId,
}

impl Bench {
    async fn create(&self, text: &str) -> Result<Arc<OpenFile>, Error> {
        let name = Name::new(text.as_bytes()).expect("a name");
        let made = self.dfs.create(self.root, &name, 0o644, CALLER, false);
        Ok(made.await?.1)
    }

    async fn stream_out(&self, bytes: usize) -> Result<InodeId, Error> {
        let file = self.create("large").await?;
        let data: Vec<u8> = (0..MIB)
            .map(|i| u8::try_from(i % 251).unwrap_or(0))
            .collect();
        let began = self.clock.monotonic();
        for at in (0..bytes).step_by(MIB) {
            write(&file, at as u64, &data).await?;
        }
        file.flush().await?;
        self.say("written and closed", bytes / MIB, "MiB", began);
        file.fsync(false).await?;
        self.say("written and synced", bytes / MIB, "MiB", began);
        Ok(file.inode())
    }

    async fn stream_in(&self, dfs: &Dfs, inode: InodeId) -> Result<(), Error> {
        let opened = dfs.open(inode, OpenHow::default()).await?;
        for what in ["read", "read again"] {
            let began = self.clock.monotonic();
            let (mut at, mut waits) = (0, 0);
            while at < opened.attr.size {
                let len = 128 << 10;
                let got = match opened.file.try_read(at, len) {
                    Some(got) => got?,
                    None => {
                        waits += 1;
                        opened.file.read(at, len).await?
                    }
                };
                at += Bytes::len(&got) as u64;
            }
            let mib = usize::try_from(at).unwrap_or(0) / MIB;
            self.say(&format!("{what} ({waits} waits)"), mib, "MiB", began);
        }
        Ok(())
    }

    async fn synced(&self, writers: u64) -> Result<(), Error> {
        let file = self.create(&format!("synced{writers}")).await?;
        write(&file, 0, &vec![1; 4 * MIB]).await?;
        file.fsync(false).await?;
        let each = 800 / writers.min(4);
        let began = self.clock.monotonic();
        let tasks = (0..writers).map(|writer| {
            let file = file.clone();
            tokio::spawn(async move {
                for i in 0..each {
                    let at = (writer * 331 + i * 7919) % 1024 * 4096;
                    write(&file, at, &[7; 4096]).await?;
                    file.fsync(true).await?;
                }
                Ok::<(), Error>(())
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("no panic")?;
        }
        let what = format!("4 KiB written and synced by {writers}");
        let count = usize::try_from(each * writers).unwrap_or(0);
        self.say(&what, count, "", began);
        Ok(())
    }

    /// The master's log alone.
    async fn logged(&self, count: usize) -> Result<(), Error> {
        let began = self.clock.monotonic();
        for _ in 0..count {
            self.dfs.sync_directory(self.root).await?;
        }
        self.say("folders synced", count, "", began);
        Ok(())
    }

    /// Synced writes without minions.
    async fn inlined(&self, count: usize) -> Result<(), Error> {
        let file = self.create("inlined").await?;
        let began = self.clock.monotonic();
        for i in 0..count {
            write(&file, i as u64 % 3000, b"some bytes").await?;
            file.fsync(true).await?;
        }
        self.say("small files written and synced", count, "", began);
        Ok(())
    }

    async fn creates(&self, count: usize) -> Result<(), Error> {
        let began = self.clock.monotonic();
        for i in 0..count {
            self.create(&format!("empty{i}")).await?.flush().await?;
        }
        self.say("created", count, "", began);
        Ok(())
    }

    async fn small(&self, count: usize) -> Result<(), Error> {
        let began = self.clock.monotonic();
        for i in 0..count {
            let file = self.create(&format!("small{i}")).await?;
            write(&file, 0, &[3; 4096]).await?;
            file.flush().await?;
        }
        self.say("small files of 4 KiB", count, "", began);
        Ok(())
    }

    fn say(&self, what: &str, count: usize, unit: &str, began: Duration) {
        let took = (self.clock.monotonic() - began).as_secs_f64();
        println!("{what}: {:.0} {unit}/s", count as f64 / took);
    }
}

async fn write(file: &OpenFile, at: u64, data: &[u8]) -> Result<(), Error> {
    match file.try_write(at, data, false) {
        Some(written) => written.map(|_| ()),
        None => file.write(at, data, false).await.map(|_| ()),
    }
}
