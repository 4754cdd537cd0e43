//! The two things that a process asks its machine for and gets another answer to each time: what
//! time it is, and random bytes.
//!
//! tarpc's deadlines and the hash maps of the standard library ask behind everybody's back, so the
//! C functions that they end up in are replaced for this program. On a thread that simulates they
//! answer from the simulation's clock and seed; on all others they ask the kernel, as before.

#![expect(
    unsafe_code,
    reason = "the C library is replaced where nothing else can be"
)]

use std::{cell::Cell, time::Duration};

thread_local! {
    /// Time and random state of the simulation on this thread.
    static SIMULATED: Cell<Option<(Duration, u64)>> = const { Cell::new(None) };
    /// The longest that its disks take for a call, in milliseconds.
    static DISK_MS: Cell<u64> = const { Cell::new(0) };
    /// What its machine's random bytes are made of.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The moment at which all simulations begin, since 1970.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// From now on this thread's machine is simulated.
pub(crate) fn simulate(seed: u64) {
    SIMULATED.set(Some((Duration::ZERO, seed)));
    SEED.set(Some(seed));
}

/// Sets the clocks of a thread that simulates.
pub(crate) fn set_elapsed(elapsed: Duration) {
    if let Some((_, random)) = SIMULATED.get() {
        SIMULATED.set(Some((elapsed, random)));
    }
}

/// From now on a call of a disk may take so long.
pub(crate) fn set_disks(slowest: Duration) {
    DISK_MS.set(u64::try_from(slowest.as_millis()).expect("not for years"));
}

/// How long a disk takes for a call.
pub(crate) fn disk_latency() -> Duration {
    let slowest = DISK_MS.get();
    Duration::from_millis(match roll() % 100 {
        0 => roll() % 150,
        _ if slowest > 0 => roll() % slowest,
        1..=20 => roll() % 3,
        _ => 0,
    })
}

/// The next number of this thread's dice.
pub(crate) fn roll() -> u64 {
    let (elapsed, state) = SIMULATED.get().expect("a thread that simulates");
    let next = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    SIMULATED.set(Some((elapsed, next)));
    dfs_tests::pattern::mix(state)
}

/// Replaces the C library's clock.
///
/// # Safety
/// As for the C function: `into` points to a `timespec`.
// SAFETY: it stands in for the function of this name, and does what that promises.
#[unsafe(no_mangle)]
// SAFETY: who calls the one keeps what the other asks for.
unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    into: *mut libc::timespec,
) -> libc::c_int {
    if let Some((elapsed, _)) = SIMULATED.get() {
        let now = EPOCH + elapsed;
        let seconds = libc::time_t::try_from(now.as_secs()).expect("near its beginning");
        // SAFETY: the caller says that it points to one.
        unsafe {
            *into = libc::timespec {
                tv_sec: seconds,
                tv_nsec: now.subsec_nanos().into(),
            };
        }
        return 0;
    }
    // SAFETY: the same arguments as the C function's, for the call behind it.
    let failed = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, into) };
    if failed == 0 { 0 } else { -1 }
}

/// Replaces the C library's random bytes.
///
/// # Safety
/// As for the C function: `into` points to `len` bytes.
// SAFETY: it stands in for the function of this name, and does what that promises.
#[unsafe(no_mangle)]
// SAFETY: who calls the one keeps what the other asks for.
unsafe extern "C" fn getrandom(into: *mut u8, len: usize, flags: libc::c_uint) -> isize {
    if let Some(seed) = SEED.get() {
        // SAFETY: the caller says that they are there; what was in them does not matter.
        let bytes = unsafe {
            std::ptr::write_bytes(into, 0, len);
            std::slice::from_raw_parts_mut(into, len)
        };
        // The same each time: what asks once in a process, and not once in a run, must not change
        // what the next one gets.
        dfs_tests::pattern::fill(seed, 0, bytes);
        return isize::try_from(len).expect("no longer than memory");
    }
    // SAFETY: the same arguments as the C function's, for the call behind it.
    let got = unsafe { libc::syscall(libc::SYS_getrandom, into, len, flags) };
    isize::try_from(got).unwrap_or(-1)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "they are what is replaced")]
fn a_machine_that_is_simulated_has_its_own_time_and_dice() {
    use std::{collections::HashSet, thread, time::Instant};
    let one_life = || {
        let life = thread::spawn(|| {
            simulate(7);
            let begun = Instant::now();
            set_elapsed(Duration::from_secs(3600));
            assert_eq!(begun.elapsed(), Duration::from_secs(3600));
            let order: Vec<u32> = (0..100).collect::<HashSet<_>>().into_iter().collect();
            (order, rand::random::<u64>())
        });
        life.join().expect("well")
    };
    assert_eq!(one_life(), one_life());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1) {}
}
