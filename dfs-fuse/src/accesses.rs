//! Which reads set access times: what mount options and open flags say of it. How often they do is for
//! the client to decide (relatime).

use nix::mount::MsFlags;

/// Which reads count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    files: bool,
    directories: bool,
}

impl Counted {
    /// As a mount with these flags counts them. One that is for reading only changes nothing.
    pub(crate) fn of(flags: MsFlags) -> Counted {
        let files = !flags.intersects(MsFlags::MS_RDONLY | MsFlags::MS_NOATIME);
        let directories = files && !flags.contains(MsFlags::MS_NODIRATIME);
        Counted { files, directories }
    }

    /// Whether reads of a file count that was opened with these flags.
    pub(crate) fn file(self, open_flags: i32) -> bool {
        self.files && open_flags & libc::O_NOATIME == 0
    }

    /// Whether reads of a directory count that was opened with these flags.
    pub(crate) fn directory(self, open_flags: i32) -> bool {
        self.directories && self.file(open_flags)
    }

    /// Whether it counts that a symbolic link is read.
    pub(crate) fn link(self) -> bool {
        self.files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_flags_say_what_counts() {
        let counted = |flags| {
            let counted = Counted::of(flags);
            let (reads, quiet) = (libc::O_RDONLY, libc::O_RDONLY | libc::O_NOATIME);
            assert!(!counted.file(quiet) && !counted.directory(quiet));
            (
                counted.file(reads),
                counted.directory(reads),
                counted.link(),
            )
        };
        assert_eq!(counted(MsFlags::MS_NOSUID), (true, true, true));
        assert_eq!(counted(MsFlags::MS_NODIRATIME), (true, false, true));
        assert_eq!(counted(MsFlags::MS_NOATIME), (false, false, false));
        assert_eq!(counted(MsFlags::MS_RDONLY), (false, false, false));
    }
}
