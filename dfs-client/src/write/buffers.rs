//! Large buffers used again, because fresh memory costs a page fault every 4 KiB.

use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Bytes of one buffer: the largest run of contiguous bytes that is kept in one.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// Buffers kept while nobody uses them.
const KEPT_MAX: usize = 16;

/// The buffers that wait to be used again.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// An empty buffer of [`BUFFER_BYTES`].
    pub(crate) fn take(&self) -> Vec<u8> {
        let free = self.free.lock().pop();
        free.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// The bytes of a buffer, which comes back when the last slice of them is dropped.
    pub(crate) fn freeze(self: &Arc<Buffers>, bytes: Vec<u8>) -> Bytes {
        if bytes.capacity() != BUFFER_BYTES {
            return bytes.into();
        }
        Bytes::from_owner(Lent {
            bytes,
            home: self.clone(),
        })
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        let mut free = self.free.lock();
        if free.len() < KEPT_MAX {
            free.push(bytes);
        }
    }
}

struct Lent {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_slice_goes() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"abc");
        let at = buffer.as_ptr();
        let bytes = buffers.freeze(buffer);
        let slice = bytes.slice(1..);
        drop(bytes);
        assert!(buffers.free.lock().is_empty());
        assert_eq!(&slice[..], b"bc");
        drop(slice);
        let again = buffers.take();
        assert_eq!(again.as_ptr(), at);
        assert!(again.is_empty());
    }
}
