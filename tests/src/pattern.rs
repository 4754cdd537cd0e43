//! Bytes that say where they belong, so that a lost, stale, torn or misplaced one is recognised.

use crate::wait::{self, Stopwatch};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

/// Bytes that are written and read at once.
const STEP: usize = 1 << 20;

/// Fills `into` with the bytes of stream `seed` from `offset` on, a multiple of 8.
pub fn fill(seed: u64, offset: u64, into: &mut [u8]) {
    for (at, word) in (offset / 8..).zip(into.chunks_mut(8)) {
        let mixed = mix(seed ^ mix(at));
        word.copy_from_slice(&mixed.to_le_bytes()[..word.len()]);
    }
}

/// A number that looks like no other (splitmix64's finish).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a long read or write went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// The longest single call.
    pub longest: Duration,
    /// All of them.
    pub total: Duration,
}

impl Pace {
    fn time<T>(&mut self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let watch = Stopwatch::start();
        let result = call();
        let took = watch.elapsed();
        self.longest = self.longest.max(took);
        self.total += took;
        result
    }
}

/// What was written, and how.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// How much.
    pub bytes: u64,
    /// What the calls went through.
    pub pace: Pace,
}

/// The largest file that is written until something happens.
const UNTIL_BYTES_MAX: u64 = 1 << 30;

/// Writes `bytes` of stream `seed` to a new file, then fsyncs it.
pub fn write(path: &Path, seed: u64, bytes: u64) -> io::Result<Pace> {
    let file = File::create(path)?;
    write_steps(file, seed, bytes, || false).map(|written| written.pace)
}

/// Writes stream `seed` to a new file until `over`, at a pace that leaves others some room, then
/// fsyncs it.
pub fn write_until(path: &Path, seed: u64, over: impl Fn() -> bool) -> io::Result<Written> {
    let file = File::create(path)?;
    write_steps(file, seed, UNTIL_BYTES_MAX, || {
        wait::last(Duration::from_millis(4));
        over()
    })
}

fn write_steps(
    mut file: File,
    seed: u64,
    bytes: u64,
    over: impl Fn() -> bool,
) -> io::Result<Written> {
    let mut pace = Pace::default();
    let mut step = vec![0; STEP];
    let mut at = 0;
    while at < bytes && !over() {
        let len = usize::try_from(bytes - at).map_or(STEP, |left| left.min(STEP));
        fill(seed, at, &mut step[..len]);
        pace.time(|| file.write_all(&step[..len]))?;
        at += len as u64;
    }
    pace.time(|| file.sync_all())?;
    Ok(Written { bytes: at, pace })
}

/// Reads a file whole and compares it with stream `seed`; the first difference is an error.
pub fn verify(path: &Path, seed: u64, bytes: u64) -> io::Result<Pace> {
    let mut pace = Pace::default();
    let mut file = pace.time(|| File::open(path))?;
    let (mut step, mut expected) = (vec![0; STEP], vec![0; STEP]);
    let mut at = 0;
    loop {
        let len = pace.time(|| file.read(&mut step))?;
        if len == 0 {
            break;
        }
        fill_from(seed, at, &mut expected[..len]);
        if step[..len] != expected[..len] {
            let first = (0..len).find(|i| step[*i] != expected[*i]).unwrap_or(0);
            let zeros = step[first..len]
                .iter()
                .take_while(|byte| **byte == 0)
                .count();
            let place = at + first as u64;
            return Err(io::Error::other(format!(
                "{}: other bytes from {place} on ({zeros} zeros)",
                path.display()
            )));
        }
        at += len as u64;
    }
    if at != bytes {
        let what = format!("{}: {at} bytes, {bytes} were written", path.display());
        return Err(io::Error::other(what));
    }
    Ok(pace)
}

/// As `fill`, from any offset.
fn fill_from(seed: u64, offset: u64, into: &mut [u8]) {
    let skip = usize::try_from(offset % 8).expect("below 8");
    let mut aligned = vec![0; into.len() + skip];
    fill(seed, offset - skip as u64, &mut aligned);
    into.copy_from_slice(&aligned[skip..]);
}
