//! The client against a cluster in memory: bytes come back, whatever happens meanwhile.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test may stop where it is, and its oracle is one long match"
)]

mod cluster;
mod locks;

use cluster::{CALLER, Cluster};
use dfs_client::{Dfs, Error, OpenFile, OpenHow};
use dfs_proto::{
    attr::SetAttr,
    change::RenameMode,
    id::{InodeId, MinionId},
    name::Name,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

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
    if let Some(done) = file.try_write(offset, data, false) {
        done.unwrap();
    } else {
        file.write(offset, data, false).await.unwrap();
    }
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
async fn a_small_file_costs_two_changes() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let before = cluster.world.lock().changes;
    let file = create(&dfs, "a").await;
    write(&file, 0, b"hello").await;
    assert_eq!(read(&file, 0, 100).await, b"hello");
    assert_eq!(dfs.getattr(file.inode()).await.unwrap().size, 5);
    file.flush().await.unwrap();
    assert!(matches!(file.try_flush(), Some(Ok(()))));
    assert_eq!(cluster.world.lock().changes - before, 2);
    assert_eq!(read(&file, 1, 100).await, b"ello");
    let other = cluster.client().await;
    assert_eq!(whole(&other, file.inode()).await, b"hello");
    dfs.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_comes_back() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let file = create(&dfs, "large").await;
    let data = bytes(1, 90 << 20);
    for (i, part) in data.chunks(1 << 20).enumerate() {
        write(&file, (i as u64) << 20, part).await;
    }
    file.fsync(false).await.unwrap();
    assert!(whole(&dfs, file.inode()).await == data);
    let other = cluster.client().await;
    assert!(whole(&other, file.inode()).await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_beyond_inline_keeps_the_first_bytes() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let file = create(&dfs, "log").await;
    let data = bytes(2, 20_000);
    for (i, part) in data.chunks(1000).enumerate() {
        write(&file, i as u64 * 1000, part).await;
        file.flush().await.unwrap();
    }
    let other = cluster.client().await;
    assert!(whole(&other, file.inode()).await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synced_writes_of_many_share_syncs_and_commits() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let file = create(&dfs, "database").await;
    let commits = cluster.world.lock().commits;
    let tasks = (0..16u64).map(|writer| {
        let file = file.clone();
        tokio::spawn(async move {
            for i in 0..50u64 {
                let at = (writer * 50 + i) * 4096;
                write(&file, at, &[u8::try_from(writer).unwrap(); 4096]).await;
                file.fsync(true).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let commits = cluster.world.lock().commits - commits;
    assert!(commits < 400, "{commits} commits for 800 synced writes");
    let other = cluster.client().await;
    let all = whole(&other, file.inode()).await;
    for (i, page) in all.chunks(4096).enumerate() {
        assert!(page.iter().all(|b| usize::from(*b) == i / 50));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_over_a_file_syncs_first() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    for (i, text) in ["new", "old", "new", "new"].into_iter().enumerate() {
        let file = create(&dfs, text).await;
        write(&file, 0, &bytes(i as u64, 100_000)).await;
        file.flush().await.unwrap();
        drop(file);
        if text == "new" {
            let (from, to) = (name("new"), name("old"));
            let root = InodeId::ROOT;
            dfs.rename(root, &from, root, &to, RenameMode::Replace)
                .await
                .unwrap();
        } else {
            dfs.unlink(InodeId::ROOT, &name("old")).await.unwrap();
            let file = create(&dfs, "old").await;
            write(&file, 0, b"x").await;
        }
        if i == 0 {
            dfs.unlink(InodeId::ROOT, &name("old")).await.unwrap();
        }
    }
    let attr = dfs.lookup(InodeId::ROOT, &name("old")).await.unwrap();
    assert!(whole(&dfs, attr.inode).await == bytes(3, 100_000));
}

/// Every file is a vector of bytes, whoever looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_files_agree_with_vectors() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let mut rng = SmallRng::seed_from_u64(7);
    let mut files: Vec<(Arc<OpenFile>, Vec<u8>)> = Vec::new();
    for i in 0..100 {
        files.push((create(&dfs, &format!("f{i}")).await, Vec::new()));
    }
    for step in 0..4000u64 {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tiny_stretches_come_back() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let file = create(&dfs, "lines").await;
    // Every second ten bytes, then the others: each stretch is a piece of its own.
    let data = bytes(9, 30_000);
    for odd in [1, 0] {
        for (i, line) in data.chunks(10).enumerate().filter(|(i, _)| i % 2 == odd) {
            write(&file, i as u64 * 10, line).await;
        }
        file.flush().await.unwrap();
    }
    let other = cluster.client().await;
    assert!(whole(&other, file.inode()).await == data);
}

async fn longest_pause(file: &OpenFile, data: &[u8], mut meanwhile: impl FnMut(usize)) -> Duration {
    let mut longest = Duration::ZERO;
    for (i, part) in data.chunks(256 << 10).enumerate() {
        meanwhile(i);
        let began = now();
        write(file, (i as u64) << 18, part).await;
        longest = longest.max(began.elapsed());
    }
    let began = now();
    file.fsync(false).await.unwrap();
    longest.max(began.elapsed())
}

#[expect(clippy::disallowed_methods, reason = "a stop watch of a test")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_killed_under_a_writer_and_a_reader() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let file = create(&dfs, "large").await;
    let data = bytes(3, 40 << 20);
    let pause = longest_pause(&file, &data, |i| {
        if i == 60 {
            cluster.kill(1);
        }
    });
    let pause = pause.await;
    assert!(pause < Duration::from_secs(2), "{pause:?}");
    let other = cluster.client().await;
    assert!(whole(&other, file.inode()).await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_minion_that_lives_and_is_full_blocks_are_as_many_as_before() {
    let cluster = Cluster::start().await;
    cluster.world.lock().full.push(MinionId(3));
    let dfs = cluster.client().await;
    let file = create(&dfs, "file").await;
    for i in 0..20 {
        write(&file, i << 16, &bytes(i, 1 << 16)).await;
        file.fsync(false).await.unwrap();
    }
    let blocks = cluster.world.lock().blocks_made();
    assert_eq!(blocks, 1, "one that is shorter than it should be is enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_frozen_under_a_writer_and_a_reader() {
    for frozen in 0..3 {
        let cluster = Cluster::start().await;
        let dfs = cluster.client().await;
        let file = create(&dfs, "large").await;
        let data = bytes(4, 20 << 20);
        let pause = longest_pause(&file, &data, |i| {
            if i == 30 {
                cluster.minions[frozen].frozen.send_replace(true);
            }
        });
        let pause = pause.await;
        assert!(pause < Duration::from_secs(6), "{pause:?}");
        let other = cluster.client().await;
        let began = now();
        assert!(whole(&other, file.inode()).await == data);
        assert!(began.elapsed() < Duration::from_secs(6));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotten_bytes_are_passed_over_and_reported() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let file = create(&dfs, "precious").await;
    let data = bytes(5, 3 << 20);
    write(&file, 0, &data).await;
    file.fsync(false).await.unwrap();
    cluster.minions[0].rots.store(true, Ordering::Relaxed);
    cluster.minions[1].rots.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let other = cluster.client().await;
        assert!(whole(&other, file.inode()).await == data);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(cluster.world.lock().bad.iter().any(|b| b.damaged));
    cluster.minions[2].rots.store(true, Ordering::Relaxed);
    let other = cluster.client().await;
    let opened = other.open(file.inode(), OpenHow::default()).await.unwrap();
    assert!(opened.file.read(0, 4096).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_master_goes_unnoticed_and_nothing_acts_twice() {
    let mut cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let work = {
        let dfs = dfs.clone();
        tokio::spawn(async move {
            let mut made = HashMap::new();
            for i in 0..300u64 {
                let file = create(&dfs, &format!("file{i}")).await;
                write(&file, 0, &bytes(i, 6000)).await;
                file.flush().await.unwrap();
                made.insert(i, file.inode());
            }
            made
        })
    };
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Changes are made and not answered, then the master goes.
        cluster.world.lock().mute = true;
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.stop_master().await;
        cluster.world.lock().mute = false;
        cluster.start_master().await;
    }
    let made = work.await.unwrap();
    assert!(cluster.world.lock().repeats > 0);
    for (i, inode) in made {
        assert!(whole(&dfs, inode).await == bytes(i, 6000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ended_fails_what_was_dirty_and_nothing_else() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let clean = create(&dfs, "clean").await;
    write(&clean, 0, b"clean").await;
    clean.fsync(false).await.unwrap();
    let dirty = create(&dfs, "dirty").await;
    write(&dirty, 0, b"dirty").await;
    cluster.world.lock().end_all_sessions();
    assert!(dirty.flush().await.is_err());
    assert!(dirty.flush().await.is_err());
    assert_eq!(read(&clean, 0, 10).await, b"clean");
    let after = create(&dfs, "after").await;
    write(&after, 0, b"after").await;
    after.fsync(false).await.unwrap();
    write(&clean, 5, b" again").await;
    clean.fsync(false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_but_not_synced_when_its_session_ended_is_told_once() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let mut files = Vec::new();
    for (i, len) in [100, 100_000].into_iter().enumerate() {
        let file = create(&dfs, &format!("f{i}")).await;
        write(&file, 0, &bytes(i as u64, len)).await;
        file.flush().await.unwrap();
        files.push(file);
    }
    cluster.world.lock().end_all_sessions();
    // A change that meets it fails; then every open file moves to the new session.
    let (name, root) = (name("after"), InodeId::ROOT);
    let met = dfs.create(root, &name, 0o644, CALLER, false).await;
    assert_eq!(met.map(|_| ()), Err(Error::SessionLost));
    for (i, file) in files.iter().enumerate() {
        write(file, 0, b"x").await;
        let told = file.fsync(false).await;
        assert_eq!(told, Err(Error::PerhapsUnsynced(file.inode())), "file {i}");
        file.fsync(false).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_everything_down_the_root_still_answers() {
    let mut cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    cluster.stop_master().await;
    for minion in 0..3 {
        cluster.kill(minion);
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let began = now();
    dfs.getattr(InodeId::ROOT).await.unwrap();
    dfs.statfs(InodeId::ROOT).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(1500));
}
