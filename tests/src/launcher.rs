//! Starts processes from a thread that has nothing open on any mount.
//!
//! A new process has copies of its parent's descriptors until it runs its program, and closing one
//! of a file on a FUSE mount is a flush that waits for the mount. Started from a thread that has
//! such a file open, a master would wait for the master that it is about to become.

use crate::kernel;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

/// What to start, where it says what it says, and who is told of it.
type Order = (Command, PathBuf, SyncSender<io::Result<Child>>);

/// The thread; it parts with this process's table of descriptors before there is a mount.
static LAUNCHER: LazyLock<SyncSender<Order>> = LazyLock::new(|| {
    let (sender, orders) = sync_channel::<Order>(1);
    thread::spawn(move || {
        kernel::part_descriptors().expect("every thread may have its own descriptors");
        for (command, output, answer) in orders {
            // Who asked may have panicked meanwhile.
            let _ = answer.send(spawn_here(command, &output));
        }
    });
    sender
});

/// Starts a process that reads nothing and appends what it says to a file.
pub(crate) fn spawn(command: Command, output: &Path) -> io::Result<Child> {
    let (answer, child) = sync_channel(1);
    let order = (command, output.to_path_buf(), answer);
    LAUNCHER.send(order).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}

fn spawn_here(mut command: Command, output: &Path) -> io::Result<Child> {
    let output = File::options().append(true).create(true).open(output)?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
}
