//! What is put right: nothing is lost or overwritten on the way, and what has changed since is left alone.

use super::damages::{list, lose};
use super::*;
use dfs_proto::{
    attr::SetAttr,
    change::RenameMode,
    view::{Content, Layout},
};

fn fits(bench: &Bench) {
    let oracle = check(&bench.machine.tables().view()).expect("reads");
    assert_eq!((bench.audit(), oracle), (Faults::default(), Vec::new()));
}

impl Bench {
    fn lookup(&self, parent: InodeId, text: &str) -> Option<InodeId> {
        let found = self.machine.reader().lookup(parent, &name(text));
        found.ok().map(|found| found.answer.inode)
    }

    /// Puts all right, and has nothing lost.
    fn heal(&mut self) {
        let damaged = self.rows();
        assert_eq!(self.mended(), Faults::default());
        fits(self);
        assert_nothing_is_lost(&damaged, self);
    }

    /// Applies what was found before something changed: that changes nothing.
    fn comes_too_late(&mut self, mends: Vec<Mend>) {
        assert_ne!(mends, []);
        let before = self.rows();
        assert_eq!(self.act(Act::Mend(mends)), Outcome::Done);
        assert_eq!(self.rows(), before);
    }
}

#[test]
fn a_file_that_has_lost_its_name_is_found_again_with_its_bytes() {
    let mut bench = Bench::new();
    bench.damage(|txn| lose(txn, INNER, "large"));
    bench.heal();
    let place = bench.lookup(InodeId::ROOT, "lost+found").expect("made");
    assert_eq!(bench.lookup(place, "#22"), Some(LARGE));
    let row: InodeRow = bench.row(place).expect("there");
    let root: InodeRow = bench.row(InodeId::ROOT).expect("there");
    assert_eq!(
        (row.mode, row.uid, row.links, row.size),
        (0o700, root.uid, 2, 1)
    );
    let view = bench.machine.reader().view(LARGE).expect("reads").answer;
    assert_eq!((view.attr.size, view.attr.links), (1000, 1));
    let Content::Extents(Layout { extents, .. }) = view.content else {
        panic!("{view:?}");
    };
    assert_eq!(extents.len(), 1);
    // The next one is put beside it.
    bench.damage(|txn| lose(txn, FOLDER, "link"));
    bench.heal();
    assert_eq!(bench.lookup(place, "#24"), Some(LINK));
}

#[test]
fn a_directory_that_has_lost_its_name_keeps_what_is_in_it() {
    let mut bench = Bench::new();
    bench.damage(|txn| lose(txn, InodeId::ROOT, "folder"));
    bench.heal();
    let place = bench.lookup(InodeId::ROOT, "lost+found").expect("made");
    assert_eq!(bench.lookup(place, "#20"), Some(FOLDER));
    let row: InodeRow = bench.row(FOLDER).expect("there");
    assert_eq!((row.parent, row.quota), (place, Some(FOLDER)));
    assert!(row.policy.is_some());
    assert_eq!(bench.lookup(FOLDER, "inner"), Some(INNER));
    assert_eq!(bench.lookup(INNER, "small"), Some(SMALL));
    // One in a quota that comes to be counted elsewhere.
    bench.damage(|txn| lose(txn, FOLDER, "inner"));
    bench.heal();
    assert_eq!(bench.lookup(place, "#21"), Some(INNER));
    let row: InodeRow = bench.row(INNER).expect("there");
    assert_eq!((row.quota, row.policy), (None, None));
}

#[test]
fn several_lost_names_are_given_beside_those_that_are_taken() {
    let mut bench = Bench::new();
    let file = || Make::File { open: false };
    bench.make(InodeId::ROOT, "lost+found", file(), InodeId(30));
    bench.make(InodeId::ROOT, "lost+found-2", Make::Directory, InodeId(31));
    bench.make(InodeId(31), "#24", file(), InodeId(32));
    bench.damage(|txn| {
        lose(txn, FOLDER, "link");
        lose(txn, FOLDER, "second");
        lose(txn, INNER, "small");
        lose(txn, FOLDER, "inner");
    });
    bench.heal();
    let place = InodeId(31);
    assert_eq!(bench.lookup(InodeId::ROOT, "lost+found"), Some(InodeId(30)));
    assert_eq!(bench.lookup(place, "#24"), Some(InodeId(32)));
    assert_eq!(bench.lookup(place, "#24-2"), Some(LINK));
    assert_eq!(bench.lookup(place, "#23"), Some(SMALL));
    assert_eq!(bench.lookup(place, "#21"), Some(INNER));
    let row: InodeRow = bench.row(SMALL).expect("there");
    assert_eq!(row.links, 1, "of two names none was left");
}

#[test]
fn entries_come_back_where_they_are_listed_still() {
    let mut bench = Bench::new();
    bench.damage(|txn| {
        for (parent, text) in [
            (InodeId::ROOT, "folder"),
            (INNER, "small"),
            (FOLDER, "second"),
        ] {
            txn.delete::<DirentRow>((parent, &name(text)));
        }
    });
    bench.heal();
    assert_eq!(bench.lookup(InodeId::ROOT, "folder"), Some(FOLDER));
    assert_eq!(bench.lookup(INNER, "small"), Some(SMALL));
    assert_eq!(bench.lookup(FOLDER, "second"), Some(SMALL));
    assert_eq!(bench.lookup(InodeId::ROOT, "lost+found"), None);
    // What is listed in vain is no name more.
    bench.damage(|txn| list(txn, (FOLDER, 60), "old", SMALL, FileKind::File));
    bench.heal();
    assert_eq!(bench.lookup(FOLDER, "old"), None);
}

#[test]
fn an_entry_that_names_nothing_comes_back_as_what_its_listing_names() {
    let mut bench = Bench::new();
    bench.damage(|txn| {
        let row = txn.row::<DirentRow>((FOLDER, &name("link")));
        let cookie = row.expect("reads").expect("there").cookie;
        let inode = InodeId(95);
        txn.put((FOLDER, &name("link")), &DirentRow { inode, cookie });
    });
    bench.heal();
    assert_eq!(bench.lookup(FOLDER, "link"), Some(LINK));
}

#[test]
fn a_directory_that_is_lost_itself_is_made_again_for_its_entries() {
    let mut bench = Bench::new();
    bench.damage(|txn| {
        txn.delete::<InodeRow>(INNER);
        lose(txn, FOLDER, "inner");
    });
    bench.heal();
    let place = bench.lookup(InodeId::ROOT, "lost+found").expect("made");
    assert_eq!(bench.lookup(place, "#21"), Some(INNER));
    assert_eq!(bench.lookup(INNER, "large"), Some(LARGE));
    let row: InodeRow = bench.row(INNER).expect("there");
    assert_eq!((row.mode, row.size), (0o700, 2));
}

#[test]
fn what_nobody_can_reach_goes_as_at_the_last_close() {
    let mut bench = Bench::new();
    bench.damage(|txn| {
        lose(txn, INNER, "large");
        inode(txn, LARGE, |row| row.links = 0);
        // A session that has ended long ago held it.
        txn.delete::<OpenRow>((SESSION, LARGE));
        txn.put((SessionId(50), LARGE), &OpenRow);
    });
    assert_eq!(bench.mended(), Faults::default());
    let reclaim = Act::Reclaim {
        before: Timestamp::EPOCH,
        blocks_max: 10,
        rows_max: 10,
    };
    bench.act(reclaim);
    assert_eq!(bench.row::<InodeRow>(LARGE), None);
    assert_eq!(bench.row::<ExtentRow>(extent_id()), None);
    assert_eq!(bench.row::<UseRow>(use_id()), None);
    fits(&bench);
}

#[test]
fn a_size_becomes_the_end_of_the_bytes() {
    let mut bench = Bench::new();
    bench.damage(|txn| {
        inode(txn, LARGE, |row| {
            (row.size, row.body, row.stored, row.opens) = (10, Body::Empty, 7, 3);
        });
    });
    let before: InodeRow = bench.row(LARGE).expect("there");
    let mends = bench.mends();
    bench.act(Act::Mend(mends));
    let row: InodeRow = bench.row(LARGE).expect("there");
    assert_eq!(
        (row.size, row.body, row.stored, row.opens),
        (1000, Body::Extents, 1000, 1)
    );
    assert!(
        row.data_version > before.data_version,
        "who keeps it has to know"
    );
    bench.heal();
}

#[test]
fn nothing_is_followed_that_leads_nowhere() {
    let mut bench = Bench::new();
    bench.damage(|txn| {
        inode(txn, INNER, |row| row.policy = None);
        list(txn, (INNER, 60), "nothing", InodeId(95), FileKind::File);
    });
    let rules = |mends: &[Mend]| mends.iter().any(|mend| matches!(mend, Mend::Rules(_)));
    let mends = bench.mends();
    assert!(!rules(&mends), "{mends:?}");
    bench.act(Act::Mend(mends));
    let mends = bench.mends();
    assert!(rules(&mends), "{mends:?}");
    bench.heal();
    // Nor is a quota that is not there.
    bench.damage(|txn| {
        inode(txn, INNER, |row| row.policy = None);
        inode(txn, SMALL, |row| row.quota = Some(InodeId(95)));
    });
    assert!(!rules(&bench.mends()));
}

#[test]
fn more_than_is_told_at_once_is_put_right_at_last() {
    let mut bench = Bench::new();
    bench.damage(|txn| {
        for n in 0..1500 {
            let mut row = InodeRow::new(FileKind::File, 0o644, (1, 1), Timestamp::EPOCH);
            row.links = 1;
            txn.put(InodeId(3000 + n), &row);
        }
    });
    let found = bench.audit();
    assert!(found.more && found.told.len() == 1000);
    bench.heal();
    let place = bench.lookup(InodeId::ROOT, "lost+found").expect("made");
    let row: InodeRow = bench.row(place).expect("there");
    assert_eq!(row.size, 1500);
}

/// But for sums, which are off by as much whatever happens, and notes of the moment.
fn names_what_it_found(mend: &Mend) -> bool {
    !matches!(
        mend,
        Mend::Totals { .. } | Mend::Quota { .. } | Mend::Block(_)
    )
}

#[test]
fn what_was_put_right_is_left_alone_by_the_same_again() {
    for (what, _, damage) in DAMAGES {
        let mut bench = Bench::new();
        bench.damage(damage);
        let mut mends = bench.mends();
        mends.retain(names_what_it_found);
        // Some are made possible by others.
        bench.act(Act::Mend(mends.clone()));
        bench.act(Act::Mend(mends.clone()));
        let before = bench.rows();
        bench.act(Act::Mend(mends));
        assert!(bench.rows() == before, "{what}");
    }
}

#[test]
fn a_name_that_was_taken_meanwhile_is_not_overwritten() {
    let mut bench = Bench::new();
    bench.damage(|txn| txn.delete::<DirentRow>((FOLDER, &name("link"))));
    let mends = bench.mends();
    let put_back = |mend: &&Mend| matches!(mend, Mend::Listing { .. });
    let mends = mends.iter().filter(put_back).cloned().collect();
    bench.make(FOLDER, "link", Make::Fifo, InodeId(40));
    bench.comes_too_late(mends);
    bench.heal();
    assert_eq!(bench.lookup(FOLDER, "link"), Some(InodeId(40)));
    let place = bench.lookup(InodeId::ROOT, "lost+found").expect("made");
    assert_eq!(bench.lookup(place, "#24"), Some(LINK));
}

#[test]
fn a_file_that_got_a_name_meanwhile_gets_no_other() {
    let mut bench = Bench::new();
    bench.damage(|txn| lose(txn, INNER, "large"));
    let named = |mend: &&Mend| matches!(mend, Mend::Name { .. });
    let mends: Vec<Mend> = bench.mends().iter().filter(named).cloned().collect();
    // It is open.
    let link = Change::Link {
        inode: LARGE,
        parent: FOLDER,
        name: name("kept"),
    };
    bench.change(link, Grant::Nothing);
    bench.comes_too_late(mends);
    bench.heal();
    let row: InodeRow = bench.row(LARGE).expect("there");
    assert_eq!((row.links, bench.lookup(FOLDER, "kept")), (1, Some(LARGE)));
}

#[test]
fn a_directory_that_was_moved_meanwhile_is_where_it_was_moved_to() {
    let mut bench = Bench::new();
    bench.make(FOLDER, "other", Make::Directory, InodeId(40));
    bench.damage(|txn| inode(txn, INNER, |row| row.parent = InodeId::ROOT));
    let moved = |mend: &&Mend| matches!(mend, Mend::Parent { .. });
    let mends: Vec<Mend> = bench.mends().iter().filter(moved).cloned().collect();
    let rename = Change::Rename {
        parent: FOLDER,
        name: name("inner"),
        new_parent: InodeId(40),
        new_name: name("inner"),
        mode: RenameMode::Replace,
    };
    bench.change(rename, Grant::Nothing);
    bench.comes_too_late(mends);
    bench.heal();
}

#[test]
fn a_directory_is_put_into_none_below_it() {
    let mut bench = Bench::new();
    bench.damage(|txn| {
        // Its only name is in itself.
        let row = txn.row::<DirentRow>((FOLDER, &name("inner")));
        let row = row.expect("reads").expect("there");
        lose(txn, FOLDER, "inner");
        txn.put((INNER, &name("inner")), &DirentRow { cookie: 9, ..row });
        list(txn, (INNER, 9), "inner", INNER, FileKind::Directory);
    });
    assert_ne!(bench.mended().told, []);
    let row: InodeRow = bench.row(INNER).expect("there");
    assert_eq!(row.parent, FOLDER, "a walk upwards would not end");
}

#[test]
fn a_file_that_was_cut_meanwhile_is_as_long_as_it_was_cut() {
    let mut bench = Bench::new();
    bench.damage(|txn| inode(txn, LARGE, |row| row.size = 10));
    let mends = bench.mends();
    let set = SetAttr {
        size: Some(5000),
        ..SetAttr::default()
    };
    let longer = Change::SetAttr { inode: LARGE, set };
    bench.change(longer, Grant::Nothing);
    bench.comes_too_late(mends);
    fits(&bench);
}

#[test]
fn an_entry_that_names_something_else_meanwhile_stays() {
    let mut bench = Bench::new();
    let ghost = |inode| {
        move |txn: &mut Txn<'_>| {
            let row = DirentRow { inode, cookie: 77 };
            txn.put((FOLDER, &name("ghost")), &row);
        }
    };
    bench.damage(ghost(InodeId(95)));
    let named = |mend: &&Mend| matches!(mend, Mend::Entry { .. });
    let mends: Vec<Mend> = bench.mends().iter().filter(named).cloned().collect();
    bench.damage(ghost(SMALL));
    bench.comes_too_late(mends);
    bench.heal();
    assert_eq!(bench.lookup(FOLDER, "ghost"), Some(SMALL));
}

#[test]
fn who_is_there_meanwhile_keeps_what_is_noted() {
    let mut bench = Bench::new();
    bench.damage(|txn| {
        txn.put((SessionId(50), SMALL), &OpenRow);
        inode(txn, SMALL, |row| row.opens += 1);
        txn.put((SESSION, BlockId(9)), &WritingRow);
        txn.put(InodeId(94), &UncountedRow::default());
        let row = InodeRow::new(FileKind::File, 0, (0, 0), Timestamp::EPOCH);
        txn.put(InodeId(96), &row);
    });
    let mends: Vec<Mend> = bench.mends();
    assert_eq!(mends.len(), 4, "{mends:?}");
    bench.act(Act::OpenSession {
        session: SessionId(50),
        host: String::new(),
        purpose: String::new(),
    });
    bench.damage(|txn| {
        let row = txn.row::<BlockRow>(EMPTY_BLOCK).expect("reads");
        txn.put(BlockId(9), &row.expect("there"));
        let row = InodeRow::new(FileKind::Directory, 0, (0, 0), Timestamp::EPOCH);
        txn.put(InodeId(94), &row);
        inode(txn, InodeId(96), |row| row.uid = 7);
    });
    bench.comes_too_late(mends);
}
