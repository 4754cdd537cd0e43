//! One owner of a directory: does, remembers, and checks.

use super::stamp::{BLOCK, Stamp};
use crate::kernel;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Names that a scribe uses.
const NAMES: u32 = 12;

/// The longest file, in blocks.
const BLOCKS_MAX: u32 = 80;

/// What has to return before an operation counts as acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acknowledge {
    /// fsync of the file, and of the directory where a name changed: survives everything.
    Fsync,
    /// close: survives the death of every process, not a power cut.
    Close,
}

/// A file as it must be: who it is, and the version of each block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Content {
    file: u32,
    versions: Vec<u32>,
}

/// An operation, as it is written down before it starts.
#[derive(Clone, Debug)]
enum Entry {
    /// The file under a name becomes this.
    Write {
        name: u32,
        after: Content,
    },
    Rename {
        from: u32,
        to: u32,
    },
    Unlink {
        name: u32,
    },
}

/// The blocks of a file as they were found.
type Blocks = Vec<Result<Stamp, String>>;

/// The owner of a directory.
#[derive(Debug)]
pub struct Scribe {
    folder: PathBuf,
    number: u32,
    acknowledge: Acknowledge,
    random: StdRng,
    /// What was acknowledged.
    files: BTreeMap<u32, Content>,
    /// What was begun and not acknowledged.
    in_doubt: Option<Entry>,
    version: u32,
    /// Operations that were acknowledged.
    done: u64,
}

impl Scribe {
    /// A scribe with a new folder below `mount`.
    pub fn new(mount: &Path, number: u32, seed: u64, acknowledge: Acknowledge) -> Scribe {
        let folder = mount.join(format!("scribe-{number}"));
        fs::create_dir(&folder).expect("a healthy mount takes a folder");
        File::open(mount)
            .and_then(|top| top.sync_all())
            .expect("a healthy mount syncs");
        Scribe {
            folder,
            number,
            acknowledge,
            random: StdRng::seed_from_u64(seed ^ u64::from(number)),
            files: BTreeMap::new(),
            in_doubt: None,
            version: 0,
            done: 0,
        }
    }

    /// Operations that were acknowledged so far.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Works until `stop` says so or an operation fails, whose error it gives back.
    pub fn work(&mut self, stop: impl Fn() -> bool) -> io::Result<()> {
        while !stop() {
            self.step()?;
        }
        Ok(())
    }

    /// One operation. When it fails it stays in doubt until [`Scribe::verify`] has looked.
    pub fn step(&mut self) -> io::Result<()> {
        let entry = self.choose();
        let before = self.content_before(&entry);
        self.in_doubt = Some(entry.clone());
        match &entry {
            Entry::Write { name, after } => self.write(*name, &before, after)?,
            Entry::Rename { from, to } => {
                fs::rename(self.path(*from), self.path(*to))?;
                self.sync_folder()?;
            }
            Entry::Unlink { name } => {
                fs::remove_file(self.path(*name))?;
                self.sync_folder()?;
            }
        }
        self.files = applied(&self.files, &entry);
        self.in_doubt = None;
        self.done += 1;
        Ok(())
    }

    fn choose(&mut self) -> Entry {
        let name = self.random.random_range(0..NAMES);
        let Some(now) = self.files.get(&name).cloned() else {
            let blocks = self.random.random_range(0..BLOCKS_MAX);
            self.version += 1;
            let after = Content {
                file: self.version,
                versions: vec![self.version; index(blocks)],
            };
            return Entry::Write { name, after };
        };
        let to = self.random.random_range(0..NAMES);
        match self.random.random_range(0..10) {
            0 => Entry::Unlink { name },
            1 | 2 if to != name => Entry::Rename { from: name, to },
            _ => {
                let after = self.change(now);
                Entry::Write { name, after }
            }
        }
    }

    /// What a file shall become: longer, shorter, or other in the middle.
    fn change(&mut self, mut content: Content) -> Content {
        self.version += 1;
        let len = u32::try_from(content.versions.len()).expect("a short file");
        match self.random.random_range(0..4) {
            0 => content
                .versions
                .truncate(index(self.random.random_range(0..=len))),
            1 => {
                let more = self
                    .random
                    .random_range(0..=(BLOCKS_MAX - len.min(BLOCKS_MAX)) / 2);
                content.versions.extend(vec![self.version; index(more)]);
            }
            _ if len > 0 => {
                let from = self.random.random_range(0..len);
                let to = self.random.random_range(from..len) + 1;
                content.versions[index(from)..index(to)].fill(self.version);
            }
            _ => {}
        }
        content
    }

    fn content_before(&self, entry: &Entry) -> Content {
        match entry {
            Entry::Write { name, .. } => self.files.get(name).cloned().unwrap_or_default(),
            _ => Content::default(),
        }
    }

    fn write(&self, name: u32, before: &Content, after: &Content) -> io::Result<()> {
        let path = self.path(name);
        let fresh = !self.files.contains_key(&name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        if after.versions.len() < before.versions.len() {
            file.set_len((after.versions.len() * BLOCK) as u64)?;
        }
        // Neighbouring blocks go in one call, as applications write them.
        let mut at = 0;
        while at < after.versions.len() {
            let same = |at: usize| before.versions.get(at) == after.versions.get(at);
            let from = at;
            let mut bytes = Vec::new();
            while at < after.versions.len() && !same(at) {
                bytes.extend(self.stamp(after, at).block());
                at += 1;
            }
            if bytes.is_empty() {
                at += 1;
            } else {
                file.write_all_at(&bytes, (from * BLOCK) as u64)?;
            }
        }
        if self.acknowledge == Acknowledge::Fsync {
            file.sync_all()?;
        }
        kernel::close(file)?;
        if fresh { self.sync_folder() } else { Ok(()) }
    }

    fn sync_folder(&self) -> io::Result<()> {
        match self.acknowledge {
            Acknowledge::Fsync => File::open(&self.folder)?.sync_all(),
            Acknowledge::Close => Ok(()),
        }
    }

    /// Looks at everything: what was acknowledged must be there, what is in doubt must be possible.
    /// Says what is wrong; where nothing is, what is there becomes the state to go on from.
    pub fn verify(&mut self) -> Vec<String> {
        let mut found = BTreeMap::new();
        let mut wrong = Vec::new();
        let names = fs::read_dir(&self.folder).map(|entries| entries.count());
        for name in 0..NAMES {
            match self.read(name) {
                Ok(Some(blocks)) => {
                    found.insert(name, blocks);
                }
                Ok(None) => {}
                Err(error) => wrong.push(format!("{}: {error}", self.path(name).display())),
            }
        }
        match names {
            Ok(count) if count == found.len() || !wrong.is_empty() => {}
            Ok(count) => wrong.push(format!(
                "{}: {count} names are listed, {} can be opened",
                self.folder.display(),
                found.len()
            )),
            Err(error) => wrong.push(format!("{}: {error}", self.folder.display())),
        }
        if wrong.is_empty() {
            wrong = self.judge(&found);
        }
        if wrong.is_empty() {
            self.adopt(&found);
        }
        wrong
    }

    fn judge(&self, found: &BTreeMap<u32, Blocks>) -> Vec<String> {
        let place = |name: &u32| self.path(*name).display().to_string();
        let fits = |files: &BTreeMap<u32, Content>, name: &u32| {
            let fits = matches(files.get(name), found.get(name), self.number);
            fits.map_err(|what| format!("{}: {what}", place(name)))
        };
        let touched = match &self.in_doubt {
            Some(Entry::Write { name, .. } | Entry::Unlink { name }) => vec![*name],
            Some(Entry::Rename { from, to }) => vec![*from, *to],
            None => Vec::new(),
        };
        let settled = (0..NAMES).filter(|name| !touched.contains(name));
        let mut wrong: Vec<String> = settled
            .filter_map(|name| fits(&self.files, &name).err())
            .collect();
        match &self.in_doubt {
            None => {}
            Some(Entry::Write { name, after }) => {
                let before = self.files.get(name);
                let fits = between(before, after, found.get(name), self.number);
                wrong.extend(
                    fits.err()
                        .map(|what| format!("{} (in doubt): {what}", place(name))),
                );
            }
            Some(entry) => {
                let done = applied(&self.files, entry);
                let all = |files| touched.iter().try_for_each(|name| fits(files, name));
                if let (Err(undone), Err(done)) = (all(&self.files), all(&done)) {
                    wrong.push(format!(
                        "{entry:?} is neither undone ({undone}) nor done ({done})"
                    ));
                }
            }
        }
        wrong
    }

    /// Takes what is there, after it was found possible, for what is acknowledged.
    fn adopt(&mut self, found: &BTreeMap<u32, Blocks>) {
        self.in_doubt = None;
        let known = |blocks: &Blocks| {
            let stamps: Vec<Stamp> = blocks.iter().flatten().copied().collect();
            stamps.first().map(|first| Content {
                file: first.file,
                versions: stamps.iter().map(|stamp| stamp.version).collect(),
            })
        };
        let empty = |name: &u32| {
            let file = self
                .files
                .get(name)
                .map_or(self.version, |content| content.file);
            Content {
                file,
                versions: Vec::new(),
            }
        };
        let adopted = found
            .iter()
            .map(|(name, blocks)| (*name, known(blocks).unwrap_or_else(|| empty(name))));
        self.files = adopted.collect();
    }

    fn read(&self, name: u32) -> io::Result<Option<Blocks>> {
        match fs::read(self.path(name)) {
            Ok(bytes) => Ok(Some(bytes.chunks(BLOCK).map(Stamp::read).collect())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn stamp(&self, content: &Content, at: usize) -> Stamp {
        expected(content, at, self.number)
    }

    fn path(&self, name: u32) -> PathBuf {
        self.folder.join(format!("file-{name}"))
    }
}

fn expected(content: &Content, at: usize, scribe: u32) -> Stamp {
    Stamp {
        scribe,
        file: content.file,
        version: content.versions[at],
        index: u32::try_from(at).expect("a short file"),
    }
}

/// The files after an operation that was done.
fn applied(files: &BTreeMap<u32, Content>, entry: &Entry) -> BTreeMap<u32, Content> {
    let mut files = files.clone();
    match entry {
        Entry::Write { name, after } => {
            files.insert(*name, after.clone());
        }
        Entry::Rename { from, to } => {
            let moved = files.remove(from).expect("chosen from those there are");
            files.insert(*to, moved);
        }
        Entry::Unlink { name } => {
            files.remove(name);
        }
    }
    files
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("32 bits fit")
}

/// Whether a file is there exactly as it must be.
fn matches(must: Option<&Content>, found: Option<&Blocks>, scribe: u32) -> Result<(), String> {
    match (must, found) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err("is there, and was removed".to_owned()),
        (Some(_), None) => Err("is missing".to_owned()),
        (Some(must), Some(found)) => between(Some(must), must, Some(found), scribe),
    }
}

/// Whether a file is on its way from `before` to `after`, block by block.
fn between(
    before: Option<&Content>,
    after: &Content,
    found: Option<&Blocks>,
    scribe: u32,
) -> Result<(), String> {
    let Some(found) = found else {
        return if before.is_none() {
            Ok(())
        } else {
            Err("is missing".to_owned())
        };
    };
    let was = before.map_or(0, |content| content.versions.len());
    let (least, most) = (was.min(after.versions.len()), was.max(after.versions.len()));
    if found.len() < least || found.len() > most {
        return Err(format!(
            "{} blocks, {least} to {most} are possible",
            found.len()
        ));
    }
    for (at, block) in found.iter().enumerate() {
        let possible: Vec<Stamp> = [before, Some(after)]
            .into_iter()
            .flatten()
            .filter(|content| at < content.versions.len())
            .map(|content| expected(content, at, scribe))
            .collect();
        match block {
            Ok(stamp) if possible.contains(stamp) => {}
            other => {
                return Err(format!(
                    "block {at} is {other:?}, possible are {possible:?}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Folder;

    #[test]
    fn a_healthy_file_system_passes_and_a_lost_block_does_not() {
        let folder = Folder::new();
        let mut scribe = Scribe::new(folder.path(), 1, 7, Acknowledge::Fsync);
        for _ in 0..300 {
            scribe.step().expect("the local file system works");
        }
        assert_eq!(scribe.verify(), Vec::<String>::new());
        let (name, _) = scribe
            .files
            .iter()
            .find(|(_, c)| c.versions.len() > 2)
            .expect("one long");
        let path = scribe.path(*name);
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .expect("is there");
        file.write_all_at(&[0; BLOCK], BLOCK as u64)
            .expect("the local file system works");
        assert_eq!(scribe.verify().len(), 1);
        fs::remove_file(&path).expect("is there");
        assert_eq!(scribe.verify().len(), 1);
    }
}
