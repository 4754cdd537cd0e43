//! What a fact means to an application: one errno for each error, and none by default.
//!
//! The matches have no wildcard on purpose: who adds an error decides here what applications see.
//! Facts between client, master and minion that should never reach an application (a sealed block,
//! a ticket out of order) are EIO: the client deals with them or gives up, and the log has the rest.

use dfs_client::Error;
use dfs_proto::{error::FsError, name::NameError};
use fuser::Errno;

/// The errno of an operation that failed.
pub(crate) fn of(error: &Error) -> Errno {
    match error {
        Error::Refused(refusal) => of_refusal(refusal),
        // Not ETIMEDOUT: applications know EIO, and the log says what was waited for.
        Error::TimedOut { .. }
        | Error::HandleLost(_)
        | Error::SessionLost
        | Error::PerhapsUnsynced(_)
        | Error::NoReplica { .. }
        | Error::NotAnAddress(_)
        | Error::OtherFilesystem { .. }
        | Error::Unfitting(_)
        | Error::ShutDown => Errno::EIO,
    }
}

/// Whether a person should look: not the answer to what an application asked, but a failure of the
/// cluster or of this client.
pub(crate) fn is_alarming(error: &Error) -> bool {
    of(error).code() == libc::EIO
}

fn of_refusal(refusal: &FsError) -> Errno {
    match refusal {
        FsError::NotFound => Errno::ENOENT,
        FsError::Exists => Errno::EEXIST,
        FsError::NotDirectory => Errno::ENOTDIR,
        FsError::IsDirectory => Errno::EISDIR,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        FsError::Stale(_) => Errno::ESTALE,
        FsError::Invalid(_) => Errno::EINVAL,
        FsError::Name(name) => of_name(name),
        FsError::NoSpace(_) => Errno::ENOSPC,
        FsError::ReadOnly(_) => Errno::EROFS,
        FsError::TooManyLinks => Errno::EMLINK,
        FsError::FileTooLarge => Errno::EFBIG,
        FsError::NoAttribute => Errno::ENODATA,
        FsError::TooLong(_) => Errno::ENAMETOOLONG,
        FsError::NotPermitted => Errno::EPERM,
        // The client copies then; where one does not, the kernel does.
        FsError::Inline(_) => Errno::EOPNOTSUPP,
        FsError::Locked => Errno::EAGAIN,
        FsError::Deadlock => Errno::EDEADLK,
        FsError::NoLocks(_) => Errno::ENOLCK,
        FsError::QuotaOfBytes { .. } | FsError::QuotaOfInodes { .. } => Errno::EDQUOT,
        FsError::CrossesQuota => Errno::EXDEV,
        FsError::NoDefaultAcl => Errno::EACCES,
        FsError::SessionEnded(_)
        | FsError::AnswerDropped(_)
        | FsError::TooManyOutstanding
        | FsError::ContentMoved { .. }
        | FsError::BlockSealed { .. }
        | FsError::NotYourBlock(_)
        | FsError::SyncFirst(_)
        | FsError::TooFewMinions { .. }
        | FsError::NotLeader { .. }
        | FsError::WrongFilesystem { .. }
        | FsError::UnknownMinion(_)
        | FsError::Unavailable(_)
        | FsError::Damaged(_)
        | FsError::Contradictory(_) => Errno::EIO,
    }
}

/// The errno of bytes that are no name.
pub(crate) fn of_name(error: &NameError) -> Errno {
    match error {
        NameError::TooLong(_) => Errno::ENAMETOOLONG,
        NameError::Invalid(_) => Errno::EINVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::id::{BlockId, FilesystemId, InodeId, MinionId, SessionId};
    use std::time::Duration;

    #[test]
    fn each_refusal_has_its_errno() {
        let inode = InodeId(7);
        let table = [
            (FsError::NotFound, libc::ENOENT),
            (FsError::Exists, libc::EEXIST),
            (FsError::NotDirectory, libc::ENOTDIR),
            (FsError::IsDirectory, libc::EISDIR),
            (FsError::NotEmpty, libc::ENOTEMPTY),
            (FsError::Stale(inode), libc::ESTALE),
            (FsError::Invalid(String::new()), libc::EINVAL),
            (FsError::Name(NameError::TooLong(256)), libc::ENAMETOOLONG),
            (
                FsError::Name(NameError::Invalid(String::new())),
                libc::EINVAL,
            ),
            (FsError::NoSpace(String::new()), libc::ENOSPC),
            (FsError::ReadOnly(String::new()), libc::EROFS),
            (FsError::TooManyLinks, libc::EMLINK),
            (FsError::FileTooLarge, libc::EFBIG),
            (FsError::NoAttribute, libc::ENODATA),
            (FsError::TooLong(4095), libc::ENAMETOOLONG),
            (FsError::NotPermitted, libc::EPERM),
            (FsError::Inline(inode), libc::EOPNOTSUPP),
            (FsError::Locked, libc::EAGAIN),
            (FsError::Deadlock, libc::EDEADLK),
            (FsError::NoLocks(String::new()), libc::ENOLCK),
            (FsError::NoDefaultAcl, libc::EACCES),
            (FsError::SessionEnded(SessionId(1)), libc::EIO),
            (FsError::AnswerDropped(1), libc::EIO),
            (FsError::TooManyOutstanding, libc::EIO),
            (
                FsError::ContentMoved {
                    inode,
                    expected: 1,
                    now: 2,
                },
                libc::EIO,
            ),
            (
                FsError::BlockSealed {
                    block: BlockId(1),
                    length: 0,
                },
                libc::EIO,
            ),
            (FsError::NotYourBlock(BlockId(1)), libc::EIO),
            (FsError::SyncFirst(Vec::new()), libc::EIO),
            (FsError::TooFewMinions { have: 1, need: 2 }, libc::EIO),
            (FsError::NotLeader { leader: None }, libc::EIO),
            (
                FsError::WrongFilesystem {
                    ours: FilesystemId(1),
                    theirs: FilesystemId(2),
                },
                libc::EIO,
            ),
            (FsError::UnknownMinion(MinionId(1)), libc::EIO),
            (FsError::Unavailable(String::new()), libc::EIO),
            (FsError::Damaged(String::new()), libc::EIO),
            (FsError::Contradictory(String::new()), libc::EIO),
        ];
        for (refusal, errno) in table {
            assert_eq!(
                of(&Error::Refused(refusal.clone())).code(),
                errno,
                "{refusal}"
            );
        }
    }

    #[test]
    fn quotas_have_their_errnos() {
        let (directory, limit) = (InodeId(7), 1);
        let errno = |refusal| of(&Error::Refused(refusal)).code();
        let bytes = FsError::QuotaOfBytes { directory, limit };
        let inodes = FsError::QuotaOfInodes { directory, limit };
        assert_eq!((errno(bytes), errno(inodes)), (libc::EDQUOT, libc::EDQUOT));
        assert_eq!(errno(FsError::CrossesQuota), libc::EXDEV);
    }

    #[test]
    fn what_was_waited_for_in_vain_is_alarming() {
        let error = Error::TimedOut {
            waited_for: "the master".to_owned(),
            after: Duration::from_secs(75),
        };
        assert_eq!(of(&error).code(), libc::EIO);
        assert!(is_alarming(&error));
        assert!(!is_alarming(&Error::Refused(FsError::NotFound)));
    }
}
