//! Numbers for the kernel to hold: what is open, by file handle.
//!
//! A handle is the index of a slot. The kernel names a handle only between the answer that gave it
//! out and the release, so that a slot can be used again at once and nothing is searched for.

use fuser::FileHandle;
use parking_lot::RwLock;
use std::sync::Arc;

/// Open things of one sort.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    slots: RwLock<Slots<T>>,
}

#[derive(Debug)]
struct Slots<T> {
    used: Vec<Option<Arc<T>>>,
    free: Vec<usize>,
}

impl<T> Handles<T> {
    /// Nothing is open.
    pub(crate) fn new() -> Handles<T> {
        Handles {
            slots: RwLock::new(Slots {
                used: Vec::new(),
                free: Vec::new(),
            }),
        }
    }

    /// Takes in what was opened.
    pub(crate) fn insert(&self, open: T) -> FileHandle {
        let mut slots = self.slots.write();
        let index = slots.free.pop().unwrap_or(slots.used.len());
        if index == slots.used.len() {
            slots.used.push(None);
        }
        slots.used[index] = Some(Arc::new(open));
        FileHandle(index as u64)
    }

    /// What a handle stands for.
    pub(crate) fn get(&self, handle: FileHandle) -> Option<Arc<T>> {
        let index = usize::try_from(handle.0).ok()?;
        self.slots.read().used.get(index)?.clone()
    }

    /// Lets go of a handle.
    pub(crate) fn remove(&self, handle: FileHandle) -> Option<Arc<T>> {
        let index = usize::try_from(handle.0).ok()?;
        let mut slots = self.slots.write();
        let open = slots.used.get_mut(index)?.take()?;
        slots.free.push(index);
        Some(open)
    }

    /// Calls `visit` with everything that is open.
    pub(crate) fn each(&self, visit: impl FnMut(&Arc<T>)) {
        self.slots.read().used.iter().flatten().for_each(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_only_after_its_release() {
        let handles = Handles::new();
        let first = handles.insert("first");
        let second = handles.insert("second");
        assert_ne!(first, second);
        assert_eq!(handles.get(second).as_deref(), Some(&"second"));
        assert_eq!(handles.remove(first).as_deref(), Some(&"first"));
        assert_eq!(handles.get(first), None);
        assert_eq!(handles.remove(first), None, "released twice");
        assert_eq!(handles.insert("third"), first);
        let mut open = Vec::new();
        handles.each(|name| open.push(**name));
        assert_eq!(open, ["third", "second"]);
    }

    #[test]
    fn a_handle_that_was_never_given_out_stands_for_nothing() {
        let handles: Handles<()> = Handles::new();
        assert!(handles.get(FileHandle(0)).is_none());
        assert!(handles.remove(FileHandle(u64::MAX)).is_none());
    }
}
