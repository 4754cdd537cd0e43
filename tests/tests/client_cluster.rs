//! The client against real daemons in this process: what is written comes back, through another
//! client too, and over restarts of the master.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is")]

use dfs_client::{Dfs, OpenFile, OpenHow, Seek, Settings};
use dfs_host::clock::SystemClock;
use dfs_proto::{
    attr::SetAttr,
    change::{Caller, Make, RenameMode},
    extent::FileRange,
    id::InodeId,
    name::Name,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0,
};

struct Cluster {
    folder: TempDir,
    address: String,
    master: Option<(CancellationToken, JoinHandle<()>)>,
    minions: CancellationToken,
}

impl Cluster {
    async fn start() -> Cluster {
        let mut cluster = Cluster {
            folder: TempDir::new().unwrap(),
            address: "127.0.0.1:0".to_owned(),
            master: None,
            minions: CancellationToken::new(),
        };
        cluster.start_master().await;
        for number in 1..=3 {
            let data = cluster.data(&format!("minion-{number}"));
            let master = vec![cluster.address.clone()];
            let settings = dfs_minion::settings::Settings::local(vec![data], master);
            let life = cluster.minions.clone();
            dfs_minion::daemon::start(settings, Arc::new(SystemClock::new()), life)
                .await
                .unwrap();
        }
        cluster
    }

    fn data(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    async fn start_master(&mut self) {
        let listen = vec![self.address.clone()];
        let settings = dfs_master::config::Settings::local(self.data("master"), listen);
        let life = CancellationToken::new();
        let running =
            dfs_master::daemon::start(settings, Arc::new(SystemClock::new()), life.clone())
                .await
                .unwrap();
        self.address.clone_from(&running.addresses[0]);
        let ended = tokio::spawn(async move { running.ended.await.unwrap().unwrap() });
        self.master = Some((life, ended));
    }

    async fn stop_master(&mut self) {
        let (life, ended) = self.master.take().unwrap();
        life.cancel();
        ended.await.unwrap();
    }

    /// A client, once there are minions enough for it to write.
    async fn client(&self) -> Dfs {
        let settings = Settings {
            master: vec![self.address.clone()],
            ..Settings::default()
        };
        let clock = Arc::new(SystemClock::new());
        Dfs::connect(settings, clock).await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.minions.cancel();
        if let Some((life, _)) = &self.master {
            life.cancel();
        }
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

async fn create(dfs: &Dfs, text: &str) -> Arc<OpenFile> {
    let name = name(text);
    let made = dfs.create(InodeId::ROOT, &name, 0o644, CALLER, false);
    made.await.unwrap().1
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..len).map(|_| rng.random()).collect()
}

async fn write(file: &OpenFile, offset: u64, data: &[u8]) {
    match file.try_write(offset, data, false) {
        Some(done) => done.unwrap(),
        None => file.write(offset, data, false).await.unwrap(),
    };
}

async fn read(file: &OpenFile, offset: u64, len: u32) -> Vec<u8> {
    match file.try_read(offset, len) {
        Some(bytes) => bytes.unwrap().to_vec(),
        None => file.read(offset, len).await.unwrap().to_vec(),
    }
}

async fn whole(dfs: &Dfs, inode: InodeId) -> Vec<u8> {
    let opened = dfs.open(inode, OpenHow::default()).await.unwrap();
    let mut all = Vec::new();
    while all.len() < usize::try_from(opened.attr.size).unwrap() {
        let part = read(&opened.file, all.len() as u64, 128 << 10).await;
        assert!(!part.is_empty(), "short at {}", all.len());
        all.extend(part);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_all_sizes_come_back() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    for size in [0, 1, 4096, 4097, 70_000, 3 << 20, 70 << 20] {
        let file = create(&dfs, &format!("file{size}")).await;
        let data = bytes(1, size);
        for (i, part) in data.chunks(1 << 20).enumerate() {
            write(&file, (i as u64) << 20, part).await;
        }
        file.fsync(false).await.unwrap();
        assert!(whole(&dfs, file.inode()).await == data);
        let other = cluster.client().await;
        assert!(whole(&other, file.inode()).await == data, "{size} bytes");
        // Else whoever makes the next file waits for what this one may keep.
        other.shutdown(Duration::from_secs(10)).await.unwrap();
    }
    dfs.shutdown(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_files_agree_with_vectors() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let mut rng = SmallRng::seed_from_u64(11);
    let mut files: Vec<(Arc<OpenFile>, Vec<u8>)> = Vec::new();
    for i in 0..100 {
        files.push((create(&dfs, &format!("f{i}")).await, Vec::new()));
    }
    for step in 0..3000u64 {
        let pick = rng.random_range(0..files.len());
        let (file, model) = &mut files[pick];
        let size = model.len();
        match rng.random_range(0..100) {
            0..45 => {
                let at = rng.random_range(0..=size + 3000);
                let n = match rng.random_range(0..10) {
                    0 => rng.random_range(1..200_000),
                    1..5 => rng.random_range(1..20_000),
                    _ => rng.random_range(1..500),
                };
                let data = bytes(step, n);
                write(file, at as u64, &data).await;
                model.resize(size.max(at + n), 0);
                model[at..at + n].copy_from_slice(&data);
            }
            45..55 => {
                let to = rng.random_range(0..size + 2000);
                let set = SetAttr {
                    size: Some(to as u64),
                    ..SetAttr::default()
                };
                let attr = dfs.setattr(file.inode(), set).await.unwrap();
                assert_eq!(attr.size, to as u64);
                model.resize(to, 0);
            }
            55..65 => file.flush().await.unwrap(),
            65..70 => file.fsync(false).await.unwrap(),
            70..90 => {
                let at = rng.random_range(0..=size);
                let n = rng.random_range(1..50_000);
                let expected = &model[at..size.min(at + n)];
                let got = read(file, at as u64, u32::try_from(n).unwrap()).await;
                assert!(got == expected, "step {step}: {at}+{n} of {size}");
            }
            90..95 => {
                let attr = dfs.getattr(file.inode()).await.unwrap();
                assert_eq!(attr.size, size as u64);
            }
            _ => {
                file.flush().await.unwrap();
                let inode = file.inode();
                *file = dfs.open(inode, OpenHow::default()).await.unwrap().file;
            }
        }
    }
    let other = cluster.client().await;
    for (file, model) in &files {
        file.flush().await.unwrap();
        assert!(whole(&other, file.inode()).await == *model);
    }
}

/// Grows a vector to `end` with zeros, if it is shorter.
fn grow(model: &mut Vec<u8>, end: usize) {
    model.resize(model.len().max(end), 0);
}

/// Writes to a vector as to a file.
fn put(model: &mut Vec<u8>, at: usize, data: &[u8]) {
    if !data.is_empty() {
        grow(model, at + data.len());
        model[at..at + data.len()].copy_from_slice(data);
    }
}

/// Every byte that is not zero is in a stretch of data, and the last one ends with the file.
async fn data_is_told(file: &OpenFile, model: &[u8]) {
    let mut at = 0;
    while let Some(start) = file.seek(at, Seek::Data).await.unwrap() {
        let end = file.seek(start, Seek::Hole).await.unwrap().unwrap();
        assert!(start >= at && end > start && end <= model.len() as u64);
        let (hole, data) = (
            usize::try_from(at).unwrap(),
            usize::try_from(start).unwrap(),
        );
        assert!(
            model[hole..data].iter().all(|b| *b == 0),
            "{hole} to {data}"
        );
        at = end;
    }
    let rest = usize::try_from(at).unwrap();
    assert!(model[rest..].iter().all(|b| *b == 0), "from {rest}");
    let none = file.seek(model.len() as u64, Seek::Hole).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_and_copies_agree_with_vectors() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let mut rng = SmallRng::seed_from_u64(12);
    let mut files: Vec<(Arc<OpenFile>, Vec<u8>)> = Vec::new();
    for i in 0..12 {
        files.push((create(&dfs, &format!("f{i}")).await, Vec::new()));
    }
    for step in 0..2500u64 {
        let other = rng.random_range(0..files.len());
        let (source, theirs) = files[other].clone();
        let pick = rng.random_range(0..files.len());
        let (file, model) = &mut files[pick];
        let most = [3_000, 6_000, 200_000][rng.random_range(0..3)];
        let (at, n) = (rng.random_range(0..most), rng.random_range(1..most));
        let range = FileRange::of(at as u64, n as u64);
        match rng.random_range(0..100) {
            0..25 => {
                let data = bytes(step, n);
                write(file, at as u64, &data).await;
                put(model, at, &data);
            }
            25..40 => {
                let extend = step % 2 == 0;
                file.punch(range, extend, false).await.unwrap();
                grow(model, if extend { at + n } else { 0 });
                let end = (at + n).min(model.len());
                model[at.min(end)..end].fill(0);
            }
            40..45 => {
                file.allocate(range, false, false).await.unwrap();
                grow(model, at + n);
            }
            45..65 if other != pick => {
                let from = rng.random_range(0..most);
                let part = theirs.get(from..).unwrap_or_default();
                let part = &part[..n.min(part.len())];
                copy_all(file, &source, (from, at, n), part.len()).await;
                put(model, at, part);
            }
            65..70 => {
                let set = SetAttr {
                    size: Some(at as u64),
                    ..SetAttr::default()
                };
                dfs.setattr(file.inode(), set).await.unwrap();
                model.resize(at, 0);
            }
            70..75 => file.fsync(false).await.unwrap(),
            75..80 => data_is_told(file, model).await,
            80..90 => {
                let end = model.len().min(at + n);
                let got = read(file, at as u64, u32::try_from(n).unwrap()).await;
                assert!(got == model[at.min(end)..end], "step {step}: {at}+{n}");
            }
            _ => {
                let got = read(file, 0, 1 << 20).await;
                assert!(got == *model, "step {step}");
                let attr = dfs.getattr(file.inode()).await.unwrap();
                assert_eq!(attr.size, model.len() as u64);
            }
        }
    }
    let there = cluster.client().await;
    for (file, model) in &files {
        file.flush().await.unwrap();
        assert!(whole(&there, file.inode()).await == *model);
        let opened = there.open(file.inode(), OpenHow::default()).await.unwrap();
        data_is_told(&opened.file, model).await;
    }
}

/// Copies `len` bytes as far as the source has them, which is `expected` of them.
async fn copy_all(
    file: &OpenFile,
    source: &OpenFile,
    (from, at, len): (usize, usize, usize),
    expected: usize,
) {
    let mut copied = 0;
    loop {
        let [from, at] = [from, at].map(|start| (start + copied) as u64);
        let range = (from, at, (len - copied) as u64);
        let more = file.copy_from(source, range, false).await.unwrap();
        copied += usize::try_from(more).unwrap();
        if more == 0 || copied == len {
            break;
        }
    }
    assert_eq!(copied, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_copies_and_punches_what_is_open_here() {
    let cluster = Cluster::start().await;
    let (here, there) = (cluster.client().await, cluster.client().await);
    for len in [3_000, 100_000] {
        let file = create(&here, &format!("f{len}")).await;
        let mut data = bytes(1, len);
        write(&file, 0, &data).await;
        file.flush().await.unwrap();
        let theirs = there.open(file.inode(), OpenHow::default()).await.unwrap();
        let copy = create(&there, &format!("copy{len}")).await;
        // What this client has not synced yet, that one waits for.
        copy_all(&copy, &theirs.file, (0, 0, len), len).await;
        copy.fsync(false).await.unwrap();
        let hole = FileRange::of(1_000, len as u64 - 2_000);
        theirs.file.punch(hole, false, false).await.unwrap();
        assert!(whole(&here, copy.inode()).await == data, "{len} bytes");
        data[1_000..len - 1_000].fill(0);
        assert!(whole(&here, file.inode()).await == data, "{len} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_closed_here_is_seen_by_the_next_open_there() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.client().await, cluster.client().await);
    let file = create(&one, "shared").await;
    for round in 0..60u64 {
        let data = bytes(round, 1 + usize::try_from(round).unwrap() * 997 % 60_000);
        let (writer, inode) = match round % 2 {
            0 => (&one, file.inode()),
            _ => (&two, file.inode()),
        };
        let how = OpenHow {
            truncate: round % 3 == 0,
            ..OpenHow::default()
        };
        let opened = writer.open(inode, how).await.unwrap();
        write(&opened.file, 0, &data).await;
        opened.file.flush().await.unwrap();
        for reader in [&two, &one] {
            let seen = whole(reader, inode).await;
            assert!(seen[..data.len()] == data, "round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_not_kept_over_a_change_that_was_heard_of_before_the_open() {
    let cluster = Cluster::start().await;
    let (here, there) = (cluster.client().await, cluster.client().await);
    let file = create(&there, "shared").await;
    for round in 0..20 {
        assert!(!open_kept(&here, file.inode()).await, "round {round}");
        assert!(open_kept(&here, file.inode()).await, "as it was");
        write(&file, 0, &bytes(round, 5000)).await;
        file.flush().await.unwrap();
        // The attributes are known and leased again before the content is.
        here.getattr(file.inode()).await.unwrap();
    }
}

/// Opens a file, and tells whether cached pages of it may be kept.
async fn open_kept(dfs: &Dfs, inode: InodeId) -> bool {
    let opened = dfs.open(inode, OpenHow::default()).await.unwrap();
    opened.keep_cache
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_directory_is_known_whole_until_another_client_changes_it() {
    let cluster = Cluster::start().await;
    let (here, there) = (cluster.client().await, cluster.client().await);
    let directory = async |text: &str| {
        let (root, name) = (InodeId::ROOT, name(text));
        let made = here.make(root, &name, Make::Directory, 0o755, CALLER);
        made.await.unwrap().inode
    };
    let make = async |dfs: &Dfs, directory: InodeId, text: &str| {
        let (name, what) = (name(text), Make::File { open: false });
        dfs.make(directory, &name, what, 0o644, CALLER)
            .await
            .unwrap()
    };
    let first = directory("first").await;
    make(&here, first, "own").await;
    let theirs = name("theirs");
    let absent = here.try_lookup(first, &theirs);
    assert!(matches!(absent, Some(Err(_))), "known without asking");
    make(&there, first, "theirs").await;
    make(&here, first, "more").await;
    let asked = here.try_lookup(first, &theirs);
    assert!(
        asked.is_none(),
        "the own change shows that there was another"
    );
    here.lookup(first, &theirs).await.unwrap();

    let second = directory("second").await;
    make(&there, second, "theirs").await;
    let found = tokio::time::timeout(Duration::from_secs(1), async {
        while here.lookup(second, &theirs).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    found.await.expect("a name is at most a second late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synced_writes_of_many_and_renames_over_files() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let file = create(&dfs, "database").await;
    let tasks = (0..16u64).map(|writer| {
        let file = file.clone();
        tokio::spawn(async move {
            for i in 0..20u64 {
                let at = (writer * 20 + i) * 4096;
                write(&file, at, &[u8::try_from(writer).unwrap(); 4096]).await;
                file.fsync(true).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let all = whole(&cluster.client().await, file.inode()).await;
    for (i, page) in all.chunks(4096).enumerate() {
        assert!(page.iter().all(|b| usize::from(*b) == i / 20));
    }
    let (from, to, root) = (name("new"), name("database"), InodeId::ROOT);
    for round in 0..5 {
        let file = create(&dfs, "new").await;
        write(&file, 0, &bytes(round, 50_000)).await;
        if round % 2 == 0 {
            file.fsync(false).await.unwrap();
        }
        file.flush().await.unwrap();
        dfs.rename(root, &from, root, &to, RenameMode::Replace)
            .await
            .unwrap();
        let attr = dfs.lookup(root, &to).await.unwrap();
        assert!(whole(&dfs, attr.inode).await == bytes(round, 50_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_master_goes_unnoticed() {
    let mut cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let work = {
        let dfs = dfs.clone();
        tokio::spawn(async move {
            let mut made = Vec::new();
            for i in 0..400u64 {
                if i % 20 == 0 {
                    let (dir, what) = (name(&format!("dir{i}")), Make::Directory);
                    let root = InodeId::ROOT;
                    dfs.make(root, &dir, what, 0o755, CALLER).await.unwrap();
                }
                let file = create(&dfs, &format!("file{i}")).await;
                write(&file, 0, &bytes(i, 6000)).await;
                file.flush().await.unwrap();
                made.push((i, file.inode()));
            }
            made
        })
    };
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.stop_master().await;
        cluster.start_master().await;
    }
    for (i, inode) in work.await.unwrap() {
        assert!(whole(&dfs, inode).await == bytes(i, 6000));
    }
}
