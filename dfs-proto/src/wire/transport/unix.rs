//! Links over Unix sockets: half the processor time of TCP between processes of one machine.

use super::link::Link;
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream};

/// A listening socket; its file is removed with it.
pub(super) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Listens at `path`, for processes of the same user and root. A socket file that nobody listens
    /// at (of a process that was killed) is replaced; `AddrInUse` if somebody does, or if the file
    /// is not a socket.
    pub(super) async fn bind(path: &Path) -> io::Result<SocketFile> {
        if let Ok(there) = fs::symlink_metadata(path) {
            let stale = there.file_type().is_socket()
                && UnixStream::connect(path)
                    .await
                    .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
            if !stale {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(path)?.ino();
        let path = path.to_owned();
        Ok(SocketFile {
            listener,
            path,
            inode,
        })
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Link> {
        let (stream, _) = self.listener.accept().await?;
        Ok(Link::unix(stream, &self.label()))
    }

    fn label(&self) -> String {
        format!("unix:{}", self.path.display())
    }
}

impl Drop for SocketFile {
    /// Removes the file, unless a successor has put its own in its place.
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects to the socket at `path`.
pub(crate) async fn connect(path: &Path) -> io::Result<Link> {
    let stream = UnixStream::connect(path).await?;
    Ok(Link::unix(stream, &format!("unix:{}", path.display())))
}
