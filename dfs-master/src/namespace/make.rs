//! create, mkdir, mknod, symlink: something new under a new name.

use crate::{
    blocks::{inline, space},
    namespace::{acl, directory, open},
    quota,
    tables::{
        rows::InodeRow,
        txn::{Rows, Txn},
    },
};
use dfs_proto::{
    attr::{FileKind, MODE_MASK},
    change::{Caller, Changed, Make},
    error::FsError,
    id::{InodeId, SessionId},
    name::{Name, TARGET_BYTES_MAX},
    time::Timestamp,
};

/// Set-group-id; on a directory: what is made in it belongs to its group.
const SET_GROUP: u16 = 0o2000;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// By whom.
    pub session: SessionId,
    /// The id for the new inode.
    pub inode: InodeId,
    /// In which directory.
    pub parent: InodeId,
    /// Under which name.
    pub name: &'a Name,
    /// What.
    pub what: &'a Make,
    /// With which permission bits, at the most.
    pub mode: u16,
    /// For whom.
    pub caller: Caller,
}

/// Makes it.
pub fn make(txn: &mut Txn<'_>, now: Timestamp, request: Request<'_>) -> Result<Changed, FsError> {
    let Request {
        parent,
        name,
        inode,
        ..
    } = request;
    let mut above = directory::growing(txn, parent)?;
    if directory::entry(txn, parent, name)?.is_some() {
        return Err(FsError::Exists);
    }
    if txn.has::<InodeRow>(inode)? {
        return Err(FsError::Invalid(format!(
            "inode {inode} was given out before"
        )));
    }
    let (kind, rdev) = kind_of(request.what);
    let mut row = InodeRow::new(
        kind,
        mode_of(kind, &request, &above),
        owner(&request, &above),
        now,
    );
    acl::inherit(txn, (parent, &above), inode, &mut row, request.caller)?;
    row.rdev = rdev;
    row.quota = above.quota;
    row.policy = above.policy;
    row.links = 1;
    if kind == FileKind::Directory {
        row.links = 2;
        row.parent = parent;
        directory::link_one(&mut above)?;
    }
    if let Make::Symlink(target) = request.what {
        let len = target.len();
        if len == 0 || target.contains(&0) {
            return Err(FsError::Invalid("the target of a link".to_owned()));
        }
        if len > TARGET_BYTES_MAX {
            let most = u32::try_from(TARGET_BYTES_MAX).expect("4095");
            return Err(FsError::TooLong(most));
        }
        inline::set(txn, inode, &mut row, target.clone());
        row.size = row.stored;
    }
    if let Make::File { open: true } = request.what {
        open::hold(txn, request.session, inode, &mut row)?;
    }
    quota::made(txn, row.quota, row.stored)?;
    directory::add(txn, parent, &mut above, name, inode, kind)?;
    above.modify(now);
    txn.insert(inode, &row);
    txn.put(parent, &above);
    space::count(txn, |totals| {
        totals.inodes += 1;
        totals.stored += row.stored;
    })?;
    Ok(Changed::Made {
        attr: row.attr(inode),
        parent: above.attr(parent),
    })
}

fn kind_of(what: &Make) -> (FileKind, u32) {
    match what {
        Make::File { .. } => (FileKind::File, 0),
        Make::Directory => (FileKind::Directory, 0),
        Make::Symlink(_) => (FileKind::Symlink, 0),
        Make::Fifo => (FileKind::Fifo, 0),
        Make::Socket => (FileKind::Socket, 0),
        Make::CharDevice(rdev) => (FileKind::CharDevice, *rdev),
        Make::BlockDevice(rdev) => (FileKind::BlockDevice, *rdev),
    }
}

/// The group gives way to that of a set-group-id directory.
fn owner(request: &Request<'_>, above: &InodeRow) -> (u32, u32) {
    let gid = match above.mode & SET_GROUP {
        0 => request.caller.gid,
        _ => above.gid,
    };
    (request.caller.uid, gid)
}

/// A directory in a set-group-id directory is one too. A link has all rights, and nobody asks.
fn mode_of(kind: FileKind, request: &Request<'_>, above: &InodeRow) -> u16 {
    match kind {
        FileKind::Symlink => 0o777,
        FileKind::Directory => (request.mode & MODE_MASK) | (above.mode & SET_GROUP),
        _ => request.mode & MODE_MASK,
    }
}
