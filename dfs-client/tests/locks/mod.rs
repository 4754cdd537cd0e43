//! Locks through the client, against a cluster in memory: they go with their handles and sessions,
//! and cost nothing where there are none.

use super::{cluster::Cluster, create};
use dfs_client::{Dfs, Error, OpenFile, OpenHow};
use dfs_proto::{
    error::FsError,
    extent::FileRange,
    id::InodeId,
    session::{LOCK_END_MAX, LockKind, LockWish},
};
use std::{sync::Arc, time::Duration};

const ALL: FileRange = FileRange {
    start: 0,
    end: LOCK_END_MAX,
};

fn wish(owner: u64) -> LockWish {
    LockWish {
        owner,
        range: ALL,
        kind: LockKind::Exclusive,
        pid: 1,
    }
}

async fn open(dfs: &Dfs, inode: InodeId) -> Arc<OpenFile> {
    dfs.open(inode, OpenHow::default()).await.unwrap().file
}

/// Waits until nothing is locked.
async fn unlocked(cluster: &Cluster) {
    let unlocked = async {
        while !cluster.world.lock().locks.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), unlocked).await;
    waited.expect("unlocked in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_locked_costs_no_change_at_its_close() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let file = create(&dfs, "a").await;
    let kept = open(&dfs, file.inode()).await;
    let before = cluster.world.lock().changes;
    assert!(!file.may_hold(1) && !file.may_be_locked());
    file.closed_by(1).await.unwrap();
    file.unlock(1, ALL).await.unwrap();
    file.release();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(cluster.world.lock().changes, before);
    kept.lock(wish(1)).await.unwrap();
    assert!(kept.may_hold(1) && !kept.may_hold(2));
    kept.closed_by(2).await.unwrap();
    assert_eq!(cluster.world.lock().changes, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_go_with_the_handle_that_they_were_taken_through() {
    let cluster = Cluster::start().await;
    let (dfs, other) = (cluster.client().await, cluster.client().await);
    let kept = create(&dfs, "a").await;
    let file = open(&dfs, kept.inode()).await;
    let theirs = open(&other, kept.inode()).await;
    file.lock(wish(1)).await.unwrap();
    let refused = theirs.lock(wish(1)).await;
    assert_eq!(refused, Err(Error::Refused(FsError::Locked)));
    assert!(OpenFile::is_locked(&refused.unwrap_err()));
    let held = theirs.test_lock(wish(1)).await.unwrap().unwrap();
    assert_eq!((held.kind, held.range), (LockKind::Exclusive, ALL));
    // Another handle of the same file does not hold them.
    open(&dfs, kept.inode()).await.release();
    assert!(kept.may_hold(1));
    let waits = tokio::spawn(async move {
        theirs.wait_for_lock(wish(1)).await.unwrap();
        theirs.lock(wish(1)).await.unwrap();
        theirs
    });
    file.release();
    let theirs = waits.await.unwrap();
    assert!(!kept.may_hold(1));
    theirs.release();
    unlocked(&cluster).await;
    // Whoever gets the same number from the kernel at once is not unlocked in its place.
    for _ in 0..50 {
        let file = open(&dfs, kept.inode()).await;
        file.lock(wish(1)).await.unwrap();
        file.release();
        kept.lock(wish(1)).await.unwrap();
        assert_eq!(cluster.world.lock().locks.len(), 1);
        kept.unlock(1, ALL).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_locks_sees_what_was_written_before_the_unlock() {
    let cluster = Cluster::start().await;
    let (dfs, other) = (cluster.client().await, cluster.client().await);
    let ours = create(&dfs, "a").await;
    let theirs = open(&other, ours.inode()).await;
    for round in 0..10_u8 {
        let (writer, reader) = match round % 2 {
            0 => (&ours, &theirs),
            _ => (&theirs, &ours),
        };
        writer.lock(wish(1)).await.unwrap();
        writer.write(0, &[round; 10], false).await.unwrap();
        writer.unlock(1, ALL).await.unwrap();
        let locked = reader.lock(wish(1)).await.unwrap();
        assert!(!locked.keep_cache);
        assert_eq!(reader.read(0, 100).await.unwrap()[..], [round; 10]);
        reader.unlock(1, ALL).await.unwrap();
        let again = reader.lock(wish(1)).await.unwrap();
        assert!(again.keep_cache && !again.attrs_changed);
        reader.unlock(1, ALL).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_locked_in_a_session_that_ended_fails_until_it_is_closed() {
    let cluster = Cluster::start().await;
    let dfs = cluster.client().await;
    let locked = create(&dfs, "locked").await;
    let free = create(&dfs, "free").await;
    for file in [&locked, &free] {
        file.write(0, b"bytes", false).await.unwrap();
        file.fsync(false).await.unwrap();
        file.lock(wish(1)).await.unwrap();
    }
    free.unlock(1, ALL).await.unwrap();
    cluster.world.lock().end_all_sessions();
    let inode = locked.inode();
    let lost = Err(Error::HandleLost(inode));
    // The first to meet the end may be told that it was in flight; the file is lost either way.
    let met = locked.lock(wish(2)).await;
    assert!(met.is_err(), "{met:?}");
    let read = async {
        while locked.read(0, 5).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .unwrap();
    assert_eq!(locked.read(0, 5).await.map(drop), lost);
    assert_eq!(locked.try_read(0, 5).unwrap().map(drop), lost);
    assert_eq!(locked.write(0, b"x", false).await.map(drop), lost);
    assert_eq!(locked.flush().await, lost);
    assert_eq!(locked.unlock(1, ALL).await, lost);
    locked.release();
    let again = open(&dfs, inode).await;
    again.lock(wish(1)).await.unwrap();
    assert_eq!(again.read(0, 5).await.unwrap()[..], b"bytes"[..]);
    // What was unlocked in time goes on.
    assert_eq!(free.read(0, 5).await.unwrap()[..], b"bytes"[..]);
    free.lock(wish(1)).await.unwrap();
}
