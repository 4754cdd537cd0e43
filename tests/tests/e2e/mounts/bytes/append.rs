//! A log that every mount appends to: each record is there once, whole, and who reads along never sees
//! what nobody wrote.

use dfs_tests::{
    cluster::{Cluster, Shape},
    long, pattern, wait,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// What each record begins with; then its length and its id, 4 bytes each.
const MARK: &[u8; 4] = b"dfsR";
const HEAD: usize = 12;
const RECORD_MAX: usize = 9000;

/// A record: everything in it follows from its id and its length.
fn record(id: u32, len: usize) -> Vec<u8> {
    let mut record = vec![0; len];
    let told = u32::try_from(len).expect("small");
    pattern::fill(u64::from(id) << 32 | u64::from(told), 0, &mut record);
    record[..4].copy_from_slice(MARK);
    record[4..8].copy_from_slice(&told.to_le_bytes());
    record[8..HEAD].copy_from_slice(&id.to_le_bytes());
    record
}

/// Reads a log from its beginning as it grows.
#[derive(Default)]
struct Tail {
    /// Where the bytes begin that are not understood yet.
    at: u64,
    rest: Vec<u8>,
    /// Ids, each with how often it came.
    found: BTreeMap<u32, usize>,
}

impl Tail {
    /// Reads what the file's size says is there: all of it, or on a mount that `writes` itself what is
    /// there already.
    fn follow(&mut self, file: &File, writes: bool) -> Result<(), String> {
        let size = file.metadata().map_err(|error| error.to_string())?.len();
        let known = self.at + self.rest.len() as u64;
        let more = match size.checked_sub(known) {
            None if writes => 0,
            more => more.unwrap_or(u64::MAX),
        };
        if more == u64::MAX {
            return Err(format!("its size was {known} and is {size}"));
        }
        let mut bytes = vec![0; usize::try_from(more).expect("fits")];
        if writes {
            let there = file.read_at(&mut bytes, known);
            bytes.truncate(there.map_err(|error| error.to_string())?);
        } else if let Err(error) = file.read_exact_at(&mut bytes, known) {
            return Err(format!(
                "{more} bytes from {known} on, before the end: {error}"
            ));
        }
        self.rest.append(&mut bytes);
        self.understand()
    }

    /// Takes the whole records off; the last one may be under way.
    fn understand(&mut self) -> Result<(), String> {
        while let Some((id, len)) = self.head()? {
            let wanted = record(id, len);
            let there = self.rest.len().min(len);
            let differs = (0..there).find(|at| self.rest[*at] != wanted[*at]);
            if let Some(first) = differs {
                return Err(self.wrong(&format!("record {id:x} of {len} bytes"), first));
            }
            if there < len {
                return Ok(());
            }
            self.rest.drain(..len);
            self.at += len as u64;
            *self.found.entry(id).or_default() += 1;
        }
        Ok(())
    }

    fn head(&self) -> Result<Option<(u32, usize)>, String> {
        let word = |at: usize| {
            let word = self.rest.get(at..at + 4)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*word))
        };
        let (Some(len), Some(id)) = (word(4), word(8)) else {
            return Ok(None);
        };
        let len = usize::try_from(len).expect("fits");
        if !self.rest.starts_with(MARK) || !(HEAD..=RECORD_MAX).contains(&len) {
            return Err(self.wrong("the head of a record", 0));
        }
        Ok(Some((id, len)))
    }

    fn wrong(&self, what: &str, first: usize) -> String {
        let rest = &self.rest[first..];
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        let mut places = rest.windows(4).enumerate();
        let next = places.find(|(_, word)| word == MARK).map(|(at, _)| at);
        format!(
            "at byte {} should be {what}, and from its byte {first} on there are {zeros} zeros; another \
             record begins {next:?} bytes later",
            self.at
        )
    }
}

/// Appends records to the file, each with one write(2), through one open file or a new one for each.
fn append(path: &Path, writer: u32, records: u32, holds: bool) -> io::Result<()> {
    let mut random = StdRng::seed_from_u64(u64::from(writer));
    let open = || OpenOptions::new().append(true).open(path);
    let mut file = open()?;
    for number in 0..records {
        if !holds {
            file = open()?;
        }
        let most = if number % 8 == 0 { RECORD_MAX } else { 300 };
        let record = record(writer << 16 | number, random.random_range(HEAD..=most));
        let len = file.write(&record)?;
        if len != record.len() {
            return Err(io::Error::other(format!("{len} of {} bytes", record.len())));
        }
    }
    Ok(())
}

/// How long a tail may need to see the last records when all is written and closed.
const SOON: Duration = Duration::from_secs(10);

/// Between two looks of a tail, so that it leaves the writers a processor.
const PACE: Duration = Duration::from_millis(1);

/// Appends from the mounts in `from`, two writers each, and reads along on every mount.
fn append_and_follow(cluster: &Cluster, from: &[usize]) {
    let paths: Vec<PathBuf> = cluster
        .mounts
        .iter()
        .map(|m| m.path().join("log"))
        .collect();
    File::create(&paths[0]).expect("made");
    let records: u32 = if long() { 4000 } else { 60 };
    let writers: Vec<usize> = from.iter().chain(from).copied().collect();
    let left = AtomicUsize::new(writers.len());
    thread::scope(|scope| {
        let (paths, left) = (&paths, &left);
        let writing = writers.iter().zip(1..).map(|(mount, writer)| {
            scope.spawn(move || {
                let done = append(&paths[*mount], writer, records, writer % 2 == 0);
                left.fetch_sub(1, Ordering::SeqCst);
                (writer, done)
            })
        });
        let writing: Vec<_> = writing.collect();
        let tails = paths.iter().enumerate().map(|(mount, path)| {
            let writes = from.contains(&mount) && from.len() > 1;
            scope.spawn(move || {
                let file = File::open(path).expect("opens");
                let mut tail = Tail::default();
                let mut looks = 0;
                while left.load(Ordering::SeqCst) > 0 {
                    looks += 1;
                    tail.follow(&file, writes).map_err(|why| (looks, why))?;
                    wait::last(PACE);
                }
                Ok::<usize, (usize, String)>(looks)
            })
        });
        let tails: Vec<_> = tails.collect();
        for writer in writing {
            let (writer, done) = writer.join().expect("ends");
            done.unwrap_or_else(|error| panic!("writer {writer}: {error}"));
        }
        for (at, tail) in (1..).zip(tails) {
            match tail.join().expect("ends") {
                Ok(looks) => println!("the tail on mount {at} looked {looks} times"),
                Err((look, why)) => panic!("the tail on mount {at}, look {look}: {why}"),
            }
        }
    });
    for path in &paths {
        let wanted = writers.len() * usize::try_from(records).expect("fits");
        let mut tail = Tail::default();
        wait::until(SOON, "the whole log", || {
            let file = File::open(path).expect("opens");
            let through = path.display();
            tail = Tail::default();
            tail.follow(&file, false)
                .unwrap_or_else(|why| panic!("{through}, when all is written: {why}"));
            tail.found.len() >= wanted
        });
        let often: Vec<_> = tail.found.iter().filter(|(_, times)| **times > 1).collect();
        assert!(often.is_empty(), "more than once: {often:x?}");
        assert!(tail.rest.is_empty(), "half a record at the end");
        assert_eq!(tail.found.len(), wanted, "{}", path.display());
    }
}

fn three_mounts() -> Cluster {
    Cluster::of(Shape {
        mounts: 3,
        ..Shape::default()
    })
}

#[test]
fn a_log_that_one_mount_appends_to_is_followed_on_all() {
    let cluster = three_mounts();
    append_and_follow(&cluster, &[0]);
    cluster.end();
}

#[test]
fn a_log_that_every_mount_appends_to_has_each_record_once() {
    let cluster = three_mounts();
    append_and_follow(&cluster, &[0, 1, 2]);
    cluster.end();
}

#[test]
fn a_log_that_is_wrong_is_found() {
    let log = [record(1, 50), record(2, 5000), record(3, 12)].concat();
    let read = |bytes: &[u8]| {
        let mut tail = Tail {
            rest: bytes.to_vec(),
            ..Tail::default()
        };
        tail.understand().map(|()| tail.found.len())
    };
    assert_eq!(read(&log), Ok(3));
    assert_eq!(read(&log[..log.len() - 20]), Ok(1), "the last is under way");
    let mut zeros = log.clone();
    zeros[4000..4096].fill(0);
    let why = read(&zeros).expect_err("zeros");
    assert!(why.contains("96 zeros"), "{why}");
    read(&[&log[..60], &log[61..]].concat()).expect_err("a byte is missing");
    read(&[&log[..50], &log[60..]].concat()).expect_err("a head is missing");
}
