//! What stat(2) tells of an inode, and how it is changed.

use crate::{block::Copies, id::InodeId, time::Timestamp};
use serde::{Deserialize, Serialize};

/// The largest file, in bytes: what a signed 64-bit offset can name.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Names that one inode may have.
pub const LINKS_MAX: u32 = 1_000_000;

/// Set-user-id, set-group-id and sticky bits and the nine permission bits of a mode.
pub const MODE_MASK: u16 = 0o7777;

/// What an inode is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix-domain socket.
    Socket,
    /// A character device; `rdev` says which.
    CharDevice,
    /// A block device; `rdev` says which.
    BlockDevice,
}

/// The attributes of an inode.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attr {
    /// Whose attributes these are.
    pub inode: InodeId,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, within [`MODE_MASK`].
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names of it; a directory counts itself and its sub-directories too.
    pub links: u32,
    /// Bytes of a file, of a link's target; entries of a directory.
    pub size: u64,
    /// Bytes that are stored for it, in one copy: holes do not count.
    pub stored: u64,
    /// Device number of a device node, else 0.
    pub rdev: u32,
    /// When it was last read, in the manner of relatime: see [`crate::change::Access`].
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or attributes.
    pub ctime: Timestamp,
    /// When it was made.
    pub btime: Timestamp,
    /// Extended attributes it has. The kernel asks for some before the first write to a file and
    /// for each line of `ls -l`: where there are none, nobody needs to ask the master.
    pub xattrs: u32,
    /// Which access-control lists are among them.
    pub acls: Acls,
    /// Counts every change of content, size included: equal versions mean equal bytes.
    pub data_version: u64,
    /// Counts the truncations: a commit that is based on an older count is clipped to the size now
    /// (D7).
    pub truncations: u32,
    /// The policy that it is under; `None` is that of the cluster. Who keeps the attributes is not told
    /// when it changes: bytes that are written by an old one get the copies of the new one later.
    pub policy: Option<Copies>,
}

/// The longest access-control list, in bytes: the kernel reads one into a page. 511 entries fit.
pub const ACL_BYTES_MAX: u32 = 4096;

/// Which POSIX access-control list. It travels as the extended attribute that the kernel knows it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AclKind {
    /// Who may do what with the inode, beyond what its mode says.
    Access,
    /// Of a directory: what is made in it begins with this.
    Default,
}

impl AclKind {
    /// The list that an extended attribute is.
    pub fn of(name: &[u8]) -> Option<AclKind> {
        let kinds = [AclKind::Access, AclKind::Default];
        kinds.into_iter().find(|kind| kind.name() == name)
    }

    /// The name of the extended attribute.
    pub fn name(self) -> &'static [u8] {
        match self {
            AclKind::Access => b"system.posix_acl_access",
            AclKind::Default => b"system.posix_acl_default",
        }
    }
}

/// The access-control lists that an inode has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Acls {
    /// It has an access list: never one that says no more than its mode.
    pub access: bool,
    /// It has a default list; a directory only.
    pub default: bool,
}

impl Acls {
    /// Whether it has this one.
    pub fn has(self, kind: AclKind) -> bool {
        match kind {
            AclKind::Access => self.access,
            AclKind::Default => self.default,
        }
    }

    /// It has this one from now on, or has it no more.
    pub fn set(&mut self, kind: AclKind, there: bool) {
        match kind {
            AclKind::Access => self.access = there,
            AclKind::Default => self.default = there,
        }
    }

    /// How many it has.
    pub fn count(self) -> u32 {
        u32::from(self.access) + u32::from(self.default)
    }
}

/// A time to be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SetTime {
    /// The master's clock when the change is accepted.
    Now,
    /// This moment.
    At(Timestamp),
}

/// Which attributes to set; `None` leaves one as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Truncate or extend with zeros to this many bytes.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
    /// Clear set-user-id, and set-group-id where the group may execute (what the kernel leaves to
    /// the file system under HANDLE_KILLPRIV_V2), and drop `security.capability`.
    pub kill_privileges: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_known_by_their_attributes() {
        for kind in [AclKind::Access, AclKind::Default] {
            assert_eq!(AclKind::of(kind.name()), Some(kind));
            let mut acls = Acls::default();
            acls.set(kind, true);
            assert!(acls.has(kind) && acls.count() == 1);
        }
        assert_eq!(AclKind::of(b"system.posix_acl_accessible"), None);
        assert_eq!(AclKind::of(b"user.a"), None);
    }
}
