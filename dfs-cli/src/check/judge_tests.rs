//! What is wrong with a block, case by case.

use super::*;
use dfs_proto::service::ReplicaRecord;

const FILE: InodeId = InodeId(17);

fn record(sealed: Option<u32>) -> BlockRecord {
    let standing = match sealed {
        Some(_) => Standing::Whole,
        None => Standing::Writing,
    };
    let replicas = (1..=3).map(|n| ReplicaRecord {
        minion: MinionId(n),
        standing,
    });
    BlockRecord {
        block: BlockId(9),
        sealed,
        goes: false,
        named_end: if sealed.is_none() { 80 } else { 0 },
        punched: 0,
        placement: 1,
        copies: 3,
        replicas: replicas.collect(),
        ordered: Vec::new(),
        inodes: vec![FILE],
    }
}

fn there(length: u32, sealed: bool, payload: u32) -> Seen {
    Seen::There(Looked {
        replica: ReplicaState {
            block: BlockId(9),
            length,
            synced: length,
            sealed,
            damaged: false,
            punched: 0,
        },
        payload: Some(Crc32c(payload)),
    })
}

fn damaged() -> Seen {
    let Seen::There(mut looked) = there(100, true, 0) else {
        unreachable!("it is there");
    };
    looked.replica.damaged = true;
    looked.payload = None;
    Seen::There(looked)
}

fn seen(all: [Seen; 3]) -> BTreeMap<MinionId, Seen> {
    (1..).map(MinionId).zip(all).collect()
}

/// Minion (0: the block) and what is wrong.
fn wrong(record: &BlockRecord, all: [Seen; 3]) -> Vec<(u32, Wrong)> {
    let faults = judge(record, &seen(all));
    let brief = |fault: &Fault| (fault.minion.map_or(0, |minion| minion.0), fault.wrong);
    faults.iter().map(brief).collect()
}

#[test]
fn a_block_that_is_well_is_well() {
    let whole = || there(100, true, 7);
    assert_eq!(wrong(&record(Some(100)), [whole(), whole(), whole()]), []);
    let open = || there(90, false, 7);
    assert_eq!(
        wrong(&record(None), [open(), there(80, false, 5), open()]),
        []
    );
    let unseen = [whole(), Seen::Unseen, whole()];
    assert_eq!(
        wrong(&record(Some(100)), unseen),
        [],
        "it is not known to be missing"
    );
}

#[test]
fn each_replica_that_is_not_what_it_should_be_is_told() {
    let whole = || there(100, true, 7);
    let cases = [
        (damaged(), Wrong::Damaged),
        (Seen::NotHere, Wrong::Missing),
        (Seen::DiskFailed, Wrong::OutOfService),
        (there(99, true, 7), Wrong::Short),
        (there(100, false, 7), Wrong::Short),
        (there(100, true, 8), Wrong::Differs),
    ];
    for (seen, what) in cases {
        let found = wrong(&record(Some(100)), [whole(), seen, whole()]);
        assert_eq!(found, [(2, what)]);
    }
    let all = [damaged(), Seen::NotHere, damaged()];
    let found = wrong(&record(Some(100)), all);
    assert_eq!(found[3], (0, Wrong::Gone));
}

#[test]
fn an_open_block_has_all_that_files_consist_of() {
    let open = || there(90, false, 7);
    let found = wrong(&record(None), [open(), there(79, false, 7), open()]);
    assert_eq!(found, [(2, Wrong::Short)]);
    let fresh = BlockRecord {
        named_end: 0,
        inodes: Vec::new(),
        ..record(None)
    };
    let none = || Seen::NotHere;
    assert_eq!(
        wrong(&fresh, [none(), none(), none()]),
        [],
        "nothing was written yet"
    );
}

#[test]
fn what_is_being_done_is_not_wrong() {
    let whole = || there(100, true, 7);
    let mut ending = record(Some(100));
    ending.replicas[1].standing = Standing::Writing;
    assert_eq!(wrong(&ending, [whole(), there(120, false, 9), whole()]), []);
    let mut ordered = record(Some(100));
    ordered.ordered = vec![MinionId(2)];
    assert_eq!(wrong(&ordered, [whole(), Seen::NotHere, whole()]), []);
    let mut goes = record(Some(100));
    goes.goes = true;
    assert_eq!(wrong(&goes, [whole(), Seen::NotHere, damaged()]), []);
    let mut unused = record(Some(100));
    unused.inodes.clear();
    assert_eq!(wrong(&unused, [whole(), Seen::NotHere, damaged()]), []);
    let mut lost = record(Some(100));
    lost.replicas[1].standing = Standing::Lost;
    assert_eq!(
        wrong(&lost, [whole(), Seen::NotHere, whole()]),
        [(0, Wrong::Thin)]
    );
}

#[test]
fn without_a_majority_none_is_above_suspicion() {
    let record = record(Some(100));
    let three = [
        there(100, true, 1),
        there(100, true, 2),
        there(100, true, 3),
    ];
    let found = wrong(&record, three);
    assert_eq!(
        found
            .iter()
            .filter(|(_, what)| *what == Wrong::Differs)
            .count(),
        3
    );
    let two = [there(100, true, 1), there(100, true, 2), Seen::Unseen];
    let found = wrong(&record, two);
    let both = [(1, Wrong::Differs), (2, Wrong::Differs)];
    assert_eq!(found, both);
}

#[test]
fn what_minions_hold_is_theirs_to_hold() {
    let Seen::There(Looked { replica, .. }) = there(100, true, 7) else {
        unreachable!("it is there");
    };
    let mut record = record(Some(100));
    let of = |minion, record: Option<&BlockRecord>| {
        held(MinionId(minion), &replica, record).map(|fault| fault.wrong)
    };
    assert_eq!(of(1, Some(&record)), None);
    assert_eq!(of(4, Some(&record)), Some(Wrong::Unwanted));
    assert_eq!(of(1, None), Some(Wrong::Unknown));
    record.replicas[0].standing = Standing::Lost;
    assert_eq!(of(1, Some(&record)), Some(Wrong::Unwanted));
    record.ordered = vec![MinionId(1), MinionId(4)];
    assert_eq!((of(1, Some(&record)), of(4, Some(&record))), (None, None));
}
