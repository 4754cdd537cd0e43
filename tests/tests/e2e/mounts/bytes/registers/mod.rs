//! Files as registers: whatever several mounts write and read at the same time can be told as if one
//! machine had done it.
//!
//! A file that is written in place is a register for each of its pages, because that is what the kernel's
//! page cache promises of a read on a local disk too; a read that passes by the page cache, and any read
//! of a file that was renamed into place, must find one version from the first byte to the last.

mod judge;
mod parted;
mod versions;

use dfs_tests::{
    cluster::{Cluster, Shape},
    kernel, long,
    registers::{Deed, Operation, Value},
    wait::{self, Stopwatch},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use versions::{ALL, IN_PLACE, PAGE, REPLACED, Register, content, values};

/// What the registers hold at first.
const FIRST: Value = 1;

/// Threads on each mount.
const THREADS: usize = 2;

/// From when on what was written must be seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// From the return of close(2) or fsync(2); perhaps from its open on.
    FromClose,
    /// From the return of write(2), and not before it was called.
    FromWrite,
}

/// How a read that passes by the kernel's pages is told of.
const PAST_PAGES: &str = "open O_DIRECT and read";

/// Each has a directory of its own.
fn file_of(mount: &Path, register: Register) -> PathBuf {
    mount.join(register.name).join("file")
}

/// A read through the page cache that found pages which are of no version.
struct Mixture {
    register: usize,
    span: (u64, u64),
    by: String,
    found: Vec<u8>,
    what: String,
}

/// One thread on one mount, and what it did.
struct Player {
    name: String,
    mount: PathBuf,
    /// Which of how many it is.
    at: usize,
    mounts: usize,
    registers: &'static [Register],
    seen: Seen,
    clock: Stopwatch,
    random: StdRng,
    /// Distinguishes its values from those of others.
    number: u64,
    written: u64,
    held: Vec<(File, Vec<Value>)>,
    /// Register, page, operation.
    history: Vec<(usize, usize, Operation)>,
    mixtures: Vec<Mixture>,
    wrong: Vec<String>,
    /// Opens of a file that was not there any more.
    stale: usize,
    /// The write that is under way: register, start, how, value.
    begun: Option<(usize, u64, &'static str, Value)>,
    /// Writes that failed, where they may, and when that was told.
    told: Vec<(Value, u64)>,
    /// Operations that failed, where they may.
    failed: usize,
    /// The longest operation.
    longest: Duration,
}

impl Player {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).expect("years")
    }

    fn path(&self, register: usize) -> PathBuf {
        file_of(&self.mount, self.registers[register])
    }

    /// Notes what happened to every page.
    fn note(&mut self, register: usize, (start, end): (u64, u64), how: &str, deeds: &[Deed]) {
        let name = &self.name;
        let pages = deeds.iter().enumerate().map(|(page, deed)| {
            let by = format!("{name}: {how}");
            let (end, deed) = (Some(end), *deed);
            (
                register,
                page,
                Operation {
                    start,
                    end,
                    deed,
                    by,
                },
            )
        });
        self.history.extend(pages);
    }

    /// A write that nobody has answered may be done at any time, or never.
    fn perhaps_wrote(&mut self) {
        let Some((register, start, how, value)) = self.begun.take() else {
            return;
        };
        let before = self.history.len();
        self.told.push((value, self.now()));
        self.wrote(register, (start, start), how, value);
        for (_, _, one) in &mut self.history[before..] {
            one.end = None;
        }
    }

    fn wrote(&mut self, register: usize, span: (u64, u64), how: &str, value: Value) {
        self.begun = None;
        let pages = self.registers[register].bytes.div_ceil(PAGE);
        self.note(register, span, how, &vec![Deed::Write(value); pages]);
    }

    /// One operation; an error is wrong, unless it is one that may come while something is cut off.
    fn step_or_note(&mut self, may_fail: bool) {
        let start = self.now();
        let outcome = self.step();
        let took = Duration::from_nanos(self.now() - start);
        self.longest = self.longest.max(took);
        let Err(error) = outcome else { return };
        self.perhaps_wrote();
        // Names that others replace faster than they can be opened: the open has done nothing, and
        // docs/semantics.md allows it.
        if error.raw_os_error() == Some(libc::ESTALE) {
            self.stale += 1;
        } else if may_fail {
            self.failed += 1;
            for register in 0..self.registers.len() {
                // A handle that lost its session fails until it is closed; the next may fail, too.
                let _ = self.hold(register);
            }
        } else {
            let name = &self.name;
            let what = format!("{name}: what it began at {start} ns failed: {error}");
            self.wrong.push(what);
        }
    }

    /// One operation.
    fn step(&mut self) -> io::Result<()> {
        let register = self.random.random_range(0..self.registers.len());
        let what = self.random.random_range(0..10);
        match (self.registers[register].replaced, what) {
            (false, 0..=1) => self.write_in_place(register),
            (false, 2) => self.write_through_held(register),
            (true, 0..=2) if self.replaces(register) => self.replace(register),
            (_, 0..=5) => self.read(register, "open and read", 0),
            (_, 6..=7) => self.read(register, PAST_PAGES, libc::O_DIRECT),
            (false, _) => self.read_held(register),
            (true, _) => self.read_replaced(register),
        }
    }

    fn next_value(&mut self, register: usize) -> (Value, Vec<u8>) {
        self.written += 1;
        let value = self.number << 32 | self.written;
        (value, content(value, self.registers[register].bytes))
    }

    fn write_in_place(&mut self, register: usize) -> io::Result<()> {
        let (value, content) = self.next_value(register);
        let opened = self.now();
        let file = OpenOptions::new().write(true).open(self.path(register))?;
        let start = match self.seen {
            Seen::FromClose => opened,
            Seen::FromWrite => self.now(),
        };
        self.begun = Some((register, start, "write in place", value));
        self.write_and_close(register, file, &content)
            .map(|end| self.wrote(register, (start, end), "write in place", value))
    }

    /// Writes at once and closes; until when it may take to be seen.
    fn write_and_close(&mut self, register: usize, file: File, content: &[u8]) -> io::Result<u64> {
        let len = file.write_at(content, 0)?;
        let returned = self.now();
        if len < content.len() {
            let name = self.registers[register].name;
            self.wrong.push(format!("{name}: {len} bytes written"));
        }
        kernel::close(file)?;
        Ok(match self.seen {
            Seen::FromClose => self.now(),
            Seen::FromWrite => returned,
        })
    }

    fn write_through_held(&mut self, register: usize) -> io::Result<()> {
        let (value, content) = self.next_value(register);
        let start = self.now();
        let how = match self.seen {
            Seen::FromClose => "write and fsync through a held file",
            Seen::FromWrite => "write through a held file",
        };
        self.begun = Some((register, start, how, value));
        self.held[register].0.write_all_at(&content, 0)?;
        if self.seen == Seen::FromClose {
            self.held[register].0.sync_all()?;
        }
        self.wrote(register, (start, self.now()), how, value);
        Ok(())
    }

    /// A file is renamed over by one mount only, which changes nothing else in its directory: a mount that
    /// changes names there itself may see them as they were for longer (docs/semantics.md).
    fn replaces(&self, register: usize) -> bool {
        register % self.mounts == self.at
    }

    fn replace(&mut self, register: usize) -> io::Result<()> {
        let (value, content) = self.next_value(register);
        let new = self.mount.join(format!("new-{}/file", self.number));
        fs::write(&new, content)?;
        let start = self.now();
        self.begun = Some((register, start, "rename over it", value));
        fs::rename(&new, self.path(register))?;
        self.wrote(register, (start, self.now()), "rename over it", value);
        Ok(())
    }

    fn read(&mut self, register: usize, how: &str, flags: i32) -> io::Result<()> {
        let start = self.now();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(self.path(register))?;
        let found = self.contents(register, &file)?;
        let end = self.now();
        drop(file);
        if let Some(values) = self.understand(register, &found, how, (start, end)) {
            let whole = values.iter().all(|value| *value == values[0]);
            if (flags != 0 || self.registers[register].replaced) && !whole {
                let name = self.registers[register].name;
                let who = &self.name;
                let what = format!("{who}: {how} of {name} at {start} ns: a mixture, {values:x?}");
                self.wrong.push(what);
            }
        }
        Ok(())
    }

    fn read_held(&mut self, register: usize) -> io::Result<()> {
        let start = self.now();
        let found = self.contents(register, &self.held[register].0)?;
        let span = (start, self.now());
        self.understand(register, &found, "read through a held file", span);
        Ok(())
    }

    /// A file that was replaced stays what it was for those who have it open.
    fn read_replaced(&mut self, register: usize) -> io::Result<()> {
        let (file, before) = &self.held[register];
        let found = self.contents(register, file)?;
        let now = values(&found, self.registers[register]);
        if now.as_ref() != Ok(before) {
            let name = self.registers[register].name;
            self.wrong.push(format!(
                "{name}: was {before:x?} when it was opened, is {now:x?}"
            ));
        }
        if self.random.random_bool(0.3) {
            self.hold(register)?;
        }
        Ok(())
    }

    fn hold(&mut self, register: usize) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let writes = !self.registers[register].replaced;
        let file = options.read(true).write(writes).open(self.path(register))?;
        let found = self.contents(register, &file)?;
        let values = values(&found, self.registers[register]).map_err(io::Error::other)?;
        if register < self.held.len() {
            self.held[register] = (file, values);
        } else {
            self.held.push((file, values));
        }
        Ok(())
    }

    /// What one read(2) finds.
    fn contents(&self, register: usize, file: &File) -> io::Result<Vec<u8>> {
        let mut found = vec![0; self.registers[register].bytes + 1];
        let len = file.read_at(&mut found, 0)?;
        found.truncate(len);
        Ok(found)
    }

    fn understand(
        &mut self,
        register: usize,
        found: &[u8],
        how: &str,
        span: (u64, u64),
    ) -> Option<Vec<Value>> {
        match values(found, self.registers[register]) {
            Ok(values) => {
                let deeds: Vec<Deed> = values.iter().map(|value| Deed::Read(*value)).collect();
                self.note(register, span, how, &deeds);
                Some(values)
            }
            Err(what) => {
                let (name, who) = (self.registers[register].name, &self.name);
                let what = format!(
                    "{who}: {how} of {name} at {span:?} ns: {} bytes: {what}",
                    found.len()
                );
                if self.registers[register].replaced || how == PAST_PAGES {
                    self.wrong.push(what);
                } else {
                    self.mixtures.push(Mixture {
                        register,
                        span,
                        by: who.clone(),
                        found: found.to_vec(),
                        what,
                    });
                }
                None
            }
        }
    }
}

/// What is played.
#[derive(Clone, Copy)]
struct Game {
    registers: &'static [Register],
    seen: Seen,
    seed: u64,
    /// Whether operations may fail, as when something is cut off.
    may_fail: bool,
}

/// Players on every mount until `meanwhile` is over; what they did, checked. The longest operation.
fn play(cluster: &mut Cluster, game: Game, meanwhile: impl FnOnce(&mut Cluster)) -> Duration {
    let Game {
        registers,
        seen,
        seed,
        may_fail,
    } = game;
    let mounts: Vec<PathBuf> = cluster.mounts.iter().map(|m| m.path().into()).collect();
    for register in registers {
        let file = file_of(&mounts[0], *register);
        fs::create_dir(file.parent().expect("below the mount")).expect("made");
        fs::write(file, content(FIRST, register.bytes)).expect("is written");
    }
    let over = Arc::new(AtomicBool::new(false));
    let clock = Stopwatch::start();
    let many = mounts.len();
    let places = (0..many).flat_map(|at| (0..THREADS).map(move |thread| (at, thread)));
    let players: Vec<_> = places
        .zip(2..)
        .map(|((at, thread), number)| {
            let mount = mounts[at].clone();
            let name = format!("mount {} thread {thread}", at + 1);
            fs::create_dir(mount.join(format!("new-{number}"))).expect("made");
            let mut player = Player {
                name,
                mount,
                at,
                mounts: many,
                registers,
                seen,
                clock,
                random: StdRng::seed_from_u64(seed << 8 | number),
                number,
                written: 0,
                held: Vec::new(),
                history: Vec::new(),
                mixtures: Vec::new(),
                wrong: Vec::new(),
                stale: 0,
                begun: None,
                told: Vec::new(),
                failed: 0,
                longest: Duration::ZERO,
            };
            for register in 0..registers.len() {
                player.hold(register).expect("opens");
            }
            let over = over.clone();
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    player.step_or_note(may_fail);
                }
                player.held.clear();
                player
            })
        })
        .collect();
    meanwhile(cluster);
    over.store(true, Ordering::SeqCst);
    let players = players
        .into_iter()
        .map(|player| player.join().expect("ends"));
    judge::judge(registers, players.collect())
}

fn cluster(mounts: usize) -> Cluster {
    Cluster::of(Shape {
        mounts,
        ..Shape::default()
    })
}

/// With two mounts, and with three.
fn play_for_a_while(registers: &'static [Register], seen: Seen) {
    for mounts in [2, 3] {
        let mut cluster = cluster(mounts);
        let lasts = Duration::from_secs(if long() { 60 } else { 4 });
        let game = Game {
            registers,
            seen,
            seed: mounts as u64,
            may_fail: false,
        };
        play(&mut cluster, game, |_| wait::last(lasts));
        cluster.end();
    }
}

fn play_over_restarts(registers: &'static [Register], seen: Seen) {
    let mut cluster = cluster(3);
    cluster.announce(&[""]);
    let game = Game {
        registers,
        seen,
        seed: 9,
        may_fail: false,
    };
    play(&mut cluster, game, |cluster| {
        for _ in 0..if long() { 30 } else { 3 } {
            wait::last(Duration::from_millis(1500));
            cluster.restart_master();
        }
        wait::last(Duration::from_millis(1500));
    });
    cluster.end();
}

#[test]
fn replaced_files_are_registers_that_all_mounts_share() {
    play_for_a_while(REPLACED, Seen::FromClose);
}

#[test]
fn files_are_registers_that_all_mounts_share() {
    play_for_a_while(ALL, Seen::FromClose);
}

#[test]
fn what_write_has_returned_for_every_mount_reads() {
    play_for_a_while(IN_PLACE, Seen::FromWrite);
}

#[test]
fn replaced_files_stay_registers_while_the_master_is_killed() {
    play_over_restarts(REPLACED, Seen::FromClose);
}

#[test]
fn files_stay_registers_while_the_master_is_killed() {
    play_over_restarts(ALL, Seen::FromWrite);
}
