//! Buffers for reads, used again: a fresh megabyte costs more in page faults than the read itself.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The right to hold bytes in memory, where that is counted.
pub(crate) type Room = Option<OwnedSemaphorePermit>;

/// Buffers that are kept for later, at the most.
const KEPT_MAX: usize = 8;

/// A buffer larger than this is not kept.
const KEPT_BYTES_MAX: usize = 1280 << 10;

/// Buffers smaller than this are cheap to make anew, and not kept.
const KEPT_BYTES_MIN: usize = 64 << 10;

/// A bounded pool of buffers.
#[derive(Clone, Default)]
pub(crate) struct Buffers {
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A buffer that goes back to its pool.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    home: Buffers,
    room: Room,
}

impl Buffers {
    /// A buffer of `len` bytes of any content, which keeps `room` for as long as it lives.
    pub(crate) fn take(&self, len: usize, room: Room) -> Buffer {
        let kept = (len >= KEPT_BYTES_MIN)
            .then(|| self.kept.lock().pop())
            .flatten();
        let mut bytes = kept.unwrap_or_default();
        if bytes.len() < len {
            // Grows to a size that serves the next one too.
            let room = if len >= KEPT_BYTES_MIN {
                len.max(KEPT_BYTES_MAX)
            } else {
                len
            };
            bytes = vec![0; room];
        }
        Buffer {
            bytes,
            len,
            home: self.clone(),
            room,
        }
    }
}

impl Buffer {
    /// Its bytes, to be filled.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// Gives it back unused; its room is the caller's again.
    pub(crate) fn give_back(mut self) -> Room {
        self.room.take()
    }

    /// Its bytes, to be shared; it goes home when the last share is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let size = self.bytes.len();
        if (KEPT_BYTES_MIN..=KEPT_BYTES_MAX).contains(&size) {
            let mut kept = self.home.kept.lock();
            if kept.len() < KEPT_MAX {
                kept.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_comes_back_and_a_small_one_does_not() {
        let buffers = Buffers::default();
        let bytes = buffers.take(1 << 20, None).freeze();
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(buffers.kept.lock().len(), 0);
        drop(part);
        assert_eq!(buffers.kept.lock().len(), 1);
        drop(buffers.take(100, None));
        assert_eq!(buffers.kept.lock().len(), 1);
        assert_eq!(buffers.take(70 << 10, None).freeze().len(), 70 << 10);
    }
}
