//! Each kind of damage that an audit is to find.

use super::*;

pub(super) fn inode(txn: &mut Txn<'_>, inode: InodeId, change: impl FnOnce(&mut InodeRow)) {
    let mut row = txn.row::<InodeRow>(inode).expect("reads").expect("there");
    change(&mut row);
    txn.put(inode, &row);
}

/// Takes an entry away, and its listing.
pub(super) fn lose(txn: &mut Txn<'_>, parent: InodeId, text: &str) {
    let row = txn.row::<DirentRow>((parent, &name(text)));
    let row = row.expect("reads").expect("there");
    txn.delete::<DirentRow>((parent, &name(text)));
    txn.delete::<ListingRow>((parent, row.cookie));
}

/// Has the block say that a file has some of its bytes.
pub(super) fn claim(txn: &mut Txn<'_>, inode: InodeId, offset: u64, block_offset: u32) {
    let extent = ExtentId {
        inode,
        generation: 0,
        offset,
    };
    let id = UseId {
        block: BLOCK,
        block_offset,
        extent,
    };
    txn.put(id, &UseRow { len: 77 });
}

/// Lists something.
pub(super) fn list(
    txn: &mut Txn<'_>,
    at: (InodeId, u64),
    text: &str,
    inode: InodeId,
    kind: FileKind,
) {
    let name = name(text);
    txn.put(at, &ListingRow { name, inode, kind });
}

pub(super) type Damaging = fn(&mut Txn<'_>);

/// What becomes of damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It is put right.
    Mended,
    /// Putting something else right that is told of puts it right.
    Follows,
    /// It is only told.
    Told,
}

use Fate::{Follows, Mended, Told};

/// Damage, what is said of it, and what becomes of it.
pub(super) const DAMAGES: &[(&str, Fate, Damaging)] = &[
    (
        "directory 20 has 3 entries and 3 links, and says 4 and 3",
        Mended,
        |txn| {
            inode(txn, FOLDER, |row| row.size = 4);
        },
    ),
    (
        "directory 21 has 2 entries and 2 links, and says 2 and 3",
        Mended,
        |txn| {
            inode(txn, INNER, |row| row.links = 3);
        },
    ),
    ("inode 23 has 2 names and says 5", Mended, |txn| {
        inode(txn, SMALL, |row| row.links = 5);
    }),
    (
        "inode 22 has 1000 bytes, 1 extents, 0 attributes, 1 handles, and says 999 bytes",
        Mended,
        |txn| {
            inode(txn, LARGE, |row| row.stored = 999);
        },
    ),
    (
        "inode 22 has 1000 bytes, 1 extents, 0 attributes, 1 handles, and says 1000 bytes, 4 extents",
        Mended,
        |txn| {
            inode(txn, LARGE, |row| row.extents = 4);
        },
    ),
    ("0 attributes, 2 handles", Mended, |txn| {
        inode(txn, LARGE, |row| row.opens = 2)
    }),
    (
        "1 attributes, 0 handles, and says 0 bytes, 0 extents, 3 attributes",
        Mended,
        |txn| {
            inode(txn, SMALL, |row| row.xattrs = 3);
        },
    ),
    ("the totals are", Mended, |txn| {
        let totals = TotalsRow {
            inodes: 1,
            stored: 1,
            blocks: 9,
            sessions: 9,
        };
        txn.put((), &totals);
    }),
    (
        "the quota of directory 20 counts 99 inodes",
        Mended,
        |txn| {
            let mut row = txn.row::<QuotaRow>(FOLDER).expect("reads").expect("there");
            (row.counted.inodes, row.counted.bytes) = (99, 7);
            txn.put(FOLDER, &row);
        },
    ),
    ("block 5 does not know of its bytes at 0", Mended, |txn| {
        txn.delete::<UseRow>(use_id())
    }),
    (
        "block 5 says that inode 23 has 77 of its bytes at 0, which it has not",
        Mended,
        |txn| claim(txn, SMALL, 0, 100),
    ),
    ("block 5 is noted wrongly as unsettled", Mended, |txn| {
        txn.delete::<WritingRow>((SESSION, BLOCK));
    }),
    ("block 6 is unused, and not noted", Mended, |txn| {
        let mut row = txn
            .row::<BlockRow>(EMPTY_BLOCK)
            .expect("reads")
            .expect("there");
        row.state = BlockState::Sealed(0);
        txn.put(EMPTY_BLOCK, &row);
    }),
    ("block 6 is noted wrongly as unused", Mended, |txn| {
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
        Mended,
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
    ("block 5 is noted as worn and is Open", Mended, |txn| {
        txn.put(
            BLOCK,
            &WornRow {
                since: Timestamp::EPOCH,
                decided: false,
            },
        );
    }),
    ("block 5 was punched 0 times", Told, |txn| {
        txn.put(
            BLOCK,
            &HolesRow {
                ranges: vec![(0, 4096)],
            },
        );
    }),
    (
        "inode 22: its 1000 bytes at 0 are in block 5, which is not there",
        Told,
        |txn| {
            txn.delete::<BlockRow>(BLOCK);
        },
    ),
    (
        "inode 22: its 1000 bytes at 0 are in block 5, which is Sealed(500)",
        Told,
        |txn| {
            let mut row = txn.row::<BlockRow>(BLOCK).expect("reads").expect("there");
            (row.state, row.synced) = (BlockState::Sealed(500), 0);
            txn.put(BLOCK, &row);
        },
    ),
    (
        "inode 22: its bytes at 900 are at two places",
        Told,
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
        Told,
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
    ("bytes of inode 99, which is not there", Told, |txn| {
        txn.put(InodeId(99), &InlineRow(Bytes::from("x")));
    }),
    ("attributes of inode 99, which is not there", Told, |txn| {
        txn.put((InodeId(99), &b"user.x"[..]), &XattrRow(Bytes::from("x")));
    }),
    (
        "entry \"large\" of directory 21 names inode 22, which is not there",
        Told,
        |txn| {
            txn.delete::<InodeRow>(LARGE);
        },
    ),
    ("inode 24 has 0 names and says 1", Mended, |txn| {
        let row = txn
            .row::<DirentRow>((FOLDER, &name("link")))
            .expect("reads")
            .expect("there");
        txn.delete::<DirentRow>((FOLDER, &name("link")));
        txn.delete::<ListingRow>((FOLDER, row.cookie));
    }),
    (
        "directory 20 lists \"link\", which is no entry of it",
        Mended,
        |txn| {
            txn.delete::<DirentRow>((FOLDER, &name("link")));
        },
    ),
    (
        "entry \"small\" of directory 21 is not listed as what it is",
        Mended,
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
        Mended,
        |txn| {
            inode(txn, INNER, |row| row.parent = InodeId::ROOT);
        },
    ),
    ("directory 20 is not below the root", Follows, |txn| {
        inode(txn, FOLDER, |row| row.parent = INNER);
    }),
    (
        "there are entries of directory 98, which is not there",
        Mended,
        |txn| {
            let row = DirentRow {
                inode: SMALL,
                cookie: 1,
            };
            txn.put((InodeId(98), &name("a")), &row);
        },
    ),
    ("link 24 has lost its target", Told, |txn| {
        txn.delete::<InlineRow>(LINK)
    }),
    (
        "inode 24 has None inline bytes and 0 extents, and says Inline",
        Told,
        |txn| {
            txn.delete::<InlineRow>(LINK);
        },
    ),
    (
        "inode 22 ends at 10 and has bytes up to 1000",
        Mended,
        |txn| {
            inode(txn, LARGE, |row| row.size = 10);
        },
    ),
    ("inode 97 is open and not there", Mended, |txn| {
        txn.put((SESSION, InodeId(97)), &OpenRow)
    }),
    (
        "inode 96 has no name, is not open, and is not to go",
        Mended,
        |txn| {
            let row = InodeRow::new(FileKind::File, 0, (0, 0), Timestamp::EPOCH);
            txn.put(InodeId(96), &row);
        },
    ),
    (
        "directory 21 is counted in None, and 20 above it in Some(",
        Mended,
        |txn| {
            inode(txn, INNER, |row| row.quota = None);
        },
    ),
    (
        "directory 20 has a policy and is under Some(None)",
        Mended,
        |txn| {
            inode(txn, FOLDER, |row| row.policy = None);
        },
    ),
    (
        "directory 21 is not under the policy of directory 20 above it",
        Mended,
        |txn| {
            inode(txn, INNER, |row| row.policy = None);
        },
    ),
    (
        "block 5 wants Wants { usual: true, most: 1 }",
        Mended,
        |txn| {
            let row = txn.row::<BlockRow>(BLOCK).expect("reads").expect("there");
            let wants = Wants {
                usual: true,
                most: 1,
            };
            txn.put(BLOCK, &BlockRow { wants, ..row });
        },
    ),
    (
        "entry \"ghost\" of directory 20 names inode 95, which is not there",
        Mended,
        |txn| {
            let row = DirentRow {
                inode: InodeId(95),
                cookie: 77,
            };
            txn.put((FOLDER, &name("ghost")), &row);
        },
    ),
    (
        "entry \"second\" of directory 20 is not listed as what it is",
        Mended,
        |txn| {
            let row = txn.row::<DirentRow>((FOLDER, &name("second")));
            let row = row.expect("reads").expect("there");
            txn.delete::<ListingRow>((FOLDER, row.cookie));
        },
    ),
    (
        "entry \"small\" of directory 21 is not listed as what it is",
        Mended,
        |txn| {
            // The place in the listing is another entry's.
            let large = txn.row::<DirentRow>((INNER, &name("large")));
            let cookie = large.expect("reads").expect("there").cookie;
            let row = DirentRow {
                inode: SMALL,
                cookie,
            };
            txn.put((INNER, &name("small")), &row);
        },
    ),
    (
        "directory 21 has a listing 2 and would give 1 to the next",
        Mended,
        |txn| {
            inode(txn, INNER, |row| row.next_cookie = 1);
        },
    ),
    (
        "directory 20 lists \"old\", which is no entry of it",
        Mended,
        |txn| list(txn, (FOLDER, 60), "old", SMALL, FileKind::File),
    ),
    (
        "directory 20 lists \"nothing\", which is no entry of it",
        Mended,
        |txn| list(txn, (FOLDER, 60), "nothing", InodeId(95), FileKind::File),
    ),
    (
        "directory 93 lists \"small\", which is no entry of it",
        Mended,
        |txn| list(txn, (InodeId(93), 1), "small", SMALL, FileKind::File),
    ),
    ("directory 20 has 0 names", Mended, |txn| {
        lose(txn, InodeId::ROOT, "folder");
    }),
    (
        "there are entries of directory 21, which is not there",
        Mended,
        |txn| txn.delete::<InodeRow>(INNER),
    ),
    (
        "there are entries of directory 20, which is not there",
        Mended,
        |txn| txn.delete::<InodeRow>(FOLDER),
    ),
    (
        "there are entries of directory 21, which is not there",
        Mended,
        |txn| inode(txn, INNER, |row| row.links = 0),
    ),
    ("directory 21 has 2 names", Told, |txn| {
        let row = DirentRow {
            inode: INNER,
            cookie: 60,
        };
        txn.put((InodeId::ROOT, &name("again")), &row);
        list(
            txn,
            (InodeId::ROOT, 60),
            "again",
            INNER,
            FileKind::Directory,
        );
    }),
    ("inode 23 has 2 names and says 0", Mended, |txn| {
        inode(txn, SMALL, |row| row.links = 0);
    }),
    (
        "inode 22 has None inline bytes and 1 extents, and says Empty",
        Mended,
        |txn| inode(txn, LARGE, |row| row.body = Body::Empty),
    ),
    (
        "inode 24 has Some(5) inline bytes and 0 extents, and says Extents",
        Mended,
        |txn| inode(txn, LINK, |row| row.body = Body::Extents),
    ),
    (
        "inode 22 has Some(1) inline bytes and 1 extents, and says Extents",
        Told,
        |txn| txn.put(LARGE, &InlineRow(Bytes::from("x"))),
    ),
    ("link 24 has lost its target", Mended, |txn| {
        inode(txn, LINK, |row| row.size = 3);
    }),
    (
        "session 50 holds inode 23 and is not there",
        Mended,
        |txn| {
            txn.put((SessionId(50), SMALL), &OpenRow);
            inode(txn, SMALL, |row| row.opens += 1);
        },
    ),
    (
        "block 9 is noted as unsettled and is not there",
        Mended,
        |txn| txn.put((SESSION, BlockId(9)), &WritingRow),
    ),
    (
        "block 9 is noted as having holes and is not there",
        Mended,
        |txn| {
            let ranges = vec![(0, 4096)];
            txn.put(BlockId(9), &HolesRow { ranges });
        },
    ),
    ("block 9 is noted as worn and is not there", Mended, |txn| {
        let since = Timestamp::EPOCH;
        let decided = false;
        txn.put(BlockId(9), &WornRow { since, decided });
    }),
    ("block 6 is noted wrongly as unused", Mended, |txn| {
        let row = txn.row::<BlockRow>(EMPTY_BLOCK);
        let mut row = row.expect("reads").expect("there");
        row.state = BlockState::Reclaiming;
        txn.put(EMPTY_BLOCK, &row);
    }),
    ("block 5 is noted wrongly as unused", Told, |txn| {
        let mut row = txn.row::<BlockRow>(BLOCK).expect("reads").expect("there");
        row.state = BlockState::Reclaiming;
        txn.put(BLOCK, &row);
    }),
    (
        "directory 94 is to be counted and not there",
        Mended,
        |txn| txn.put(InodeId(94), &UncountedRow::default()),
    ),
    (
        "directory 20 has a quota and is counted in None",
        Mended,
        |txn| inode(txn, FOLDER, |row| row.quota = None),
    ),
    (
        "inodes are counted in the quota of directory 20, which leads nowhere",
        Told,
        |txn| txn.delete::<QuotaRow>(FOLDER),
    ),
    (
        "inodes are counted in the quota of directory 20, which leads nowhere",
        Told,
        |txn| {
            let mut row = txn.row::<QuotaRow>(FOLDER).expect("reads").expect("there");
            row.above = Some(FOLDER);
            txn.put(FOLDER, &row);
        },
    ),
    ("inode 25 has 40 bytes", Mended, |txn| {
        txn.put(NOTE, &InlineRow(Bytes::from(vec![7; 40])));
    }),
    (
        "block 5 says that inode 25 has 77 of its bytes at 0, which it has not",
        Mended,
        |txn| claim(txn, NOTE, 0, 900),
    ),
    (
        "block 5 is noted as one that goes, and is Open",
        Mended,
        |txn| {
            let (since, reclaiming) = (Timestamp::EPOCH, true);
            txn.put(BLOCK, &UnusedRow { since, reclaiming });
        },
    ),
    (
        "inode 22 has 1000 bytes, 1 extents, 0 attributes, 1 handles, and says 1000 bytes, 0 extents",
        Mended,
        |txn| inode(txn, LARGE, |row| row.extents = 0),
    ),
    (
        "directory 21 has 2 entries and 2 links, and says 0 and 2",
        Mended,
        |txn| inode(txn, INNER, |row| row.size = 0),
    ),
    (
        "block 5 says that inode 22 has 77 of its bytes at 10, which it has not",
        Mended,
        |txn| claim(txn, LARGE, 10, 2000),
    ),
    (
        "inode 22 has bytes of block 5 at 0 that were given up",
        Told,
        |txn| {
            let mut row = txn.row::<BlockRow>(BLOCK).expect("reads").expect("there");
            (row.state, row.punched) = (BlockState::Sealed(2000), 1);
            txn.put(BLOCK, &row);
            txn.delete::<WritingRow>((SESSION, BLOCK));
            let ranges = vec![(0, 1500)];
            txn.put(BLOCK, &HolesRow { ranges });
        },
    ),
];
