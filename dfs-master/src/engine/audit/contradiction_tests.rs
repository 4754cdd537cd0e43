//! Tables whose rows contradict each other, each in its way, and everything that can be asked of them: it
//! is done or refused, and the master goes on. It never stops, and never runs in a circle.

use super::damages::claim;
use super::*;
use crate::blocks::seal::Measured;
use dfs_proto::{
    attr::SetAttr,
    change::{RangeMode, RenameMode},
    extent::FileRange,
};

const NEW: InodeId = InodeId(40);

fn names() -> Vec<Change> {
    let listed: [(InodeId, &[&str]); 3] = [
        (InodeId::ROOT, &["folder"]),
        (FOLDER, &["inner", "link", "second", "ghost", "old"]),
        (INNER, &["large", "small"]),
    ];
    let mut changes = Vec::new();
    for (parent, texts) in listed {
        for text in texts {
            let name = || name(text);
            changes.push(Change::Unlink {
                parent,
                name: name(),
            });
            changes.push(Change::Rmdir {
                parent,
                name: name(),
            });
            for (new_parent, new_name) in [
                (InodeId::ROOT, "new"),
                (FOLDER, "second"),
                (INNER, "new"),
                (INNER, "large"),
            ] {
                for mode in [RenameMode::Replace, RenameMode::Exchange] {
                    changes.push(Change::Rename {
                        parent,
                        name: name(),
                        new_parent,
                        new_name: super::name(new_name),
                        mode,
                    });
                }
            }
        }
    }
    changes
}

fn made() -> Vec<(Change, Grant)> {
    let caller = Caller {
        uid: 0,
        gid: 0,
        umask: 0,
    };
    let mut changes = Vec::new();
    for parent in [InodeId::ROOT, FOLDER, INNER] {
        for what in [Make::File { open: true }, Make::Directory] {
            let make = Change::Make {
                parent,
                name: name("new"),
                what,
                mode: 0o755,
                caller,
            };
            changes.push((make, Grant::Inode(NEW)));
        }
        for inode in [LARGE, SMALL, LINK] {
            let link = Change::Link {
                inode,
                parent,
                name: name("new"),
            };
            changes.push((link, Grant::Nothing));
        }
    }
    changes
}

fn on_inode(inode: InodeId) -> Vec<Change> {
    let range = FileRange {
        start: 100,
        end: 5000,
    };
    let mut changes = vec![
        Change::Open {
            inode,
            truncate: true,
            kill_privileges: true,
        },
        Change::Close {
            inodes: vec![inode],
        },
        Change::RemoveXattr {
            inode,
            name: Bytes::from("user.a"),
        },
        Change::SetXattr {
            inode,
            name: Bytes::from("user.b"),
            value: Bytes::from("c"),
            mode: XattrMode::Any,
            kill_set_group: false,
        },
    ];
    for (source, from, len) in [(LARGE, 0, 1000), (NOTE, 60, 40)] {
        changes.push(Change::CloneRange {
            source,
            from,
            inode,
            at: 0,
            len,
            kill_privileges: false,
        });
    }
    for size in [0, 60, 500, 1 << 20] {
        let set = SetAttr {
            mode: Some(0o600),
            size: Some(size),
            ..SetAttr::default()
        };
        changes.push(Change::SetAttr { inode, set });
    }
    for mode in [RangeMode::Extend, RangeMode::Punch, RangeMode::Zero] {
        changes.push(Change::Fallocate {
            inode,
            range,
            mode,
            kill_privileges: false,
        });
    }
    changes
}

fn bytes() -> Vec<Change> {
    let extent = Extent {
        file_offset: 0,
        len: 1000,
        block: BLOCK,
        block_offset: 5000,
    };
    let all = [LARGE, SMALL].into_iter().flat_map(|inode| {
        let extents = CommitBytes::Extents {
            extents: vec![extent],
            from_inline: None,
        };
        let inline = CommitBytes::Inline {
            offset: 0,
            bytes: Bytes::from("few"),
            data_version: 1,
        };
        [extents, inline].map(|bytes| Change::Commit {
            files: vec![FileCommit {
                inode,
                truncations: 0,
                mtime: Timestamp::EPOCH,
                kill_privileges: false,
                bytes,
            }],
            synced: vec![(BLOCK, 1 << 20)],
            durable: false,
        })
    });
    let seals = [BLOCK, EMPTY_BLOCK].map(|block| Change::Seal {
        block,
        length: 6000,
    });
    all.chain(seals).collect()
}

fn changes() -> Vec<(Change, Grant)> {
    let mut changes = made();
    let inodes = [FOLDER, INNER, LARGE, SMALL, LINK, NOTE].map(on_inode);
    let plain = names()
        .into_iter()
        .chain(bytes())
        .chain(inodes.into_iter().flatten());
    changes.extend(plain.map(|change| (change, Grant::Nothing)));
    changes
}

fn acts() -> Vec<Act> {
    let policy = |directory, copies| Act::Policy { directory, copies };
    let quota = |directory, limits| Act::Quota { directory, limits };
    let copies = Copies {
        wanted: 3,
        least: 2,
    };
    let mut acts = vec![
        Act::EndSession { session: SESSION },
        Act::Punch {
            blocks: vec![BLOCK, EMPTY_BLOCK],
        },
    ];
    for block in [BLOCK, EMPTY_BLOCK] {
        let (minion, length) = (MinionId(1), 500);
        acts.push(Act::SealMeasured {
            block,
            measured: vec![Measured { minion, length }],
            waited: true,
        });
    }
    for directory in [InodeId::ROOT, FOLDER, INNER] {
        acts.push(policy(directory, Some(copies)));
        acts.push(policy(directory, None));
        acts.push(quota(directory, Some(Limits::default())));
        acts.push(quota(directory, None));
    }
    acts
}

impl Bench {
    /// All rows but the answers to sessions.
    fn told(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = self.rows();
        rows.retain(|key, _| {
            let key = Key::parse(key).expect("a key");
            !matches!(key, Key::Reply { .. })
        });
        rows
    }

    /// What happens by itself, and what anybody reads.
    fn goes_on(&mut self) {
        for round in 0.. {
            assert!(round < 100, "it counts in a circle");
            let counted = self.act(Act::Count { entries_max: 100 });
            match counted {
                Outcome::Counted { more: true } => {}
                Outcome::Counted { more: false } => break,
                other => panic!("it does not count: {other:?}"),
            }
        }
        let ended = self.act(Act::EndSession { session: SESSION });
        assert_eq!(ended, Outcome::Done, "a session can end");
        let reclaim = Act::Reclaim {
            before: Timestamp::from_nanos(i128::MAX >> 64),
            blocks_max: 100,
            rows_max: 1000,
        };
        for round in 0.. {
            assert!(round < 100, "it reclaims in a circle");
            let reclaimed = self.act(reclaim.clone());
            match reclaimed {
                Outcome::Reclaimed { more: true, .. } => {}
                Outcome::Reclaimed { more: false, .. } => break,
                other => panic!("it does not reclaim: {other:?}"),
            }
        }
        let reader = self.machine.reader();
        for inode in [InodeId::ROOT, FOLDER, INNER, LARGE, SMALL, LINK, NOTE, NEW] {
            let refused = [
                reader.view(inode).err(),
                reader.getattr(inode).err(),
                reader.parent(inode).err(),
                reader.locate(inode, 0).err(),
                reader.readlink(inode).err(),
                reader.listxattr(inode).err(),
                reader.quotas_of(inode).err(),
                reader.policy(inode).err(),
            ];
            for error in refused.into_iter().flatten() {
                assert!(!matches!(error, FsError::Damaged(_)), "{error}");
            }
        }
        self.mended();
    }
}

/// In the short form each change meets every sixteenth damage, not the same ones.
fn is_chosen(damage: usize, change: usize) -> bool {
    let long = std::env::var_os("DFS_LONG").is_some_and(|long| !long.is_empty());
    long || (damage + change).is_multiple_of(16)
}

#[test]
fn nothing_that_contradicts_itself_stops_the_master() {
    let mut refused = 0;
    for (d, (what, _, damage)) in DAMAGES.iter().enumerate() {
        let changes = changes().into_iter().enumerate();
        for (_, (change, grant)) in changes.filter(|(c, _)| is_chosen(d, *c)) {
            let mut bench = Bench::new();
            bench.damage(damage);
            let said = format!("{what}: {change:?}");
            let before = bench.told();
            let error = bench.try_change(change, grant);
            if let Some(FsError::Contradictory(why)) = &error {
                refused += 1;
                assert!(!why.is_empty(), "{said}");
                assert_eq!(bench.told(), before, "{said} has changed something");
            }
            bench.goes_on();
        }
        let acts = acts().into_iter().enumerate();
        for (_, act) in acts.filter(|(a, _)| is_chosen(d, *a)) {
            let mut bench = Bench::new();
            bench.damage(damage);
            bench.act(act);
            bench.goes_on();
        }
    }
    assert!(refused > 0, "{refused} were refused");
}

#[test]
fn what_a_block_says_of_a_file_takes_nothing_from_it() {
    for inode in [LARGE, NOTE] {
        let mut bench = Bench::new();
        bench.damage(|txn| {
            let mut row = txn.row::<BlockRow>(BLOCK).expect("reads").expect("there");
            row.synced = 0;
            txn.put(BLOCK, &row);
            claim(txn, inode, 10, 2000);
        });
        let before = bench.row::<InodeRow>(inode);
        let (minion, length) = (MinionId(1), 1500);
        let sealed = bench.act(Act::SealMeasured {
            block: BLOCK,
            measured: vec![Measured { minion, length }],
            waited: true,
        });
        assert_eq!(sealed, Outcome::Sealed(Some(length)));
        assert_eq!(bench.row::<InodeRow>(inode), before);
    }
}

#[test]
fn a_file_that_says_it_has_no_bytes_keeps_those_it_has() {
    let mut bench = Bench::new();
    bench.damage(|txn| inode(txn, LARGE, |row| row.extents = 0));
    let extent = Extent {
        file_offset: 100,
        len: 100,
        block: BLOCK,
        block_offset: 5000,
    };
    let bytes = CommitBytes::Extents {
        extents: vec![extent],
        from_inline: None,
    };
    bench.commit(LARGE, bytes);
    let layout = bench.machine.reader().locate(LARGE, 0).expect("reads");
    let extents = layout.answer.extents;
    let lens: Vec<u32> = extents.iter().map(|extent| extent.len).collect();
    assert_eq!(lens, [100, 100, 800]);
    assert_eq!(extents[1], extent);
    assert_eq!(bench.mended(), Faults::default());
}
