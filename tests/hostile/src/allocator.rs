//! Counts what a thread has allocated. `unsafe` because an allocator cannot be written without.
//!
//! Each thread has its own count, so that tests that run at the same time do not disturb each other;
//! what a thread frees for another one makes its count too small, never too large.
#![allow(unsafe_code, reason = "the trait of allocators is unsafe")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator, which remembers how much is allocated and how much has been at most. A
/// test has it as its `#[global_allocator]`.
pub struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Runs `work` and tells how much more than before this thread had allocated at most.
pub fn peak_of<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = work();
    let peak = PEAK.get() - before;
    (result, usize::try_from(peak).unwrap_or(0))
}

fn add(bytes: usize) {
    // A thread that ends may have lost its counters, and nobody reads them any more.
    let _ = NOW.try_with(|now| {
        now.set(now.get().wrapping_add_unsigned(bytes));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

fn remove(bytes: usize) {
    let _ = NOW.try_with(|now| now.set(now.get().wrapping_sub_unsigned(bytes)));
}

// SAFETY: every call is passed on to the system's allocator as it came; counting touches no memory
// but two counters of the thread, which need no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps the contract of `GlobalAlloc`, which is that of `System`.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as for `alloc`.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    // SAFETY: as for `alloc`.
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        remove(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    // SAFETY: as for `alloc`.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Old and new stand side by side while bytes are moved.
        add(bytes);
        remove(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, bytes) }
    }
}
