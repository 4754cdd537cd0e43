//! The tables against a plain map: whatever is changed, checkpointed, reopened or read, in one order.

use super::*;
use crate::tables::{
    key::{Key, all},
    rows::{InlineRow, OpenRow},
    txn::read::Rows,
};
use bytes::Bytes;
use dfs_proto::id::{InodeId, SessionId};
use proptest::prelude::*;
use std::{collections::BTreeMap, ops::ControlFlow};

#[derive(Clone, Debug)]
enum Step {
    Put(u64, u8),
    Delete(u64),
    Checkpoint,
    Settle,
    Reopen,
    Scan(u64, u64, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..40_u64, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        4 => (0..40_u64).prop_map(Step::Delete),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Settle),
        1 => Just(Step::Reopen),
        3 => (0..40_u64, 0..40_u64, any::<bool>()).prop_map(|(a, b, up)| Step::Scan(a, b, up)),
    ]
}

fn inline(value: u8) -> InlineRow {
    InlineRow(Bytes::from(vec![value]))
}

fn run(storage: &Storage, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let settings = Settings {
        overlay_bytes_max: 2000,
        map_bytes: 1 << 30,
    };
    let mut tables = Tables::open(storage, settings).expect("opens");
    let mut model: BTreeMap<u64, u8> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Put(key, value) => {
                let put = tables.transact(|txn| {
                    let id = InodeId(key);
                    if txn.has::<InlineRow>(id)? {
                        txn.put(id, &inline(value));
                    } else {
                        txn.insert(id, &inline(value));
                    }
                    Ok::<_, Damage>(())
                });
                prop_assert_eq!(put, Ok(()));
                model.insert(key, value);
            }
            Step::Delete(key) => {
                let deleted = tables.transact(|txn| {
                    txn.delete::<InlineRow>(InodeId(key));
                    Ok::<_, Damage>(())
                });
                prop_assert_eq!(deleted, Ok(()));
                model.remove(&key);
            }
            Step::Checkpoint => drop(tables.checkpoint()),
            Step::Settle => tables.settle(),
            Step::Reopen => {
                prop_assert!(tables.checkpoint_now().is_ok());
                drop(tables);
                tables = Tables::open(storage, settings).expect("opens again");
            }
            Step::Scan(from, to, up) => {
                let direction = if up { Direction::Up } else { Direction::Down };
                let range = KeyRange::between(Key::Inline(InodeId(from)), Key::Inline(InodeId(to)));
                let mut seen = Vec::new();
                let scanned = tables.view().each(range, direction, |key, row: InlineRow| {
                    let Key::Inline(id) = key else {
                        panic!("{key:?} is not in the range");
                    };
                    seen.push((id.0, row.0[0]));
                    ControlFlow::Continue(())
                });
                prop_assert_eq!(scanned, Ok(()));
                let mut expected: Vec<(u64, u8)> = model
                    .iter()
                    .filter(|(key, _)| (from..to).contains(key))
                    .map(|(key, value)| (*key, *value))
                    .collect();
                if !up {
                    expected.reverse();
                }
                prop_assert_eq!(seen, expected);
            }
        }
        tables.checkpoint_if_large();
    }
    for key in 0..40 {
        let row = tables.view().row::<InlineRow>(InodeId(key)).expect("reads");
        prop_assert_eq!(row.map(|row| row.0[0]), model.get(&key).copied());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn memory_reads_as_a_plain_map(steps in prop::collection::vec(step(), 0..80)) {
        run(&Storage::Memory(Arc::default()), steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_file_reads_as_a_plain_map(steps in prop::collection::vec(step(), 0..60)) {
        let folder = tempfile::tempdir().expect("a folder");
        run(&Storage::Folder(folder.path().to_owned()), steps)?;
    }
}

fn fill(tables: &Tables, keys: std::ops::Range<u64>, index: u64) {
    let filled = tables.transact(|txn| {
        for key in keys {
            txn.insert(InodeId(key), &inline(1));
        }
        Ok::<_, Damage>(())
    });
    assert_eq!(filled, Ok(()));
    tables.advance(PositionRow {
        index,
        mark: Bytes::from(index.to_string()),
    });
}

#[test]
fn what_was_not_checkpointed_is_lost_with_its_position() {
    let storage = Storage::Memory(Arc::default());
    let tables = Tables::open(&storage, Settings::default()).expect("opens");
    fill(&tables, 0..5, 7);
    let done = tables.checkpoint_now().expect("writes");
    assert_eq!((done.index, &done.mark[..]), (7, &b"7"[..]));
    fill(&tables, 5..9, 8);
    assert_eq!((tables.index(), tables.checkpointed().index), (8, 7));
    drop(tables);
    let tables = Tables::open(&storage, Settings::default()).expect("opens");
    assert_eq!(tables.position(), done);
    let view = tables.view();
    assert_eq!(view.has::<InlineRow>(InodeId(4)), Ok(true));
    assert_eq!(view.has::<InlineRow>(InodeId(5)), Ok(false));
}

#[test]
fn a_failed_change_leaves_nothing() {
    let tables = Tables::open(&Storage::Memory(Arc::default()), Settings::default());
    let tables = tables.expect("opens");
    let failed: Result<(), &str> = tables.transact(|txn| {
        txn.insert(InodeId(1), &inline(1));
        Err("no")
    });
    assert_eq!(failed, Err("no"));
    assert_eq!(tables.view().has::<InlineRow>(InodeId(1)), Ok(false));
}

#[test]
fn a_snapshot_moves_everything_to_another_engine_or_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::Folder(folder.path().to_owned());
    let tables = Tables::open(&storage, Settings::default()).expect("opens");
    fill(&tables, 0..300, 7);
    tables.checkpoint_now().expect("writes");
    let snapshot = tables.snapshot().expect("a snapshot");
    fill(&tables, 300..400, 8);
    tables.checkpoint_now().expect("writes");
    let mut stream = Vec::new();
    assert_eq!(snapshot.write_to(&mut stream), Ok(301));

    let other = Tables::open(&Storage::Memory(Arc::default()), Settings::default());
    let other = other.expect("opens");
    fill(&other, 1000..1001, 3);
    for damaged in [&stream[..stream.len() - 1], &stream[..40], &stream[1..]] {
        assert!(other.install(&mut &*damaged).is_err());
    }
    let mut flipped = stream.clone();
    flipped[200] ^= 1;
    assert!(other.install(&mut &flipped[..]).is_err());
    assert_eq!(
        (other.index(), other.view().has::<InlineRow>(InodeId(1000))),
        (3, Ok(true))
    );

    assert_eq!(other.install(&mut &stream[..]).map(|at| at.index), Ok(7));
    let view = other.view();
    let count = view.page(all::inlines().prefix(), 1000, |_, _: InlineRow| ());
    assert_eq!(count.map(|rows| rows.len()), Ok(300));
    assert_eq!(view.any(all::opens(SessionId(1)).prefix()), Ok(false));
    assert_eq!(view.has::<OpenRow>((SessionId(1), InodeId(1))), Ok(false));
}

#[test]
fn a_file_that_was_cut_or_is_no_file_of_ours_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::Folder(folder.path().to_owned());
    let tables = Tables::open(&storage, Settings::default()).expect("opens");
    fill(&tables, 0..5000, 7);
    tables.checkpoint_now().expect("writes");
    drop(tables);
    let path = folder.path().join("tables.mdb");
    let whole = std::fs::read(&path).expect("reads");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("writes");
    let refused = Tables::open(&storage, Settings::default()).expect_err("it was cut");
    assert!(refused.to_string().contains("tables.mdb"), "{refused}");
    assert!(refused.to_string().contains("restore"), "{refused}");
    std::fs::write(&path, vec![b'x'; whole.len()]).expect("writes");
    let refused = Tables::open(&storage, Settings::default()).expect_err("it is not ours");
    assert!(refused.to_string().contains("tables.mdb"), "{refused}");
    std::fs::write(&path, &whole).expect("writes");
    let tables = Tables::open(&storage, Settings::default()).expect("it is whole again");
    assert_eq!(tables.index(), 7);
}

#[test]
fn a_flipped_bit_is_never_read_as_if_it_had_been_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::Folder(folder.path().to_owned());
    let tables = Tables::open(&storage, Settings::default()).expect("opens");
    let put = tables.transact(|txn| {
        txn.insert(
            InodeId(3),
            &InlineRow(Bytes::from_static(b"what was written")),
        );
        Ok::<_, Damage>(())
    });
    assert_eq!(put, Ok(()));
    tables.checkpoint_now().expect("writes");
    drop(tables);
    let path = folder.path().join("tables.mdb");
    let mut bytes = std::fs::read(&path).expect("reads");
    let at = bytes
        .windows(16)
        .position(|window| window == b"what was written");
    bytes[at.expect("it is in the file") + 5] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    let tables = Tables::open(&storage, Settings::default()).expect("opens");
    let refused = tables
        .view()
        .row::<InlineRow>(InodeId(3))
        .expect_err("it is damaged");
    assert!(refused.to_string().contains("tables.mdb"), "{refused}");
    let scanned = tables
        .view()
        .page(all::inlines().prefix(), 9, |_, _: InlineRow| ());
    assert_eq!(scanned, Err(refused));
}
