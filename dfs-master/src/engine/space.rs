//! What a filling disk of the master means: a pure decider, and the reserve that it gives back.
//!
//! ```text
//!           free < low                     free < low again
//! Plenty ----------------> read-only ------------------------> read-only, a quarter of the
//!    ^                        |                                reserve given back, and so on
//!    '--- free and what was given back of the reserve exceed the reserve and twice low
//! ```
//!
//! `low` is what a log segment and a checkpoint may need at once. While the file system is
//! read-only, what frees space goes on: it may use what the reserve gives back.

use dfs_host::disk::Disk;
use std::io;

const RESERVE: &str = "reserve";
const MIB: u64 = 1 << 20;

/// What is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Only what frees space is accepted.
    pub read_only: bool,
    /// Bytes that the reserve is to have.
    pub reserve: u64,
}

/// Bytes of free space below which nothing but deletes is accepted, for a reserve of this size.
pub fn low_water(reserve: u64) -> u64 {
    (reserve / 4).clamp(MIB / 4, 64 * MIB)
}

/// What is to be, with so much free space, the reserve as it is, and as it should be.
pub fn judge(free: u64, held: u64, full: u64, read_only: bool) -> Verdict {
    let low = low_water(full);
    if free < low {
        let reserve = if read_only {
            held.saturating_sub(full.div_ceil(4))
        } else {
            held
        };
        return Verdict {
            read_only: true,
            reserve,
        };
    }
    let missing = full.saturating_sub(held);
    if free.saturating_sub(missing) >= low.saturating_mul(2) {
        return Verdict {
            read_only: false,
            reserve: full,
        };
    }
    Verdict {
        read_only,
        reserve: held,
    }
}

/// The reserve file.
#[derive(Debug)]
pub struct Reserve {
    held: u64,
    full: u64,
    read_only: bool,
}

impl Reserve {
    /// The reserve as the last start left it; it is filled by the first [`Reserve::watch`].
    pub fn open(disk: &dyn Disk, full: u64) -> io::Result<Reserve> {
        let held = match disk.open(RESERVE) {
            Ok(file) => file.len()?,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => 0,
            Err(other) => return Err(other),
        };
        Ok(Reserve {
            held: held.min(full),
            full,
            read_only: false,
        })
    }

    /// Whether only what frees space is accepted.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Bytes held, and bytes that should be.
    pub fn held(&self) -> (u64, u64) {
        (self.held, self.full)
    }

    /// Looks at the disk, and makes the reserve what it is to be. Blocks.
    pub fn watch(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let free = disk.space()?.free;
        let verdict = judge(free, self.held, self.full, self.read_only);
        self.read_only = verdict.read_only;
        if verdict.reserve != self.held {
            match self.resize(disk, verdict.reserve) {
                Ok(()) => self.held = verdict.reserve,
                Err(full) if full.kind() == io::ErrorKind::StorageFull => {
                    self.resize(disk, self.held)?;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    fn resize(&self, disk: &dyn Disk, bytes: u64) -> io::Result<()> {
        let file = match disk.open(RESERVE) {
            Ok(file) => file,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => disk.create(RESERVE)?,
            Err(other) => return Err(other),
        };
        if bytes > self.held {
            file.reserve(0, bytes)?;
        }
        file.set_len(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_host::disk::{DiskFile, SimulatedDisk};
    use std::sync::Arc;

    #[test]
    fn a_full_disk_turns_read_only_and_comes_back() {
        let full = 256 * MIB;
        let verdict = |free, held, read_only| {
            let v = judge(free * MIB, held * MIB, full, read_only);
            (v.read_only, v.reserve / MIB)
        };
        assert_eq!(
            verdict(1000, 0, false),
            (false, 256),
            "filled when there is space"
        );
        assert_eq!(verdict(100, 256, false), (false, 256));
        assert_eq!(verdict(63, 256, false), (true, 256), "low");
        assert_eq!(verdict(63, 256, true), (true, 192), "and lower");
        assert_eq!(verdict(100, 192, true), (true, 192), "not yet");
        assert_eq!(verdict(191, 192, true), (true, 192));
        assert_eq!(verdict(192, 192, true), (false, 256));
        assert_eq!(verdict(0, 10, true), (true, 0));
    }

    #[test]
    fn the_reserve_follows_the_disk() {
        let disk = SimulatedDisk::new(1, 16 * MIB);
        let mut reserve = Reserve::open(&*disk, 4 * MIB).expect("opened");
        reserve.watch(&*disk).expect("watched");
        assert_eq!((reserve.held().0, reserve.read_only()), (4 * MIB, false));
        let hog = disk.create("hog").expect("created");
        fill(&*hog, 11 * MIB + MIB / 2);
        reserve.watch(&*disk).expect("watched");
        assert!(reserve.read_only());
        reserve.watch(&*disk).expect("watched");
        assert_eq!(reserve.held().0, 3 * MIB);
        hog.set_len(0).expect("cut");
        reserve.watch(&*disk).expect("watched");
        assert_eq!((reserve.held().0, reserve.read_only()), (4 * MIB, false));
        assert_eq!(
            Reserve::open(&*disk, 4 * MIB).expect("opened").held().0,
            4 * MIB
        );
    }

    fn fill(file: &dyn DiskFile, bytes: u64) {
        let zeros = Arc::new(vec![1u8; 1 << 16]);
        for at in (0..bytes).step_by(1 << 16) {
            file.write_at(&[&zeros], at).expect("written");
        }
    }
}
