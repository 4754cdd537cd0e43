//! Everything that a simulated disk is, behind its lock: folders, files, space, faults, dice.

use super::{
    content::{Content, Landing},
    fault::{Call, Fault, Faults},
    folder::{FileNumber, Folder},
};
use crate::disk::DiskSpace;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::{collections::BTreeMap, io, sync::Arc};

/// What a crash does to that which was not synced. What was synced stays in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The power goes: any part of it may be lost, torn at 512 bytes, in any order.
    Power,
    /// The power goes, and nothing of it had reached the disk.
    PowerAtWorst,
    /// The process is killed: the kernel keeps everything.
    Kill,
}

#[derive(Clone)]
struct File {
    content: Arc<Content>,
    handles: usize,
    named: bool,
}

/// The whole disk.
#[derive(Clone)]
pub(super) struct State {
    files: BTreeMap<FileNumber, File>,
    folders: BTreeMap<String, Folder>,
    files_made: FileNumber,
    /// Counts crashes, so that handles of before are known.
    pub(super) life: u64,
    pub(super) capacity: u64,
    used: u64,
    pub(super) faults: Faults,
    /// Calls so far that changed or synced something.
    pub(super) changes: u64,
    powerless: bool,
    random: SmallRng,
}

impl State {
    pub(super) fn new(seed: u64, capacity: u64) -> State {
        State {
            files: BTreeMap::new(),
            folders: BTreeMap::from([(String::new(), Folder::default())]),
            files_made: 0,
            life: 0,
            capacity,
            used: 0,
            faults: Faults::default(),
            changes: 0,
            powerless: false,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// To be asked at the beginning of each call: what goes wrong in it, if anything. `Err` where
    /// nothing of the call may happen.
    pub(super) fn begin(&mut self, call: Call) -> io::Result<Option<Fault>> {
        if self.powerless {
            return Err(Fault::PowerCut.error());
        }
        self.changes += u64::from(call != Call::Read);
        match self.faults.strike(call) {
            None => Ok(None),
            Some(fault) if fault == Fault::PowerCut => {
                self.powerless = true;
                Err(fault.error())
            }
            Some(fault) if call == Call::Read => Err(fault.error()),
            struck => Ok(struck),
        }
    }

    pub(super) fn folder(&mut self, folder: &str) -> io::Result<&mut Folder> {
        let found = self.folders.get_mut(folder);
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn create_folder(&mut self, folder: &str) {
        self.folders.entry(folder.to_owned()).or_default();
    }

    pub(super) fn create(&mut self, folder: &str, name: &str) -> io::Result<FileNumber> {
        let file = self.files_made + 1;
        let names = self.folder(folder)?;
        if names.get(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        names.create(name, file);
        self.files_made = file;
        let made = File {
            content: Arc::default(),
            handles: 0,
            named: true,
        };
        self.files.insert(file, made);
        Ok(file)
    }

    pub(super) fn rename(&mut self, folder: &str, from: &str, to: &str) -> io::Result<()> {
        let names = self.folder(folder)?;
        let file = names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = names.get(to).filter(|replaced| *replaced != file);
        names.rename(from, to, file);
        if let Some(replaced) = replaced {
            self.unname(replaced);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, folder: &str, name: &str) -> io::Result<()> {
        let names = self.folder(folder)?;
        let file = names.get(name).ok_or(io::ErrorKind::NotFound)?;
        names.remove(name, file);
        self.unname(file);
        Ok(())
    }

    fn unname(&mut self, file: FileNumber) {
        self.entry(file).named = false;
        self.settle(file);
    }

    pub(super) fn hold(&mut self, file: FileNumber) {
        self.entry(file).handles += 1;
    }

    pub(super) fn let_go(&mut self, file: FileNumber) {
        self.entry(file).handles -= 1;
        self.settle(file);
    }

    /// Gives the space of a file back when nothing needs it any more.
    fn settle(&mut self, file: FileNumber) {
        let entry = self.entry(file);
        if !entry.named && entry.handles == 0 {
            self.used -= self.files[&file].content.allocated();
            // It stays as long as a crash could bring its name back.
            if !self.folders.values().any(|folder| folder.may_return(file)) {
                self.files.remove(&file);
            }
        }
    }

    pub(super) fn sync_folder(&mut self, folder: &str) -> io::Result<()> {
        self.folder(folder)?.sync();
        let folders = &self.folders;
        self.files.retain(|number, file| {
            file.named || file.handles > 0 || folders.values().any(|f| f.may_return(*number))
        });
        Ok(())
    }

    pub(super) fn fail_sync_folder(&mut self, folder: &str) -> io::Result<()> {
        let landing = Landing::draw(&mut self.random);
        let names = self.folders.get_mut(folder);
        let names = names.ok_or(io::ErrorKind::NotFound)?;
        names.fail_sync(landing, &mut self.random);
        Ok(())
    }

    pub(super) fn content(&self, file: FileNumber) -> &Content {
        &self.files[&file].content
    }

    /// Writes what there is space for; says how much that was.
    pub(super) fn write(&mut self, file: FileNumber, mut bytes: Vec<u8>, offset: u64) -> u64 {
        let free = self.space().free;
        let content = self.content_mut(file);
        let (fits, taken) = content.fitting(offset, bytes.len() as u64, free);
        bytes.truncate(usize::try_from(fits).expect("at most its length"));
        if fits > 0 {
            content.write(bytes, offset);
        }
        self.used += taken;
        fits
    }

    /// The bytes of a file, for a change that takes or gives no space.
    pub(super) fn content_mut(&mut self, file: FileNumber) -> &mut Content {
        Arc::make_mut(&mut self.entry(file).content)
    }

    /// Changes the bytes of a file, and accounts for the space.
    pub(super) fn change(&mut self, file: FileNumber, change: impl FnOnce(&mut Content)) {
        let content = self.content_mut(file);
        let before = content.allocated();
        change(content);
        let after = content.allocated();
        self.used = self.used + after - before;
    }

    pub(super) fn fail_sync(&mut self, file: FileNumber) {
        let landing = Landing::draw(&mut self.random);
        let entry = self.files.get_mut(&file).expect("held by the caller");
        Arc::make_mut(&mut entry.content).fail_sync(landing, &mut self.random);
    }

    /// A number up to and including `most`, for calls that are done in part.
    pub(super) fn part(&mut self, most: u64) -> u64 {
        self.random.random_range(0..=most)
    }

    pub(super) fn seed(&mut self) -> u64 {
        self.random.random()
    }

    pub(super) fn reseed(&mut self, seed: u64) {
        self.random = SmallRng::seed_from_u64(seed);
    }

    pub(super) fn space(&self) -> DiskSpace {
        DiskSpace {
            total: self.capacity,
            free: self.capacity.saturating_sub(self.used),
        }
    }

    pub(super) fn crash(&mut self, how: Crash) {
        self.life += 1;
        self.powerless = false;
        self.faults.clear();
        if how != Crash::Kill {
            let random = &mut self.random;
            let landing = |random: &mut SmallRng| match how {
                Crash::PowerAtWorst => Landing::Nothing,
                _ => Landing::draw(random),
            };
            for folder in self.folders.values_mut() {
                folder.crash(landing(random), random);
            }
            for file in self.files.values_mut() {
                Arc::make_mut(&mut file.content).crash(landing(random), random);
            }
        }
        for file in self.files.values_mut() {
            file.handles = 0;
            file.named = false;
        }
        for number in self.folders.values().flat_map(Folder::files) {
            self.files.get_mut(&number).expect("named").named = true;
        }
        let folders = &self.folders;
        self.files
            .retain(|number, file| file.named || folders.values().any(|f| f.may_return(*number)));
        let named = self.files.values().filter(|file| file.named);
        self.used = named.map(|file| file.content.allocated()).sum();
    }

    fn entry(&mut self, file: FileNumber) -> &mut File {
        self.files.get_mut(&file).expect("named or held")
    }
}
