//! From a history to the folders that a power cut could leave.

use super::history::Event;
use rand::{RngExt, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// A walk through a history.
#[derive(Debug)]
pub struct Replay {
    events: Vec<Event>,
    at: usize,
    /// Contents that are on the disk for sure.
    synced: BTreeMap<u64, Vec<u8>>,
    /// What was done to contents since, in order.
    pending: BTreeMap<u64, Vec<Event>>,
    /// Names that are on the disk for sure.
    names: Names,
    /// What was done to names since, in order.
    pending_names: Vec<Event>,
}

/// Files and folders by their names.
#[derive(Clone, Default, Debug)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    folders: Vec<PathBuf>,
}

impl Names {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Folder(path) => self.folders.push(path.clone()),
            Event::Create { file, path } => {
                self.files.insert(path.clone(), *file);
            }
            Event::Rename { from, to } => {
                if let Some(file) = self.files.remove(from) {
                    self.files.insert(to.clone(), file);
                }
            }
            Event::Remove(path) => {
                self.files.remove(path);
            }
            _ => {}
        }
    }
}

fn apply(content: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write { offset, bytes, .. } => write(content, *offset, bytes),
        Event::SetLen { len, .. } => content.resize(index(*len), 0),
        _ => {}
    }
}

fn write(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (from, to) = (index(offset), index(offset) + bytes.len());
    if content.len() < to {
        content.resize(to, 0);
    }
    content[from..to].copy_from_slice(bytes);
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a file of a test fits into memory")
}

impl Replay {
    /// A walk that stands before the first event.
    pub fn new(events: Vec<Event>) -> Replay {
        Replay {
            events,
            at: 0,
            synced: BTreeMap::new(),
            pending: BTreeMap::new(),
            names: Names::default(),
            pending_names: Vec::new(),
        }
    }

    /// Goes on by one event and shows it; `None` at the end.
    pub fn step(&mut self) -> Option<&Event> {
        let event = self.events.get(self.at)?;
        self.at += 1;
        match event {
            Event::Write { file, .. } | Event::SetLen { file, .. } => {
                self.pending.entry(*file).or_default().push(event.clone());
            }
            Event::Sync { file } => {
                let content = self.synced.entry(*file).or_default();
                for event in self.pending.remove(file).unwrap_or_default() {
                    apply(content, &event);
                }
                self.sync_names();
            }
            Event::SyncFolder => self.sync_names(),
            _ => self.pending_names.push(event.clone()),
        }
        self.events.get(self.at - 1)
    }

    fn sync_names(&mut self) {
        for event in std::mem::take(&mut self.pending_names) {
            self.names.apply(&event);
        }
    }

    /// Lays out in an empty folder what the disk could hold if the power went now.
    pub fn cut(&self, random: &mut StdRng, into: &Path) -> io::Result<()> {
        let mut names = self.names.clone();
        let kept = random.random_range(0..=self.pending_names.len());
        for event in &self.pending_names[..kept] {
            names.apply(event);
        }
        for folder in &names.folders {
            fs::create_dir_all(into.join(folder))?;
        }
        for (path, file) in &names.files {
            fs::write(into.join(path), self.content(*file, random))?;
        }
        Ok(())
    }

    /// What of a file could be on the disk: all, nothing, a beginning, or any sectors of what was
    /// not synced.
    fn content(&self, file: u64, random: &mut StdRng) -> Vec<u8> {
        let mut content = self.synced.get(&file).cloned().unwrap_or_default();
        let pending = self
            .pending
            .get(&file)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let share = random.random_range(0..4);
        let beginning = random.random_range(0..=pending.len());
        for (at, event) in pending.iter().enumerate() {
            match share {
                0 => {}
                1 => apply(&mut content, event),
                2 if at < beginning => apply(&mut content, event),
                2 => tear(&mut content, event, random, at == beginning),
                _ => {
                    let reached = random.random_bool(0.7);
                    tear(&mut content, event, random, reached);
                }
            }
        }
        content
    }
}

/// Writes some sectors of an event; none if it is not `reached` by the disk.
fn tear(content: &mut Vec<u8>, event: &Event, random: &mut StdRng, reached: bool) {
    match event {
        _ if !reached => {}
        Event::Write { offset, bytes, .. } => {
            let mut from = 0;
            while from < bytes.len() {
                let in_sector = (index(*offset) + from) % SECTOR;
                let to = (from + SECTOR - in_sector).min(bytes.len());
                if random.random_bool(0.5) {
                    write(content, *offset + from as u64, &bytes[from..to]);
                }
                from = to;
            }
        }
        other => apply(content, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Folder;
    use rand::SeedableRng;

    #[test]
    fn what_was_synced_is_always_there_and_the_rest_is_torn_by_sectors() {
        let write = |offset, byte| Event::Write {
            file: 1,
            offset,
            bytes: vec![byte; 2048],
        };
        let mut replay = Replay::new(vec![
            Event::Create {
                file: 1,
                path: "f".into(),
            },
            write(0, 1),
            Event::Sync { file: 1 },
            write(1024, 2),
        ]);
        while replay.step().is_some() {}
        let mut random = StdRng::seed_from_u64(3);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let folder = Folder::new();
            replay
                .cut(&mut random, folder.path())
                .expect("the local file system works");
            let content = fs::read(folder.path().join("f")).expect("its name was synced with it");
            assert!(content[..1024].iter().all(|byte| *byte == 1));
            assert!(content[1024..2048].iter().all(|byte| [1, 2].contains(byte)));
            assert!(
                content
                    .chunks(SECTOR)
                    .all(|sector| sector.iter().all(|b| *b == sector[0]))
            );
            seen.insert(content);
        }
        assert!(seen.len() > 5, "{} different outcomes", seen.len());
    }
}
