//! Faults that a test has asked a simulated disk for, and when they strike.

use std::io;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// EIO in any call that reaches the disk.
    Error,
    /// EIO in a read; only reads are counted.
    ReadError,
    /// EIO in a write, of which a part may be done; only calls that change something are counted.
    WriteError,
    /// EIO in a sync of a file or folder, only these are counted. As with the kernel, some of what
    /// was to be synced lands, the rest never will, and can be read until the crash.
    SyncError,
    /// ENOSPC in a call that takes space, of which a part may be done; only these are counted.
    Full,
    /// The power goes before a call that changes or syncs something (only these are counted): this
    /// call and all others fail until [`super::SimulatedDisk::crash`].
    PowerCut,
}

/// What a call does to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Call {
    /// Reads or lists.
    Read,
    /// Changes something that takes space.
    Take,
    /// Changes something that takes none.
    Change,
    /// Makes durable.
    Sync,
}

impl Fault {
    fn counts(self, call: Call) -> bool {
        match self {
            Fault::Error => true,
            Fault::ReadError => call == Call::Read,
            Fault::WriteError => matches!(call, Call::Take | Call::Change),
            Fault::SyncError => call == Call::Sync,
            Fault::Full => call == Call::Take,
            Fault::PowerCut => call != Call::Read,
        }
    }

    pub(super) fn error(self) -> io::Error {
        match self {
            Fault::Full => io::Error::from_raw_os_error(libc::ENOSPC),
            _ => io::Error::from_raw_os_error(libc::EIO),
        }
    }
}

/// The faults to come.
#[derive(Clone, Default)]
pub(super) struct Faults {
    coming: Vec<(u64, Fault)>,
}

impl Faults {
    pub(super) fn add(&mut self, call: u64, fault: Fault) {
        self.coming.push((call.max(1), fault));
    }

    /// Counts a call; says what strikes it.
    pub(super) fn strike(&mut self, call: Call) -> Option<Fault> {
        let mut struck = None;
        self.coming.retain_mut(|(left, fault)| {
            if fault.counts(call) {
                *left -= 1;
            }
            if *left == 0 {
                struck = struck.or(Some(*fault));
            }
            *left > 0
        });
        struck
    }

    pub(super) fn clear(&mut self) {
        self.coming.clear();
    }
}
