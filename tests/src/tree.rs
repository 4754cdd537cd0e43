//! Two trees compared: names, kinds, modes, owners, link counts, sizes, contents, targets,
//! extended attributes and times.

use crate::kernel;
use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs::{self, Metadata},
    io::{self, Read},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Differences that are reported before the comparison gives up.
const FINDINGS_MAX: usize = 20;

/// What differs between two trees, first the place, then what is there and what was expected; empty
/// when they are equal. Access times, and sizes of directories, are not compared.
pub fn differences(expected: &Path, found: &Path) -> Vec<String> {
    let mut comparison = Comparison::default();
    if let Err(error) = comparison.folder(expected, found) {
        comparison.findings.push(error.to_string());
    }
    comparison.findings
}

#[derive(Default)]
struct Comparison {
    findings: Vec<String>,
    /// Hard links: the inode in the found tree of each inode in the expected one.
    links: HashMap<u64, u64>,
}

impl Comparison {
    fn say(&mut self, place: &Path, what: &str) {
        self.findings.push(format!("{}: {what}", place.display()));
    }

    fn folder(&mut self, expected: &Path, found: &Path) -> io::Result<()> {
        self.attributes(expected, found)?;
        let (wanted, there) = (names(expected)?, names(found)?);
        for name in wanted.keys().filter(|name| !there.contains_key(*name)) {
            self.say(&found.join(name), "is missing");
        }
        for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
            self.say(&found.join(name), "should not be there");
        }
        for (name, path) in wanted {
            if self.findings.len() >= FINDINGS_MAX {
                break;
            }
            if there.contains_key(&name) {
                self.entry(&path, &found.join(&name))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, expected: &Path, found: &Path) -> io::Result<()> {
        let (wanted, there) = (
            fs::symlink_metadata(expected)?,
            fs::symlink_metadata(found)?,
        );
        if wanted.file_type() != there.file_type() {
            self.say(found, "is of another kind");
        } else if wanted.is_dir() {
            self.folder(expected, found)?;
        } else {
            self.attributes(expected, found)?;
            if wanted.nlink() > 1 {
                let known = *self.links.entry(wanted.ino()).or_insert(there.ino());
                if known != there.ino() {
                    self.say(found, "is not linked to its other name");
                }
            }
            if wanted.is_symlink() && fs::read_link(expected)? != fs::read_link(found)? {
                self.say(found, "points elsewhere");
            }
            if wanted.is_file() && wanted.len() == there.len() {
                self.content(expected, found)?;
            }
        }
        Ok(())
    }

    fn attributes(&mut self, expected: &Path, found: &Path) -> io::Result<()> {
        let (wanted, there) = (
            fs::symlink_metadata(expected)?,
            fs::symlink_metadata(found)?,
        );
        for (what, wanted, there) in facts(&wanted)
            .into_iter()
            .zip(facts(&there))
            .map(|((what, wanted), (_, there))| (what, wanted, there))
        {
            if wanted != there {
                self.say(found, &format!("{what} is {there}, expected {wanted}"));
            }
        }
        let (wanted, there) = (xattrs(expected)?, xattrs(found)?);
        if wanted != there {
            self.say(
                found,
                &format!("has attributes {there:?}, expected {wanted:?}"),
            );
        }
        Ok(())
    }

    fn content(&mut self, expected: &Path, found: &Path) -> io::Result<()> {
        let (mut wanted, mut there) = (fs::File::open(expected)?, fs::File::open(found)?);
        let (mut left, mut right) = (vec![0; 1 << 18], vec![0; 1 << 18]);
        let mut at = 0;
        loop {
            let len = wanted.read(&mut left)?;
            if len == 0 {
                return Ok(());
            }
            there.read_exact(&mut right[..len])?;
            if let Some(first) = (0..len).find(|i| left[*i] != right[*i]) {
                self.say(found, &format!("differs at byte {}", at + first));
                return Ok(());
            }
            at += len;
        }
    }
}

/// What is compared, each with its name.
fn facts(of: &Metadata) -> Vec<(&'static str, String)> {
    let is_folder = of.is_dir();
    let mut facts = vec![
        ("mode", format!("{:o}", of.mode())),
        ("owner", format!("{}:{}", of.uid(), of.gid())),
        ("mtime", format!("{}.{:09}", of.mtime(), of.mtime_nsec())),
    ];
    if !is_folder {
        facts.push(("size", of.len().to_string()));
        facts.push(("link count", of.nlink().to_string()));
    }
    if of.file_type().is_char_device() || of.file_type().is_block_device() {
        facts.push(("device", of.rdev().to_string()));
    }
    facts
}

fn names(folder: &Path) -> io::Result<BTreeMap<OsString, PathBuf>> {
    let entries = fs::read_dir(folder)?;
    entries
        .map(|entry| entry.map(|entry| (entry.file_name(), entry.path())))
        .collect()
}

/// Extended attributes that a file system keeps for its users.
fn xattrs(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let names = kernel::xattr_names(path)?.into_iter();
    let kept = names.filter(|name| !name.to_string_lossy().starts_with("security."));
    kept.map(|name| kernel::xattr(path, &name).map(|value| (name, value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::differences;
    use crate::{shell, space::Folder};

    #[test]
    fn every_difference_is_seen() {
        let folder = Folder::new();
        let at = folder.path().display();
        let make = "mkdir d; echo abc > d/f; ln d/f d/g; ln -s f d/l; mkfifo d/p";
        shell::ok(&format!("cd {at}; {make}; cp -a d e"));
        let compare = || differences(&folder.path().join("d"), &folder.path().join("e"));
        assert_eq!(compare(), Vec::<String>::new());
        for spoil in [
            "chmod 600 e/f",
            "touch -d 2001-01-01 e/f",
            "rm e/p",
            "touch e/more",
            "ln -sf elsewhere e/l",
            "cp --remove-destination -p e/f e/g2; mv e/g2 e/g",
            "printf abd > e/f; touch -r d/f e/f",
        ] {
            shell::ok(&format!("cd {at}; rm -rf e; cp -a d e; {spoil}"));
            assert_ne!(compare(), Vec::<String>::new(), "{spoil}");
        }
    }
}
