//! Each kind of damage that an audit is to find.

use super::*;

pub(super) fn inode(txn: &mut Txn<'_>, inode: InodeId, change: impl FnOnce(&mut InodeRow)) {
    let mut row = txn.row::<InodeRow>(inode).expect("reads").expect("there");
    change(&mut row);
    txn.put(inode, &row);
}

pub(super) type Damaging = fn(&mut Txn<'_>);

/// Damage, what is said of it, and whether it can be put right.
pub(super) const DAMAGES: &[(&str, bool, Damaging)] = &[
    (
        "directory 20 has 3 entries and 3 links, and says 4 and 3",
        true,
        |txn| {
            inode(txn, FOLDER, |row| row.size = 4);
        },
    ),
    (
        "directory 21 has 2 entries and 2 links, and says 2 and 3",
        true,
        |txn| {
            inode(txn, INNER, |row| row.links = 3);
        },
    ),
    ("inode 23 has 2 names and says 5", true, |txn| {
        inode(txn, SMALL, |row| row.links = 5);
    }),
    (
        "inode 22 has 1000 bytes, 1 extents, 0 attributes, 1 handles, and says 999 bytes",
        true,
        |txn| {
            inode(txn, LARGE, |row| row.stored = 999);
        },
    ),
    (
        "inode 22 has 1000 bytes, 1 extents, 0 attributes, 1 handles, and says 1000 bytes, 4 extents",
        true,
        |txn| {
            inode(txn, LARGE, |row| row.extents = 4);
        },
    ),
    ("0 attributes, 2 handles", true, |txn| {
        inode(txn, LARGE, |row| row.opens = 2)
    }),
    (
        "1 attributes, 0 handles, and says 0 bytes, 0 extents, 3 attributes",
        true,
        |txn| {
            inode(txn, SMALL, |row| row.xattrs = 3);
        },
    ),
    ("the totals are", true, |txn| {
        let totals = TotalsRow {
            inodes: 1,
            stored: 1,
            blocks: 9,
            sessions: 9,
        };
        txn.put((), &totals);
    }),
    ("the quota of directory 20 counts 99 inodes", true, |txn| {
        let mut row = txn.row::<QuotaRow>(FOLDER).expect("reads").expect("there");
        (row.counted.inodes, row.counted.bytes) = (99, 7);
        txn.put(FOLDER, &row);
    }),
    ("block 5 does not know of its bytes at 0", true, |txn| {
        txn.delete::<UseRow>(use_id())
    }),
    (
        "block 5 says that inode 23 has 77 of its bytes at 0, which it has not",
        true,
        |txn| {
            let extent = ExtentId {
                inode: SMALL,
                generation: 0,
                offset: 0,
            };
            txn.put(UseId { extent, ..use_id() }, &UseRow { len: 77 });
        },
    ),
    ("block 5 is noted wrongly as unsettled", true, |txn| {
        txn.delete::<WritingRow>((SESSION, BLOCK));
    }),
    ("block 6 is unused, and not noted", true, |txn| {
        let mut row = txn
            .row::<BlockRow>(EMPTY_BLOCK)
            .expect("reads")
            .expect("there");
        row.state = BlockState::Sealed(0);
        txn.put(EMPTY_BLOCK, &row);
    }),
    ("block 6 is noted wrongly as unused", false, |txn| {
        let mut row = txn
            .row::<BlockRow>(EMPTY_BLOCK)
            .expect("reads")
            .expect("there");
        row.state = BlockState::Sealed(0);
        txn.put(EMPTY_BLOCK, &row);
        txn.put(
            EMPTY_BLOCK,
            &UnusedRow {
                since: Timestamp::EPOCH,
                reclaiming: true,
            },
        );
    }),
    (
        "block 9 is noted as unused and is not there",
        false,
        |txn| {
            txn.put(
                BlockId(9),
                &UnusedRow {
                    since: Timestamp::EPOCH,
                    reclaiming: false,
                },
            );
        },
    ),
    ("block 5 is noted as worn and is Open", false, |txn| {
        txn.put(
            BLOCK,
            &WornRow {
                since: Timestamp::EPOCH,
                decided: false,
            },
        );
    }),
    ("block 5 was punched 0 times", false, |txn| {
        txn.put(
            BLOCK,
            &HolesRow {
                ranges: vec![(0, 4096)],
            },
        );
    }),
    (
        "inode 22: its 1000 bytes at 0 are in block 5, which is not there",
        false,
        |txn| {
            txn.delete::<BlockRow>(BLOCK);
        },
    ),
    (
        "inode 22: its 1000 bytes at 0 are in block 5, which is Sealed(500)",
        false,
        |txn| {
            let mut row = txn.row::<BlockRow>(BLOCK).expect("reads").expect("there");
            (row.state, row.synced) = (BlockState::Sealed(500), 0);
            txn.put(BLOCK, &row);
        },
    ),
    (
        "inode 22: its bytes at 900 are at two places",
        false,
        |txn| {
            let id = ExtentId {
                offset: 900,
                ..extent_id()
            };
            txn.put(
                id,
                &ExtentRow {
                    len: 10,
                    block: BLOCK,
                    block_offset: 0,
                },
            );
        },
    ),
    (
        "extents of inode 99, generation 0, belong to nothing",
        false,
        |txn| {
            let id = ExtentId {
                inode: InodeId(99),
                ..extent_id()
            };
            txn.put(
                id,
                &ExtentRow {
                    len: 10,
                    block: BLOCK,
                    block_offset: 0,
                },
            );
        },
    ),
    ("bytes of inode 99, which is not there", false, |txn| {
        txn.put(InodeId(99), &InlineRow(Bytes::from("x")));
    }),
    ("attributes of inode 99, which is not there", false, |txn| {
        txn.put((InodeId(99), &b"user.x"[..]), &XattrRow(Bytes::from("x")));
    }),
    (
        "entry \"large\" of directory 21 names inode 22, which is not there",
        false,
        |txn| {
            txn.delete::<InodeRow>(LARGE);
        },
    ),
    ("inode 24 has 0 names and says 1", false, |txn| {
        let row = txn
            .row::<DirentRow>((FOLDER, &name("link")))
            .expect("reads")
            .expect("there");
        txn.delete::<DirentRow>((FOLDER, &name("link")));
        txn.delete::<ListingRow>((FOLDER, row.cookie));
    }),
    (
        "directory 20 lists \"link\", which is no entry of it",
        false,
        |txn| {
            txn.delete::<DirentRow>((FOLDER, &name("link")));
        },
    ),
    (
        "entry \"small\" of directory 21 is not listed as what it is",
        false,
        |txn| {
            let row = txn
                .row::<DirentRow>((INNER, &name("small")))
                .expect("reads")
                .expect("there");
            let listed = ListingRow {
                name: name("small"),
                inode: SMALL,
                kind: FileKind::Fifo,
            };
            txn.put((INNER, row.cookie), &listed);
        },
    ),
    (
        "directory 21 is in directory 20, and says that it is in 1",
        false,
        |txn| {
            inode(txn, INNER, |row| row.parent = InodeId::ROOT);
        },
    ),
    ("directory 20 is not below the root", false, |txn| {
        inode(txn, FOLDER, |row| row.parent = INNER);
    }),
    (
        "there are entries of directory 98, which is not there",
        false,
        |txn| {
            let row = DirentRow {
                inode: SMALL,
                cookie: 1,
            };
            txn.put((InodeId(98), &name("a")), &row);
        },
    ),
    ("link 24 has lost its target", false, |txn| {
        txn.delete::<InlineRow>(LINK)
    }),
    (
        "inode 24 has None inline bytes and 0 extents, and says Inline",
        false,
        |txn| {
            txn.delete::<InlineRow>(LINK);
        },
    ),
    (
        "inode 22 ends at 10 and has bytes up to 1000",
        false,
        |txn| {
            inode(txn, LARGE, |row| row.size = 10);
        },
    ),
    ("inode 97 is open and not there", false, |txn| {
        txn.put((SESSION, InodeId(97)), &OpenRow)
    }),
    (
        "inode 96 has no name, is not open, and is not to go",
        false,
        |txn| {
            let row = InodeRow::new(FileKind::File, 0, (0, 0), Timestamp::EPOCH);
            txn.put(InodeId(96), &row);
        },
    ),
    (
        "directory 21 is counted in None, and 20 above it in Some(",
        false,
        |txn| {
            inode(txn, INNER, |row| row.quota = None);
        },
    ),
    (
        "directory 20 has a policy and is under Some(None)",
        false,
        |txn| {
            inode(txn, FOLDER, |row| row.policy = None);
        },
    ),
    (
        "directory 21 is not under the policy of directory 20 above it",
        false,
        |txn| {
            inode(txn, INNER, |row| row.policy = None);
        },
    ),
    (
        "block 5 wants Wants { usual: true, most: 1 }",
        true,
        |txn| {
            let row = txn.row::<BlockRow>(BLOCK).expect("reads").expect("there");
            let wants = Wants {
                usual: true,
                most: 1,
            };
            txn.put(BLOCK, &BlockRow { wants, ..row });
        },
    ),
];
