//! The log on a disk that loses power at random moments, and under every kind of damage.

use super::{
    fault::LogError,
    log::{Log, Stored},
    segment::{Vote, segment_name},
};
use dfs_host::disk::{Crash, Disk, Fault, SimulatedDisk};
use dfs_proto::{
    id::FilesystemId,
    log::record::{Kind, Place},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;

const FILESYSTEM: FilesystemId = FilesystemId(7);
const SEGMENT: u32 = 4096;

fn entry(term: u64, index: u64, bytes: usize, fill: u8) -> Stored {
    let place = Place {
        term,
        node: 1,
        index,
    };
    let kind = match index % 17 {
        0 => Kind::Blank,
        5 => Kind::Membership,
        _ => Kind::Commands,
    };
    let payload = if kind == Kind::Blank {
        Vec::new()
    } else {
        vec![fill; bytes]
    };
    Stored {
        kind,
        place,
        payload,
    }
}

fn open(disk: &Arc<SimulatedDisk>) -> Result<Log, LogError> {
    Log::open(Arc::clone(disk) as Arc<dyn Disk>, FILESYSTEM, SEGMENT)
}

fn create(disk: &Arc<SimulatedDisk>) -> Result<Log, LogError> {
    Log::create(Arc::clone(disk) as Arc<dyn Disk>, FILESYSTEM, SEGMENT)
}

/// What was asked of a log, and how much of it was acknowledged as durable.
#[derive(Default)]
struct Model {
    steps: Vec<Step>,
    durable: usize,
    vote: Option<Vote>,
    vote_attempted: Option<Vote>,
    term: u64,
}

#[derive(Clone)]
enum Step {
    Append(Stored),
    Truncate(u64),
}

impl Model {
    fn entries(&self, steps: usize) -> Vec<Stored> {
        let mut entries: Vec<Stored> = Vec::new();
        for step in &self.steps[..steps] {
            match step {
                Step::Append(entry) => entries.push(entry.clone()),
                Step::Truncate(after) => entries.retain(|e| e.place.index <= *after),
            }
        }
        entries
    }

    /// The log must be one of the states between the last durable one and the last attempted.
    /// Goes on from the one that it is.
    fn settle(&mut self, log: &Log) {
        let have = log.read(..).expect("readable");
        let purged = log.purged().map_or(0, |place| place.index);
        let after_purge = |entries: Vec<Stored>| -> Vec<Stored> {
            entries
                .into_iter()
                .filter(|e| e.place.index > purged)
                .collect()
        };
        let state = (self.durable..=self.steps.len())
            .rev()
            .find(|&steps| after_purge(self.entries(steps)) == have);
        let Some(state) = state else {
            let last = have.last().map(|e| e.place);
            panic!(
                "log ends at {last:?}, purged {purged}: none of the states from {} on",
                self.durable
            );
        };
        let vote = log.vote();
        assert!(
            vote == self.vote || vote == self.vote_attempted,
            "a vote was forgotten"
        );
        self.vote = vote;
        self.vote_attempted = vote;
        self.steps.truncate(state);
        // Opening synced what it found.
        self.durable = state;
        let entries = self.entries(state);
        let memberships = || entries.iter().filter(|e| e.kind == Kind::Membership);
        let purged_last = memberships().rfind(|e| e.place.index <= purged);
        for want in memberships()
            .filter(|e| e.place.index > purged)
            .chain(purged_last)
        {
            let known = log.membership_at(want.place.index).expect("remembered");
            assert_eq!((known.0, &known.1), (want.place, &want.payload));
        }
    }

    fn step(&mut self, log: &mut Log, rng: &mut StdRng) -> Result<(), LogError> {
        let last = log.last().map_or(0, |place| place.index);
        match rng.random_range(0..20) {
            0..10 => {
                let count = rng.random_range(1..5u64);
                let batch: Vec<Stored> = (1..=count)
                    .map(|i| entry(self.term, last + i, rng.random_range(1..400), rng.random()))
                    .collect();
                self.steps.extend(batch.iter().cloned().map(Step::Append));
                log.append(&batch)?;
            }
            10..15 => {
                log.sync()?;
                self.durable = self.steps.len();
            }
            15 => {
                self.term += 1;
                let vote = Vote {
                    term: self.term,
                    node: 1,
                    committed: rng.random(),
                };
                self.vote_attempted = Some(vote);
                log.save_vote(vote)?;
                self.vote = Some(vote);
            }
            16 => log.mark()?,
            17 => {
                let first = log.read(..)?.first().map_or(last, |e| e.place.index);
                if last > first {
                    let upto = rng.random_range(first..last);
                    // As the master does it: what the tables have, the log has on disk.
                    log.sync()?;
                    self.durable = self.steps.len();
                    log.purge(log.place_at(upto).expect("there"))?;
                }
            }
            18 => {
                let first = log.read(..)?.first().map_or(last, |e| e.place.index);
                if last > first && rng.random_bool(0.5) {
                    let after = rng.random_range(first..last);
                    self.term += 1;
                    self.steps.push(Step::Truncate(after));
                    log.truncate_after(after)?;
                    self.durable = self.steps.len();
                }
            }
            _ => {
                let got = log.read(last.saturating_sub(3)..=last)?;
                let want = self.entries(self.steps.len());
                assert!(want.ends_with(&got));
            }
        }
        Ok(())
    }
}

/// One log through several lives, each ended by a power cut at a random call.
fn lives(seed: u64) -> u32 {
    let mut rng = StdRng::seed_from_u64(seed);
    let disk = SimulatedDisk::new(seed, 64 << 20);
    let mut model = Model {
        term: 1,
        ..Model::default()
    };
    let mut log = create(&disk).expect("a new log");
    let mut cuts = 0;
    for _ in 0..5 {
        disk.fail_after(rng.random_range(1..120), Fault::PowerCut);
        while model.step(&mut log, &mut rng).is_ok() {}
        drop(log);
        let how = match rng.random_range(0..4) {
            0 => Crash::PowerAtWorst,
            1 => Crash::Kill,
            _ => Crash::Power,
        };
        disk.crash(how);
        cuts += 1;
        // Power may go while it opens, too.
        disk.fail_after(rng.random_range(1..6), Fault::PowerCut);
        log = match open(&disk) {
            Ok(log) => log,
            Err(LogError::Io { .. }) => {
                disk.crash(Crash::Power);
                cuts += 1;
                open(&disk).unwrap_or_else(|refused| panic!("seed {seed}: {refused}"))
            }
            Err(refused) => panic!("seed {seed}: {refused}"),
        };
        disk.heal();
        model.settle(&log);
        let again = open(&disk).expect("opens again");
        assert_eq!(
            again.read(..).expect("readable"),
            log.read(..).expect("readable")
        );
        assert_eq!((again.vote(), again.purged()), (log.vote(), log.purged()));
    }
    cuts
}

#[test]
fn power_cuts_lose_nothing_that_was_synced() {
    let cuts: u32 = (0..600).map(lives).sum();
    assert!(cuts >= 3000, "only {cuts} power cuts");
}

/// A log of several segments that was closed in order.
fn closed() -> (Arc<SimulatedDisk>, Vec<Stored>) {
    let disk = SimulatedDisk::new(1, 64 << 20);
    let mut log = create(&disk).expect("a new log");
    log.save_vote(Vote {
        term: 3,
        node: 1,
        committed: true,
    })
    .expect("saved");
    let entries: Vec<Stored> = (1..=60).map(|i| entry(3, i, 150, 0xab)).collect();
    for batch in entries.chunks(3) {
        log.append(batch).expect("appended");
    }
    log.sync().expect("synced");
    log.mark().expect("marked");
    log.sync().expect("synced");
    assert!(log.anchor.newest >= 3, "several segments");
    (disk, entries)
}

fn files(disk: &Arc<SimulatedDisk>) -> Vec<String> {
    let names = disk.list("log").expect("listed");
    names
        .into_iter()
        .filter(|name| name != "spare")
        .map(|name| format!("log/{name}"))
        .collect()
}

/// Opening gives all entries or refuses with the file's name; never less.
fn whole_or_refused(disk: &Arc<SimulatedDisk>, entries: &[Stored], file: &str, what: &str) -> bool {
    match open(disk) {
        Ok(log) => {
            let have = log.read(..).expect("readable");
            assert!(
                have == entries,
                "{what}: opened with {} of {}",
                have.len(),
                entries.len()
            );
            assert_eq!(
                log.vote(),
                Some(Vote {
                    term: 3,
                    node: 1,
                    committed: true
                }),
                "{what}"
            );
            false
        }
        Err(refused) => {
            let text = refused.to_string();
            // The file before may be named where the first record of one does not follow.
            assert!(text.contains("log/"), "{what} of {file}: {text}");
            assert!(
                !matches!(refused, LogError::Io { .. }),
                "{what} of {file}: {text}"
            );
            true
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_harmless() {
    let (disk, entries) = closed();
    let mut refused = 0;
    let mut rng = StdRng::seed_from_u64(5);
    for file in files(&disk) {
        let length = disk.open(&file).expect("there").len().expect("known");
        for _ in 0..300 {
            let copy = disk.crashed(Crash::Kill);
            let (at, mask) = (rng.random_range(0..length), 1u8 << rng.random_range(0..8));
            copy.flip(&file, at, mask).expect("flipped");
            refused += u32::from(whole_or_refused(
                &copy,
                &entries,
                &file,
                &format!("flip at {at}"),
            ));
        }
    }
    assert!(refused > 300, "most flips hit something: {refused}");
}

#[test]
fn zeros_cuts_deletions_and_swaps_are_refused() {
    let (disk, entries) = closed();
    let names = files(&disk);
    for file in &names {
        let copy = disk.crashed(Crash::Kill);
        let opened = copy.open(file).expect("there");
        let length = opened.len().expect("known");
        let zeros = vec![0u8; usize::try_from(length.min(4096)).expect("small")];
        opened.write_at(&[&zeros], 0).expect("written");
        assert!(whole_or_refused(&copy, &entries, file, "zeros"));

        let copy = disk.crashed(Crash::Kill);
        copy.open(file)
            .expect("there")
            .set_len(length / 2)
            .expect("cut");
        assert!(whole_or_refused(&copy, &entries, file, "cut in half"));

        let copy = disk.crashed(Crash::Kill);
        copy.remove(file).expect("removed");
        assert!(whole_or_refused(&copy, &entries, file, "deleted"));
    }
    let copy = disk.crashed(Crash::Kill);
    copy.rename(&segment_name(1), "log/x").expect("renamed");
    copy.rename(&segment_name(2), &segment_name(1))
        .expect("renamed");
    copy.rename("log/x", &segment_name(2)).expect("renamed");
    assert!(whole_or_refused(
        &copy,
        &entries,
        &segment_name(1),
        "swapped"
    ));

    let foreign = Log::open(Arc::clone(&disk) as Arc<dyn Disk>, FilesystemId(8), SEGMENT);
    assert!(matches!(foreign, Err(LogError::Foreign { .. })));
}

#[test]
fn a_failed_sync_loses_nothing_that_was_acknowledged() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed, 64 << 20);
        let mut log = create(&disk).expect("a new log");
        let first: Vec<Stored> = (1..=5).map(|i| entry(1, i, 100, 1)).collect();
        log.append(&first).expect("appended");
        log.sync().expect("synced");
        log.append(&[entry(1, 6, 100, 2)]).expect("appended");
        disk.fail_after(1, Fault::SyncError);
        assert!(log.sync().is_err());
        drop(log);
        disk.crash(Crash::Power);
        let have = open(&disk).expect("opens").read(..).expect("readable");
        assert!(have.starts_with(&first) && have.len() <= 6);
    }
}

#[test]
fn an_entry_larger_than_a_segment_gets_a_larger_one() {
    let disk = SimulatedDisk::new(1, 64 << 20);
    let mut log = create(&disk).expect("a new log");
    let entries = vec![
        entry(1, 1, 100, 1),
        entry(1, 2, 20_000, 2),
        entry(1, 3, 100, 3),
    ];
    log.append(&entries).expect("appended");
    log.sync().expect("synced");
    drop(log);
    disk.crash(Crash::PowerAtWorst);
    assert_eq!(
        open(&disk).expect("opens").read(..).expect("readable"),
        entries
    );
}

#[test]
fn purged_segments_are_used_again() {
    let disk = SimulatedDisk::new(1, 64 << 20);
    let mut log = create(&disk).expect("a new log");
    for index in 1..=500 {
        log.append(&[entry(1, index, 200, 9)]).expect("appended");
        log.purge(log.place_at(index).expect("there"))
            .expect("purged");
    }
    assert!(
        disk.list("log").expect("listed").len() <= 3,
        "anchor, one segment, one spare"
    );
    assert_eq!(
        open(&disk).expect("opens").last().map(|p| p.index),
        Some(500)
    );
}
