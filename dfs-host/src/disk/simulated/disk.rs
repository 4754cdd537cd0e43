//! The simulated disk as its users hold it: [`Disk`] and [`DiskFile`], and what a test may do to it.

use super::{
    fault::{Call, Fault},
    folder::FileNumber,
    gate::Gate,
    state::{Crash, State},
};
use crate::disk::{Disk, DiskFile, DiskSpace};
use parking_lot::{Mutex, MutexGuard};
use std::{io, sync::Arc};

/// A disk in memory.
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    syncs: Arc<Gate>,
}

impl SimulatedDisk {
    /// An empty disk of `capacity` bytes whose accidents are drawn from `seed`.
    pub fn new(seed: u64, capacity: u64) -> Arc<SimulatedDisk> {
        Arc::new(SimulatedDisk {
            state: Arc::new(Mutex::new(State::new(seed, capacity))),
            syncs: Arc::default(),
        })
    }

    /// Crashes the machine or the process. Open files are of no use afterwards, faults to come are
    /// forgotten, and the disk works again.
    pub fn crash(&self, how: Crash) {
        self.state.lock().crash(how);
    }

    /// The disk as such a crash at this moment would leave it, as a disk of its own; this one goes
    /// on undisturbed. Cheap: what both have in common is shared.
    pub fn crashed(&self, how: Crash) -> Arc<SimulatedDisk> {
        let mut state = self.state.lock();
        let mut copy = state.clone();
        copy.reseed(state.seed());
        drop(state);
        copy.crash(how);
        Arc::new(SimulatedDisk {
            state: Arc::new(Mutex::new(copy)),
            syncs: Arc::default(),
        })
    }

    /// Lets the `call`-th following call that counts for it (1: the next) meet `fault`.
    pub fn fail_after(&self, call: u64, fault: Fault) {
        self.state.lock().faults.add(call, fault);
    }

    /// Takes back the faults that have not struck.
    pub fn heal(&self) {
        self.state.lock().faults.clear();
    }

    /// Has the syncs of files wait from now on, or lets all of them go on.
    pub fn hold_syncs(&self, held: bool) {
        self.syncs.close(held);
    }

    /// Inverts the bits of `mask` in the byte at `offset` of a file, on the disk and in memory.
    pub fn flip(&self, name: &str, offset: u64, mask: u8) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.find(name)?;
        state.content_mut(file).flip(offset, mask);
        Ok(())
    }

    /// Makes the disk larger or smaller; what it holds stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Calls so far that changed or synced something: [`Fault::PowerCut`] can be put before each.
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    fn handle(&self, state: &mut State, file: FileNumber) -> Arc<dyn DiskFile> {
        state.hold(file);
        Arc::new(SimulatedFile {
            state: Arc::clone(&self.state),
            syncs: Arc::clone(&self.syncs),
            life: state.life,
            file,
        })
    }

    /// Begins a call that happens wholly or not at all.
    fn begin(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        match state.begin(call)? {
            Some(fault) => Err(fault.error()),
            None => Ok(state),
        }
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.begin(Call::Take)?;
        let (folder, name) = parted(name);
        let file = state.create(folder, name)?;
        Ok(self.handle(&mut state, file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.begin(Call::Read)?;
        let file = state.find(name)?;
        Ok(self.handle(&mut state, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.begin(Call::Take)?;
        let ((folder, from), (target, to)) = (parted(from), parted(to));
        if folder != target {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        state.rename(folder, from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.begin(Call::Change)?;
        let (folder, name) = parted(name);
        state.remove(folder, name)
    }

    fn create_folder(&self, name: &str) -> io::Result<()> {
        self.begin(Call::Take)?.create_folder(name);
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        Ok(self.begin(Call::Read)?.folder(folder)?.names())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        match state.begin(Call::Sync)? {
            None => state.sync_folder(folder),
            Some(fault) => {
                state.fail_sync_folder(folder)?;
                Err(fault.error())
            }
        }
    }

    fn space(&self) -> io::Result<DiskSpace> {
        Ok(self.begin(Call::Read)?.space())
    }
}

fn parted(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

impl State {
    fn find(&mut self, name: &str) -> io::Result<FileNumber> {
        let (folder, name) = parted(name);
        let found = self.folder(folder)?.get(name);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct SimulatedFile {
    state: Arc<Mutex<State>>,
    syncs: Arc<Gate>,
    /// The life of the disk in which it was opened.
    life: u64,
    file: FileNumber,
}

impl SimulatedFile {
    fn begin(&self, call: Call) -> io::Result<(MutexGuard<'_, State>, Option<Fault>)> {
        let mut state = self.state.lock();
        if state.life != self.life {
            return Err(io::Error::other("this file was opened before the crash"));
        }
        let struck = state.begin(call)?;
        Ok((state, struck))
    }

    fn begin_whole(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        match self.begin(call)? {
            (_, Some(fault)) => Err(fault.error()),
            (state, None) => Ok(state),
        }
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.life == self.life {
            state.let_go(self.file);
        }
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.begin_whole(Call::Read)?;
        Ok(state.content_mut(self.file).read(into, offset))
    }

    fn read_cached_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.begin_whole(Call::Read)?;
        let read = state.content(self.file).read_cached(into, offset);
        read.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let (mut state, struck) = self.begin(Call::Take)?;
        let mut bytes = parts.concat();
        let whole = bytes.len() as u64;
        if struck.is_some() {
            let done = state.part(whole);
            bytes.truncate(usize::try_from(done).expect("at most its length"));
        }
        let done = state.write(self.file, bytes, offset);
        match struck {
            Some(fault) => Err(fault.error()),
            None if done < whole => Err(Fault::Full.error()),
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.pass();
        let (mut state, struck) = self.begin(Call::Sync)?;
        match struck {
            None => state.content_mut(self.file).sync(),
            Some(fault) => {
                state.fail_sync(self.file);
                return Err(fault.error());
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let (state, _) = self.begin(Call::Read)?;
        Ok(state.content(self.file).len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.begin_whole(Call::Change)?;
        state.change(self.file, |content| content.set_len(len));
        Ok(())
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.begin_whole(Call::Take)?;
        let free = state.space().free;
        let (fits, _) = state.content(self.file).fitting(offset, len, free);
        if fits < len {
            return Err(Fault::Full.error());
        }
        state.change(self.file, |content| content.reserve(offset..offset + len));
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.begin_whole(Call::Change)?;
        state.change(self.file, |content| content.punch(offset..offset + len));
        Ok(())
    }

    fn forget_cached(&self, offset: u64, len: u64) {
        let mut state = self.state.lock();
        if state.life == self.life {
            let content = state.content_mut(self.file);
            content.forget_cached(offset..offset.saturating_add(len));
        }
    }
}
