//! File handles: what name_to_handle_at(2) gives out is good as long as the file is.

use dfs_tests::{
    cluster::{Cluster, is_root},
    kernel, shell, wait,
};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

#[test]
fn a_file_handle_is_good_as_long_as_the_file_is() {
    if !is_root() {
        return;
    }
    let mut cluster = Cluster::start();
    cluster.add_mount();
    let mounts = [0, 1].map(|n: usize| cluster.mounts[n].path().to_owned());
    let (file, dir) = (mounts[0].join("a/b/file"), mounts[0].join("a/b/c"));
    fs::create_dir_all(&dir).expect("made");
    fs::write(&file, "some").expect("written");
    fs::write(dir.join("inside"), "more").expect("written");
    let handle = |path: &Path| kernel::handle_of(path).expect("there are handles");
    let (of_file, of_dir) = (handle(&file), handle(&dir));
    let read = |mount: &Path| -> io::Result<String> {
        let mount = File::open(mount)?;
        let mut text = String::new();
        kernel::open_by_handle(&mount, &of_file, libc::O_RDONLY)?.read_to_string(&mut text)?;
        Ok(text)
    };
    let inside = |mount: &Path| -> io::Result<String> {
        let mount = File::open(mount)?;
        let dir = kernel::open_by_handle(&mount, &of_dir, libc::O_RDONLY | libc::O_DIRECTORY)?;
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&dir);
        let up = format!("/proc/self/fd/{descriptor}");
        // The kernel found its way up to the root, by ids and names.
        let place = fs::read_link(&up)?;
        assert!(
            place.ends_with("a/b/c") || place.ends_with("a/moved"),
            "{place:?}"
        );
        fs::read_to_string(format!("{up}/inside"))
    };
    for mount in &mounts {
        // Known to the kernel, forgotten by it, and never seen by it.
        shell::drop_caches();
        assert_eq!(read(mount).expect("opens"), "some");
        assert_eq!(inside(mount).expect("opens"), "more");
    }
    fs::rename(mounts[1].join("a/b/file"), mounts[1].join("elsewhere")).expect("moved");
    fs::rename(mounts[1].join("a/b/c"), mounts[1].join("a/moved")).expect("moved");
    assert_eq!(cluster.mounts[0].leave(), Some(0));
    cluster.mounts[0].start();
    for mount in &mounts {
        assert_eq!(read(mount).expect("opens"), "some");
        assert_eq!(inside(mount).expect("opens"), "more");
    }
    let found = kernel::handle_of(&mounts[1].join("elsewhere")).expect("there");
    assert_eq!(found, of_file, "it is the same everywhere");
    let number = fs::metadata(mounts[1].join("elsewhere"))
        .expect("there")
        .ino();
    fs::remove_file(mounts[1].join("elsewhere")).expect("removed");
    fs::write(mounts[1].join("elsewhere"), "another").expect("written");
    assert_ne!(
        fs::metadata(mounts[1].join("elsewhere"))
            .expect("there")
            .ino(),
        number
    );
    // A mount tells a little later that it has closed a file; until then the file is open.
    for mount in &mounts {
        let end = "the end of the file";
        wait::until(Duration::from_secs(10), end, || {
            let errno = read(mount).map_err(|error| error.raw_os_error());
            assert!(
                matches!(errno, Ok(_) | Err(Some(libc::ESTALE))),
                "{errno:?}"
            );
            errno.is_err()
        });
    }
    cluster.end();
}
