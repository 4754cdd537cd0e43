//! Mount options, as mount(8) and /etc/fstab spell them.
//!
//! What the kernel takes as a flag becomes one; what mount(8) or systemd keep for themselves is
//! passed over; anything else is refused, so that a slip of the pen is noticed. No text of an
//! option reaches the kernel or fusermount3, so nothing can be smuggled in through one.

use nix::mount::MsFlags;

/// What the options of a mount say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// Flags of mount(2).
    pub(crate) flags: MsFlags,
    /// Entries of the directory may be covered.
    pub(crate) nonempty: bool,
    /// Only the user who mounts may look inside.
    pub(crate) private: bool,
}

/// An option that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the mount option {0:?} is not known; `dfs-fuse --help` lists those that are")]
pub struct UnknownOption(pub String);

/// Options that others than the kernel act on, and those that say what is the case anyway.
const PASSED_OVER: &[&str] = &[
    "_netdev",
    "allow_other",
    "async",
    "auto",
    "default_permissions",
    "defaults",
    "group",
    "loud",
    "noauto",
    "nofail",
    "nouser",
    "owner",
    "silent",
    "user",
    "users",
];

/// Reads options in order: a later one wins over an earlier one.
pub(crate) fn read(options: &[String]) -> Result<MountOptions, UnknownOption> {
    let mut read = MountOptions {
        flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        nonempty: false,
        private: false,
    };
    for option in options.iter().map(|option| option.trim()) {
        let personal = ["x-", "X-", "comment="]
            .iter()
            .any(|p| option.starts_with(p));
        if option.is_empty() || personal || PASSED_OVER.contains(&option) {
            continue;
        }
        match option {
            "nonempty" => read.nonempty = true,
            "private" => read.private = true,
            _ => {
                let (flag, set) = flag(option).ok_or_else(|| UnknownOption(option.to_owned()))?;
                read.flags.set(flag, set);
            }
        }
    }
    Ok(read)
}

fn flag(option: &str) -> Option<(MsFlags, bool)> {
    Some(match option {
        "ro" => (MsFlags::MS_RDONLY, true),
        "rw" => (MsFlags::MS_RDONLY, false),
        "nosuid" => (MsFlags::MS_NOSUID, true),
        "suid" => (MsFlags::MS_NOSUID, false),
        "nodev" => (MsFlags::MS_NODEV, true),
        "dev" => (MsFlags::MS_NODEV, false),
        "noexec" => (MsFlags::MS_NOEXEC, true),
        "exec" => (MsFlags::MS_NOEXEC, false),
        "noatime" => (MsFlags::MS_NOATIME, true),
        "atime" | "relatime" => (MsFlags::MS_NOATIME, false),
        "nodiratime" => (MsFlags::MS_NODIRATIME, true),
        "diratime" => (MsFlags::MS_NODIRATIME, false),
        "sync" => (MsFlags::MS_SYNCHRONOUS, true),
        "dirsync" => (MsFlags::MS_DIRSYNC, true),
        _ => return None,
    })
}

/// The flags in the words of fusermount3.
pub(crate) fn words(flags: MsFlags) -> Vec<&'static str> {
    let word = |flag, on, off| if flags.contains(flag) { on } else { off };
    vec![
        word(MsFlags::MS_RDONLY, "ro", "rw"),
        word(MsFlags::MS_NOSUID, "nosuid", "suid"),
        word(MsFlags::MS_NODEV, "nodev", "dev"),
        word(MsFlags::MS_NOEXEC, "noexec", "exec"),
        word(MsFlags::MS_NOATIME, "noatime", "atime"),
        word(MsFlags::MS_SYNCHRONOUS, "sync", "async"),
        word(MsFlags::MS_DIRSYNC, "dirsync", ""),
    ]
    .into_iter()
    .filter(|word| !word.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(options: &str) -> Result<MountOptions, UnknownOption> {
        let options: Vec<String> = options.split(',').map(str::to_owned).collect();
        read(&options)
    }

    #[test]
    fn what_fstab_may_say_is_understood() {
        let read = read_all("defaults,_netdev,noatime,ro,rw,x-systemd.automount,nofail");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        assert_eq!(read.expect("all known").flags, flags);
        let read = read_all("noatime,relatime").expect("all known");
        assert!(!read.flags.contains(MsFlags::MS_NOATIME));
        let read = read_all("suid,dev,noexec,nonempty").expect("all known");
        assert_eq!(read.flags, MsFlags::MS_NOEXEC);
        assert!(read.nonempty && !read.private);
        assert!(words(read.flags).contains(&"suid"));
    }

    #[test]
    fn slips_and_smuggled_options_are_refused() {
        for bad in [
            "noatme",
            "strictatime",
            "fsname=x",
            "fd=3",
            "user_id=0",
            "rootmode=40000",
        ] {
            assert_eq!(read_all(bad), Err(UnknownOption(bad.to_owned())));
        }
    }
}
