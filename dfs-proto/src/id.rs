//! Ids: one type for each kind of thing, with no arithmetic between them.
//!
//! Inode, block and session ids are given out by the master as (boot, counter): the upper 24 bits
//! count the starts of a leader, the lower 40 what it gave out since. A leader logs its boot before
//! it serves, so an id that an un-synced log tail lost is never given out again (N6).

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Bits of the counter in an id; the boot stands above them.
pub const COUNTER_BITS: u32 = 40;

macro_rules! booted_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The id that the leader of `boot` gives out as its `counter`-th.
            pub const fn of(boot: u64, counter: u64) -> Self {
                $name(boot << COUNTER_BITS | counter)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

booted_id! {
    /// A file, directory or link without its name. Never reused.
    InodeId
}
booted_id! {
    /// An append-only log of bytes on minions. Never reused.
    BlockId
}
booted_id! {
    /// A mounted or linked client as the master knows it. Never reused.
    SessionId
}

impl InodeId {
    /// The root directory; also what FUSE calls its root.
    pub const ROOT: InodeId = InodeId(1);
}

/// A minion, numbered by the master when it first registers: 1, 2, 3 ...
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct MinionId(pub u32);

impl fmt::Display for MinionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One data directory of a minion; drawn at random when the directory is first used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct DiskId(pub u64);

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One dfs file system; drawn at random when its master first starts, and written on every disk
/// that belongs to it, so that a foreign disk or daemon is recognised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct FilesystemId(pub u128);

impl fmt::Display for FilesystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The text was not the 32 hexadecimal digits of a file-system id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a file-system id is 32 hexadecimal digits, as `dfs status` prints them; got {0:?}")]
pub struct NotAFilesystemId(pub String);

impl FromStr for FilesystemId {
    type Err = NotAFilesystemId;

    fn from_str(text: &str) -> Result<Self, NotAFilesystemId> {
        let whole = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let parsed = u128::from_str_radix(text, 16).ok().filter(|_| whole);
        parsed
            .map(FilesystemId)
            .ok_or_else(|| NotAFilesystemId(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_later_boot_are_larger() {
        assert!(InodeId::of(2, 0) > InodeId::of(1, (1 << COUNTER_BITS) - 1));
        assert_eq!(InodeId::of(0, 1), InodeId::ROOT);
    }

    #[test]
    fn filesystem_ids_read_back_what_they_print() {
        let id = FilesystemId(0x1f);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(
            "+000000000000000000000000000001f"
                .parse::<FilesystemId>()
                .is_err()
        );
        assert!("1f".parse::<FilesystemId>().is_err());
    }
}
