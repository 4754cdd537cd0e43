//! Two mounts that change one file in turns, in every way that there is, against a vector: what fsx does
//! on one mount.

use dfs_tests::{
    cluster::{Cluster, Shape},
    kernel::{self, Mapping},
    long, pattern,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
};

/// The file is never larger.
const BYTES_MAX: usize = 300_000;

/// Bytes that one operation is about, at the most.
const LEN_MAX: usize = 70_000;

/// What ends the turn of a mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It closes the file, and opens it for its next turn.
    Close,
    /// It keeps the file open, and syncs it.
    Sync,
    /// It keeps the file open.
    Nothing,
}

/// What can be done to a file, each with how often in proportion.
const OPERATIONS: &[(&str, u32)] = &[
    ("read", 10),
    ("read directly", 4),
    ("read a mapping", 6),
    ("write", 14),
    ("append", 4),
    ("write a mapping", 8),
    ("truncate", 5),
    ("punch", 5),
    ("zero", 4),
    ("zero and extend", 2),
    ("allocate", 3),
    ("copy", 5),
    ("fsync", 2),
    ("fdatasync", 2),
];

/// The file on two mounts, and what it should be.
struct Turns {
    paths: [PathBuf; 2],
    held: [Option<File>; 2],
    end: End,
    model: Vec<u8>,
    random: StdRng,
    operation: u64,
    /// The last operations, for whoever reads a failure.
    told: VecDeque<String>,
}

impl Turns {
    fn tell(&mut self, what: String) {
        if self.told.len() == 25 {
            self.told.pop_front();
        }
        self.told.push_back(format!("{}: {what}", self.operation));
    }

    /// Panics with the last operations where `found` is not what the file holds from `at` on.
    fn compare(&self, how: &str, at: usize, found: &[u8]) {
        let wanted = &self.model[at..(at + found.len()).min(self.model.len())];
        let differs = (0..wanted.len()).find(|n| found[*n] != wanted[*n]);
        if found.len() == wanted.len() && differs.is_none() {
            return;
        }
        let first = differs.unwrap_or(wanted.len());
        let zeros = found[first..].iter().take_while(|byte| **byte == 0).count();
        panic!(
            "{how}: byte {} is not what it should be ({zeros} zeros from there; {} of {} bytes); {:#?}\n{}",
            at + first,
            found.len(),
            wanted.len(),
            self.told,
            self.again(at + first),
        );
    }

    /// What a byte is now, in every way to read it: whose cache is wrong, if one is.
    fn again(&self, at: usize) -> String {
        let mut told = format!("wanted {}", self.model[at]);
        for (flags, how) in [(libc::O_DIRECT, "directly"), (0, "through pages")] {
            for (mount, path) in self.paths.iter().enumerate() {
                let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
                let mut found = [0];
                let read = opened.and_then(|file| file.read_exact_at(&mut found, at as u64));
                let found = read.map(|()| found[0]);
                let _ = write!(told, "; {how} through mount {mount} {found:?}");
            }
        }
        told
    }

    /// A range of the file, perhaps beyond its end.
    fn range(&mut self, end: usize) -> (usize, usize) {
        let at = self.random.random_range(0..=end.min(BYTES_MAX - 1));
        let len = self.random.random_range(1..=LEN_MAX.min(BYTES_MAX - at));
        // Many small ones, as programs do.
        let small = self.random.random_bool(0.4);
        (at, if small { len.min(900) } else { len })
    }

    /// A range within the file, if it has any bytes.
    fn range_within(&mut self) -> Option<(usize, usize)> {
        let size = self.model.len().checked_sub(1)?;
        let (at, len) = self.range(size);
        Some((at, len.min(size + 1 - at)))
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        pattern::fill(self.operation, 0, &mut bytes);
        bytes
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let size = self.model.len().max(at + bytes.len());
        self.model.resize(size, 0);
        self.model[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// One turn of one mount: some operations, and what ends it; the other one looks.
    fn turn(&mut self) -> io::Result<()> {
        let mount = self.random.random_range(0..2);
        let file = match self.held[mount].take() {
            Some(file) => file,
            None => open(&self.paths[mount])?,
        };
        for _ in 0..self.random.random_range(1..=3) {
            self.operation += 1;
            let total = OPERATIONS.iter().map(|(_, often)| often).sum();
            let mut pick = self.random.random_range(0..total);
            let mut known = OPERATIONS.iter();
            let (what, _) = known
                .find(|(_, often)| pick.checked_sub(*often).map(|left| pick = left).is_none())
                .expect("below the sum");
            self.operate(what, mount, &file)?;
        }
        match self.end {
            End::Close => kernel::close(file)?,
            End::Sync => {
                file.sync_all()?;
                self.held[mount] = Some(file);
            }
            End::Nothing => self.held[mount] = Some(file),
        }
        for through in [1 - mount, mount] {
            let size = fs::metadata(&self.paths[through])?.len();
            let told = &self.told;
            let wanted = self.model.len() as u64;
            assert_eq!(size, wanted, "the size through mount {through}: {told:#?}");
        }
        if self.random.random_bool(0.1) {
            for through in [1 - mount, mount] {
                let found = fs::read(&self.paths[through])?;
                self.compare(&format!("all of it through mount {through}"), 0, &found);
                assert_eq!(found.len(), self.model.len());
            }
        }
        Ok(())
    }

    fn operate(&mut self, what: &str, mount: usize, file: &File) -> io::Result<()> {
        let through = format!("{what} through mount {mount}");
        match what {
            "read" | "read directly" | "read a mapping" | "write a mapping" | "copy" | "punch"
            | "zero" => {
                let Some((at, len)) = self.range_within() else {
                    return Ok(());
                };
                self.tell(format!("{through}: {len} bytes at {at}"));
                match what {
                    "write a mapping" => self.write_mapping(file, at, len),
                    "copy" => self.copy(file, at, len),
                    "punch" | "zero" => self.give_up(what, file, at, len),
                    _ => self.read(what, mount, file, (at, len)),
                }
            }
            "fsync" => file.sync_all(),
            "fdatasync" => file.sync_data(),
            _ => self.grow_or_cut(what, mount, file),
        }
    }

    fn read(
        &mut self,
        what: &str,
        mount: usize,
        file: &File,
        (at, len): (usize, usize),
    ) -> io::Result<()> {
        let found = match what {
            "read a mapping" => Mapping::new(file, self.model.len())?.read(at, len),
            _ => {
                let mut found = vec![0; len];
                let mut options = OpenOptions::new();
                let options = options.read(true).custom_flags(libc::O_DIRECT);
                match what {
                    "read" => file.read_exact_at(&mut found, at as u64)?,
                    _ => options
                        .open(&self.paths[mount])?
                        .read_exact_at(&mut found, at as u64)?,
                }
                found
            }
        };
        self.compare(&format!("{what} through mount {mount}"), at, &found);
        Ok(())
    }

    fn write_mapping(&mut self, file: &File, at: usize, len: usize) -> io::Result<()> {
        let bytes = self.bytes(len);
        let mut map = Mapping::new(file, self.model.len())?;
        map.write(at, &bytes);
        map.sync()?;
        self.put(at, &bytes);
        Ok(())
    }

    fn copy(&mut self, file: &File, from: usize, len: usize) -> io::Result<()> {
        // Not over itself, which is refused.
        let to = match self.random.random_bool(0.5) {
            true => from + len,
            false => from.saturating_sub(len),
        };
        let len = len.min(from.abs_diff(to)).min(BYTES_MAX.saturating_sub(to));
        let mut done = 0;
        while done < len {
            let (source, target) = ((from + done) as u64, (to + done) as u64);
            let copied = kernel::copy_range((file, source), (file, target), len - done)?;
            assert_ne!(copied, 0, "bytes to copy are there: {:#?}", self.told);
            done += copied;
        }
        let bytes = self.model[from..from + len].to_vec();
        self.put(to, &bytes);
        Ok(())
    }

    fn give_up(&mut self, what: &str, file: &File, at: usize, len: usize) -> io::Result<()> {
        let mode = match what {
            "punch" => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            _ => libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
        };
        kernel::fallocate(file, mode, at as u64, len as u64)?;
        self.model[at..at + len].fill(0);
        Ok(())
    }

    fn grow_or_cut(&mut self, what: &str, mount: usize, file: &File) -> io::Result<()> {
        let size = self.model.len();
        let beyond = (size + 5000).min(BYTES_MAX - 1);
        let (at, len) = self.range(beyond);
        self.tell(format!(
            "{what} through mount {mount}: {len} bytes at {at}, {size} before"
        ));
        match what {
            "write" => {
                let bytes = self.bytes(len);
                file.write_all_at(&bytes, at as u64)?;
                self.put(at, &bytes);
            }
            "append" => {
                let bytes = self.bytes(len.min(BYTES_MAX - size));
                let mut end = OpenOptions::new().append(true).open(&self.paths[mount])?;
                end.write_all(&bytes)?;
                kernel::close(end)?;
                self.put(size, &bytes);
            }
            "truncate" => {
                file.set_len(at as u64)?;
                self.model.resize(at, 0);
            }
            "zero and extend" => {
                kernel::fallocate(file, libc::FALLOC_FL_ZERO_RANGE, at as u64, len as u64)?;
                self.put(at, &vec![0; len]);
            }
            _ => {
                kernel::fallocate(file, 0, at as u64, len as u64)?;
                self.model.resize(size.max(at + len), 0);
            }
        }
        Ok(())
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn take_turns(end: End, operations: u64) {
    let cluster = Cluster::of(Shape {
        mounts: 2,
        ..Shape::default()
    });
    let paths = [0, 1].map(|n: usize| cluster.mounts[n].path().join("file"));
    File::create(&paths[0]).expect("made");
    let mut turns = Turns {
        paths,
        held: [None, None],
        end,
        model: Vec::new(),
        random: StdRng::seed_from_u64(11),
        operation: 0,
        told: VecDeque::new(),
    };
    while turns.operation < operations {
        let done = turns.turn();
        done.unwrap_or_else(|error| panic!("{error}: {:#?}", turns.told));
    }
    drop(turns);
    cluster.end();
}

#[test]
fn two_mounts_in_turns_agree_with_a_vector() {
    take_turns(End::Close, if long() { 500_000 } else { 800 });
}

#[test]
fn two_mounts_with_files_held_open_agree_with_a_vector() {
    take_turns(End::Sync, if long() { 100_000 } else { 600 });
}

#[test]
fn two_mounts_that_sync_nothing_agree_with_a_vector() {
    take_turns(End::Nothing, if long() { 100_000 } else { 600 });
}
