//! Where a test keeps its files: a folder of its own that goes when the test ends, and small disks
//! that can fill up.
//!
//! Folders carry the id of the process that made them, so that what a killed test left behind,
//! mounts included, is cleared away by the next one.

use crate::{kernel, shell};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

const PREFIX: &str = "dfs-tests-";

/// A folder for one test, removed at its end.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A new empty folder.
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = std::env::temp_dir();
        if COUNT.load(Ordering::Relaxed) == 0 {
            clear_left_behind(&root);
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("{PREFIX}{}-{count}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder for temporary files takes one more");
        Folder { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for Folder {
    fn default() -> Folder {
        Folder::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("DFS_KEEP").is_some() {
            eprintln!("kept for you to look at: {}", self.path.display());
            return;
        }
        clear(&self.path);
    }
}

/// Removes folders of test processes that are gone.
fn clear_left_behind(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(pid) = owner
            && !Path::new("/proc").join(pid).exists()
        {
            clear(&entry.path());
        }
    }
}

/// Unmounts everything below a folder and removes it.
fn clear(path: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut below: Vec<&str> = below
        .filter(|point| Path::new(point).starts_with(path))
        .collect();
    below.reverse();
    for point in below {
        let _ = kernel::detach(Path::new(point));
    }
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        eprintln!("{} stays: {error}", path.display());
    }
}

/// A small ext4 file system of its own, on a file, mounted; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    point: PathBuf,
}

impl SmallDisk {
    /// Makes one of `mebibytes` at `point`, backed by a file beside it. Needs root.
    pub fn new(point: &Path, mebibytes: u64) -> SmallDisk {
        let image = point.with_extension("ext4");
        let file = fs::File::create(&image).expect("a file beside the mount point");
        file.set_len(mebibytes << 20)
            .expect("a sparse file takes no space");
        fs::create_dir_all(point).expect("a mount point");
        let (image, at) = (image.display(), point.display());
        shell::ok(&format!(
            "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -m 0 -F {image}"
        ));
        shell::ok(&format!("mount -o loop {image} {at}"));
        SmallDisk {
            point: point.to_path_buf(),
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Fills it until `leave` bytes are free; the file that does so can be removed again.
    pub fn fill(&self, leave: u64) -> PathBuf {
        let (free, _, _) = kernel::statfs(&self.point).expect("a mounted disk answers");
        let ballast = self.point.join("ballast");
        let file = fs::File::create(&ballast).expect("room for a name");
        let bytes = free.saturating_sub(leave);
        kernel::fallocate(&file, 0, 0, bytes.max(1)).expect("ext4 reserves what is free");
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = kernel::detach(&self.point);
    }
}
