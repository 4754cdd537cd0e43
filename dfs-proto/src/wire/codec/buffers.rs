//! Buffers for received payloads: exactly as long as the payload, aligned to 4 KiB so that they can
//! be written with direct I/O, and used again.
//!
//! A fresh buffer of a mebibyte costs 256 page faults, more than copying a mebibyte into it; so what
//! was given back is kept, by power of two, up to a bound for the whole process.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{
    LazyLock,
    atomic::{AtomicUsize, Ordering},
};

const ALIGNMENT: usize = 4096;
/// The smallest and the largest class, as powers of two; larger ones are not kept.
const SMALLEST: u32 = 13;
const LARGEST: u32 = 23;
/// Bytes that may be kept for later, in all classes together.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Buffers of one size; the last one given back is the first one taken again, because it is the one
/// that the processor's cache still knows.
type Class = Mutex<Vec<Vec<u8>>>;

struct Kept {
    classes: Vec<Class>,
    bytes: AtomicUsize,
}

static KEPT: LazyLock<Kept> = LazyLock::new(|| Kept {
    classes: (SMALLEST..=LARGEST).map(|_| Class::default()).collect(),
    bytes: AtomicUsize::new(0),
});

/// Which class has buffers for `len` bytes, and how many they hold.
fn class_of(len: usize) -> (Option<&'static Class>, usize) {
    let size = len.next_power_of_two().max(1 << SMALLEST);
    let class = (size.trailing_zeros() - SMALLEST) as usize;
    match KEPT.classes.get(class) {
        Some(queue) => (Some(queue), size),
        None => (None, len),
    }
}

/// `len` bytes to be filled.
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` bytes; what is in it is of no meaning.
    pub(crate) fn take(len: usize) -> Buffer {
        let (class, size) = class_of(len);
        let kept = class.and_then(|class| class.lock().pop());
        let memory = match kept {
            Some(memory) => {
                KEPT.bytes.fetch_sub(memory.len(), Ordering::Relaxed);
                memory
            }
            None => vec![0; size + ALIGNMENT],
        };
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Buffer { memory, start, len }
    }

    /// Its bytes.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }

    /// The same bytes, shared; the memory is kept for later when the last of them is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let bytes = memory.len();
        let (Some(class), _) = class_of(self.len) else {
            return;
        };
        let before = KEPT.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > KEPT_BYTES_MAX {
            KEPT.bytes.fetch_sub(bytes, Ordering::Relaxed);
        } else {
            class.lock().push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_exact_and_used_again() {
        for len in [1, 4097, 65536, 65537, 1 << 20, (1 << 23) + 1] {
            let mut buffer = Buffer::take(len);
            buffer.bytes_mut().fill(3);
            let bytes = buffer.freeze();
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr().align_offset(ALIGNMENT), 0);
            assert!(bytes.iter().all(|b| *b == 3));
        }
    }

    #[test]
    fn no_more_than_the_bound_is_kept() {
        let many: Vec<_> = (0..100).map(|_| Buffer::take(1 << 20)).collect();
        drop(many);
        assert!(KEPT.bytes.load(Ordering::Relaxed) <= KEPT_BYTES_MAX);
    }
}
