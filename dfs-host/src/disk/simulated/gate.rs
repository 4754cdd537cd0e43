//! A gate before the syncs of a simulated disk: a disk that takes its time, for as long as a test
//! wants.

use parking_lot::{Condvar, Mutex};

/// Open, or closed for all who come.
#[derive(Default)]
pub(super) struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Opens it to all who wait, or closes it.
    pub(super) fn close(&self, closed: bool) {
        *self.closed.lock() = closed;
        self.opened.notify_all();
    }

    /// Waits until it is open.
    pub(super) fn pass(&self) {
        let mut closed = self.closed.lock();
        while *closed {
            self.opened.wait(&mut closed);
        }
    }
}
