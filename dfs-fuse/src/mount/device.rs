//! The kernel's side of a mount: /dev/fuse, mount(2), and fusermount3 for users who may not call it.
//!
//! fuser could mount by itself, but as root it names the type `fuse` and not `fuse.dfs`, passes the
//! source on as it is, and unmounts the path once more when the mount is gone already, whoever
//! stands there by then. So it is handed a descriptor that was mounted here, and the mount is
//! detached here, once.

use super::options::{self, MountOptions};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags},
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};
use std::{
    fs::OpenOptions,
    io::{self, IoSliceMut},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Command, Stdio},
};

/// The type as /proc/mounts shows it: FUSE, of the subtype dfs.
pub(crate) const FSTYPE: &str = "fuse.dfs";

const DEVICE: &str = "/dev/fuse";
const FUSERMOUNT: &str = "fusermount3";

/// Why a directory could not be mounted on.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel has no FUSE.
    #[error("{DEVICE} is not there: load the kernel's module (modprobe fuse)")]
    NoDevice,
    /// It is missing.
    #[error("{FUSERMOUNT} is needed to mount as an ordinary user: install the package fuse3")]
    NoFusermount,
    /// It refused.
    #[error("{FUSERMOUNT} refused: {0}")]
    FusermountRefused(String),
    /// The kernel refused.
    #[error("the kernel refused the mount: {0}")]
    Refused(#[from] Errno),
    /// Something around it went wrong.
    #[error("mounting failed: {0}")]
    Io(#[from] io::Error),
}

/// Mounts on `dir`; answers the descriptor on which the kernel's requests arrive.
pub(crate) fn attach(
    dir: &Path,
    master: &str,
    options: &MountOptions,
) -> Result<OwnedFd, AttachError> {
    let source = source(master);
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(device) => match attach_directly(device.as_raw_fd(), dir, &source, options) {
            Ok(()) => return Ok(device.into()),
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(errno.into()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(AttachError::NoDevice),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(error.into()),
    }
    match attach_by_fusermount(dir, &source, options, !options.private) {
        Err(AttachError::FusermountRefused(why)) if why.contains("user_allow_other") => {
            tracing::info!(
                "only this user will see the mount: user_allow_other is not set in /etc/fuse.conf"
            );
            attach_by_fusermount(dir, &source, options, false)
        }
        other => other,
    }
}

/// Detaches what is mounted on `dir`, also when it is in use.
pub(crate) fn detach(dir: &Path) -> Result<(), AttachError> {
    let lazily = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
    match nix::mount::umount2(dir, lazily) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut fusermount = Command::new(FUSERMOUNT);
    fusermount.args(["-u", "-z", "--"]).arg(dir);
    let output = fusermount
        .stdin(Stdio::null())
        .output()
        .map_err(|_| AttachError::NoFusermount)?;
    if output.status.success() {
        return Ok(());
    }
    Err(refusal(&output.stderr))
}

/// What df shows as the source. Of an address only what can neither end an option nor begin another
/// is kept.
fn source(master: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "._-:/[]".contains(c);
    let kept = |c: char| if harmless(c) { c } else { '_' };
    format!("dfs@{}", master.chars().map(kept).collect::<String>())
}

fn attach_directly(
    device: RawFd,
    dir: &Path,
    source: &str,
    options: &MountOptions,
) -> Result<(), Errno> {
    let data = format!(
        "fd={device},rootmode={:o},user_id={},group_id={},default_permissions{}",
        libc::S_IFDIR,
        nix::unistd::getuid(),
        nix::unistd::getgid(),
        if options.private { "" } else { ",allow_other" },
    );
    nix::mount::mount(
        Some(source),
        dir,
        Some(FSTYPE),
        options.flags,
        Some(data.as_str()),
    )
}

fn attach_by_fusermount(
    dir: &Path,
    source: &str,
    options: &MountOptions,
    allow_other: bool,
) -> Result<OwnedFd, AttachError> {
    let mut words = options::words(options.flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
    words.push("default_permissions");
    words.extend(allow_other.then_some("allow_other"));
    let words = format!("{},fsname={source},subtype=dfs", words.join(","));
    let (ours, theirs) = UnixStream::pair()?;
    let mut fusermount = Command::new(FUSERMOUNT);
    fusermount.arg("-o").arg(words).arg("--").arg(dir);
    // It sends the descriptor over the socket whose number this variable has: its stdin.
    fusermount
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs));
    let child = fusermount
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|_| AttachError::NoFusermount)?;
    drop(fusermount);
    let received = receive(&ours);
    let output = child.wait_with_output()?;
    match received? {
        Some(device) => Ok(device),
        None => Err(refusal(&output.stderr)),
    }
}

/// The descriptor that fusermount3 sends; `None` if it hung up without one.
fn receive(socket: &UnixStream) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = [0u8];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(RawFd);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut bytes,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let Some(&descriptor) = descriptors.first()
        {
            // SAFETY: the kernel has just made this descriptor for us in recvmsg; nobody else knows
            // its number, so it has one owner from here on.
            #[expect(unsafe_code, reason = "a received descriptor comes as a bare number")]
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }));
        }
    }
    Ok(None)
}

fn refusal(stderr: &[u8]) -> AttachError {
    AttachError::FusermountRefused(String::from_utf8_lossy(stderr).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_can_smuggle_an_option() {
        assert_eq!(source("127.0.0.1:7400"), "dfs@127.0.0.1:7400");
        assert_eq!(source("[::1]:7400"), "dfs@[::1]:7400");
        assert_eq!(
            source("a,allow_root,suid\\,\n\0 b"),
            "dfs@a_allow_root_suid_____b"
        );
    }
}
