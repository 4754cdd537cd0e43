//! The schema: every kind of key there is, and how it is spelled.
//!
//! A key is one letter for its kind, then its parts, big-endian, so that the order of the bytes is
//! the order of the parts and a range of keys is an operation: the entries of a directory, the
//! extents of a file, the uses of a block. The letters and widths are on disk: they never change,
//! and a letter that is given up is not given out again.

pub mod all;

use crate::tables::damage::Damage;
use dfs_proto::id::{BlockId, InodeId, MinionId, SessionId};
use std::ops::{Bound, Deref};

/// The longest key: a directory entry or attribute with a name of 255 bytes.
pub const KEY_BYTES_MAX: usize = 1 + 8 + 255;

/// A key, by its meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key<'a> {
    /// `I inode`: what stat(2) tells of an inode, and what the master keeps beside that.
    Inode(InodeId),
    /// `F inode`: the bytes of a small file, or the target of a symbolic link.
    Inline(InodeId),
    /// `D parent name`: what a name in a directory names.
    Dirent {
        /// The directory.
        parent: InodeId,
        /// The name.
        name: &'a [u8],
    },
    /// `N parent cookie`: the entries of a directory in the order in which they were made, which
    /// is the order of listings.
    Listing {
        /// The directory.
        parent: InodeId,
        /// From the directory's own counter, never reused.
        cookie: u64,
    },
    /// `X inode name`: an extended attribute.
    Xattr {
        /// Whose.
        inode: InodeId,
        /// Its name.
        name: &'a [u8],
    },
    /// `E inode generation offset`: where the bytes of a file from `offset` on are. Only extents
    /// of the inode's current generation are its content; a truncation of a file with very many
    /// extents begins a new generation, and those of the old one are removed in bounded steps.
    Extent {
        /// The file.
        inode: InodeId,
        /// Counts such truncations.
        generation: u32,
        /// Offset in the file.
        offset: u64,
    },
    /// `B block`: whose a block is, who has it, how far it goes.
    Block(BlockId),
    /// `U block block-offset inode generation file-offset`: the reverse of an extent.
    Use {
        /// The block.
        block: BlockId,
        /// Offset in the block.
        block_offset: u32,
        /// The file.
        inode: InodeId,
        /// As in the extent's key.
        generation: u32,
        /// Offset in the file.
        file_offset: u64,
    },
    /// `W session block`: a block that is not settled, because its session writes it, or its seal
    /// is not yet known to be kept by every replica.
    Writing {
        /// The session that it was allocated to.
        session: SessionId,
        /// The block.
        block: BlockId,
    },
    /// `G block`: a sealed block that nothing names.
    Unused(BlockId),
    /// `Y block`: a sealed block of which some bytes may be dead.
    Worn(BlockId),
    /// `H block`: which bytes of a block were given up.
    Holes(BlockId),
    /// `S session`: a session.
    Session(SessionId),
    /// `O session inode`: an inode that a session holds open.
    Open {
        /// Who holds it.
        session: SessionId,
        /// What.
        inode: InodeId,
    },
    /// `L inode session owner`: what an owner of locks has locked of an inode.
    Lock {
        /// The inode.
        inode: InodeId,
        /// The owner's session.
        session: SessionId,
        /// The owner's number in its session.
        owner: u64,
    },
    /// `K session inode`: how many ranges a session has locked of an inode; at inode 0, of all.
    Locked {
        /// The session.
        session: SessionId,
        /// The inode.
        inode: InodeId,
    },
    /// `R session sequence`: the answer to a request, kept until the session has it; at sequence 0,
    /// how far the session has come.
    Reply {
        /// Who asked.
        session: SessionId,
        /// Its count of requests, from 1.
        sequence: u64,
    },
    /// `M minion`: a minion.
    Minion(MinionId),
    /// `T inode`: an inode with extents that are to be removed in bounded steps: those of old
    /// generations, and all of an inode that has no name and is not open.
    Trim(InodeId),
    /// `Q directory`: the quota of a directory.
    Quota(InodeId),
    /// `Z inode`: an inode of which entries or blocks are still to be counted, or to get its policy.
    Uncounted(InodeId),
    /// `P directory`: the policy of a directory.
    Policy(InodeId),
    /// `J block`: a block that may have more copies than the files want whose bytes it has.
    Ample(BlockId),
    /// `C counter`: the few things of which there is one.
    Counter(Counter),
}

/// The few things of which there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// `C f`: which file system this is.
    Filesystem,
    /// `C n`: the numbers that were given out last.
    Numbers,
    /// `C b`: where the log ended when the last leaders began.
    Boots,
    /// `C t`: what it all comes to.
    Totals,
    /// `C p`: the log entry that a checkpoint is as of.
    Position,
    /// `C r`: when the log was recovered from a copy, last.
    Recovered,
}

/// The bytes of a key, without an allocation.
#[derive(Clone, Copy)]
pub struct KeyBytes {
    len: usize,
    bytes: [u8; KEY_BYTES_MAX],
}

impl Deref for KeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl KeyBytes {
    fn of(letter: u8) -> KeyBytes {
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes[0] = letter;
        KeyBytes { len: 1, bytes }
    }

    fn then(mut self, part: &[u8]) -> KeyBytes {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self
    }

    fn u64(self, part: u64) -> KeyBytes {
        self.then(&part.to_be_bytes())
    }

    fn u32(self, part: u32) -> KeyBytes {
        self.then(&part.to_be_bytes())
    }

    /// The bounds of the keys that begin with these bytes.
    pub fn prefix(&self) -> KeyRange {
        let mut end = *self;
        // No letter is 0xff, so there is a byte that can be counted up.
        while end.bytes[end.len - 1] == 0xff {
            end.len -= 1;
        }
        end.bytes[end.len - 1] += 1;
        KeyRange {
            from: Bound::Included(*self),
            to: Bound::Excluded(end),
        }
    }
}

/// A range of keys.
#[derive(Clone, Copy)]
pub struct KeyRange {
    /// Where it begins.
    pub from: Bound<KeyBytes>,
    /// Where it ends.
    pub to: Bound<KeyBytes>,
}

impl KeyRange {
    /// Keys that begin with the parts of `prefix`, from `from` on.
    pub fn from(prefix: KeyBytes, from: Key<'_>) -> KeyRange {
        KeyRange {
            from: Bound::Included(from.bytes()),
            to: prefix.prefix().to,
        }
    }

    /// Keys that begin with the parts of `prefix`, after `after`.
    pub fn after(prefix: KeyBytes, after: Key<'_>) -> KeyRange {
        KeyRange {
            from: Bound::Excluded(after.bytes()),
            to: prefix.prefix().to,
        }
    }

    /// Keys from `from` on, before `to`.
    pub fn between(from: Key<'_>, to: Key<'_>) -> KeyRange {
        KeyRange {
            from: Bound::Included(from.bytes()),
            to: Bound::Excluded(to.bytes()),
        }
    }

    /// Every key.
    pub fn all() -> KeyRange {
        KeyRange {
            from: Bound::Unbounded,
            to: Bound::Unbounded,
        }
    }

    /// The bounds as slices.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (
            self.from.as_ref().map(|key| &**key),
            self.to.as_ref().map(|key| &**key),
        )
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        match self.bounds() {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
            | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }
}

impl Key<'_> {
    /// How the key is spelled.
    pub fn bytes(&self) -> KeyBytes {
        let of = KeyBytes::of;
        match *self {
            Key::Inode(inode) => of(b'I').u64(inode.0),
            Key::Inline(inode) => of(b'F').u64(inode.0),
            Key::Dirent { parent, name } => of(b'D').u64(parent.0).then(name),
            Key::Listing { parent, cookie } => of(b'N').u64(parent.0).u64(cookie),
            Key::Xattr { inode, name } => of(b'X').u64(inode.0).then(name),
            Key::Extent {
                inode,
                generation,
                offset,
            } => of(b'E').u64(inode.0).u32(generation).u64(offset),
            Key::Block(block) => of(b'B').u64(block.0),
            Key::Use {
                block,
                block_offset,
                inode,
                generation,
                file_offset,
            } => of(b'U')
                .u64(block.0)
                .u32(block_offset)
                .u64(inode.0)
                .u32(generation)
                .u64(file_offset),
            Key::Writing { session, block } => of(b'W').u64(session.0).u64(block.0),
            Key::Unused(block) => of(b'G').u64(block.0),
            Key::Worn(block) => of(b'Y').u64(block.0),
            Key::Holes(block) => of(b'H').u64(block.0),
            Key::Session(session) => of(b'S').u64(session.0),
            Key::Open { session, inode } => of(b'O').u64(session.0).u64(inode.0),
            Key::Lock {
                inode,
                session,
                owner,
            } => of(b'L').u64(inode.0).u64(session.0).u64(owner),
            Key::Locked { session, inode } => of(b'K').u64(session.0).u64(inode.0),
            Key::Reply { session, sequence } => of(b'R').u64(session.0).u64(sequence),
            Key::Minion(minion) => of(b'M').u32(minion.0),
            Key::Trim(inode) => of(b'T').u64(inode.0),
            Key::Quota(directory) => of(b'Q').u64(directory.0),
            Key::Uncounted(inode) => of(b'Z').u64(inode.0),
            Key::Policy(directory) => of(b'P').u64(directory.0),
            Key::Ample(block) => of(b'J').u64(block.0),
            Key::Counter(counter) => of(b'C').then(&[match counter {
                Counter::Filesystem => b'f',
                Counter::Numbers => b'n',
                Counter::Boots => b'b',
                Counter::Totals => b't',
                Counter::Position => b'p',
                Counter::Recovered => b'r',
            }]),
        }
    }

    /// Reads a key.
    pub fn parse(bytes: &[u8]) -> Result<Key<'_>, Damage> {
        let mut parts = Parts(bytes);
        let unknown = || {
            Damage::Content(format!(
                "the tables have a key that this build does not know: {}; start a build that is at \
                 least as new as the one that wrote them",
                bytes.escape_ascii()
            ))
        };
        let key = match parts.letter().ok_or_else(unknown)? {
            b'I' => parts.u64().map(|inode| Key::Inode(InodeId(inode))),
            b'F' => parts.u64().map(|inode| Key::Inline(InodeId(inode))),
            b'D' => parts.named().map(|(parent, name)| Key::Dirent {
                parent: InodeId(parent),
                name,
            }),
            b'N' => parts.pair().map(|(parent, cookie)| Key::Listing {
                parent: InodeId(parent),
                cookie,
            }),
            b'X' => parts.named().map(|(inode, name)| Key::Xattr {
                inode: InodeId(inode),
                name,
            }),
            b'E' => parts.extent(),
            b'B' => parts.u64().map(|block| Key::Block(BlockId(block))),
            b'U' => parts.usage(),
            b'W' => parts.pair().map(|(session, block)| Key::Writing {
                session: SessionId(session),
                block: BlockId(block),
            }),
            b'G' => parts.u64().map(|block| Key::Unused(BlockId(block))),
            b'Y' => parts.u64().map(|block| Key::Worn(BlockId(block))),
            b'H' => parts.u64().map(|block| Key::Holes(BlockId(block))),
            b'S' => parts.u64().map(|session| Key::Session(SessionId(session))),
            b'O' => parts.pair().map(|(session, inode)| Key::Open {
                session: SessionId(session),
                inode: InodeId(inode),
            }),
            b'L' => parts.lock(),
            b'K' => parts.pair().map(|(session, inode)| Key::Locked {
                session: SessionId(session),
                inode: InodeId(inode),
            }),
            b'R' => parts.pair().map(|(session, sequence)| Key::Reply {
                session: SessionId(session),
                sequence,
            }),
            b'M' => parts.u32().map(|minion| Key::Minion(MinionId(minion))),
            b'T' => parts.u64().map(|inode| Key::Trim(InodeId(inode))),
            b'Q' => parts.u64().map(|inode| Key::Quota(InodeId(inode))),
            b'Z' => parts.u64().map(|inode| Key::Uncounted(InodeId(inode))),
            b'P' => parts.u64().map(|inode| Key::Policy(InodeId(inode))),
            b'J' => parts.u64().map(|block| Key::Ample(BlockId(block))),
            b'C' => parts.counter(),
            _ => None,
        };
        key.filter(|_| parts.0.is_empty()).ok_or_else(unknown)
    }
}

/// What of a key is still to be read.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn letter(&mut self) -> Option<u8> {
        let (letter, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*letter)
    }

    fn u64(&mut self) -> Option<u64> {
        let (part, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*part))
    }

    fn u32(&mut self) -> Option<u32> {
        let (part, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*part))
    }

    fn pair(&mut self) -> Option<(u64, u64)> {
        Some((self.u64()?, self.u64()?))
    }

    fn named(&mut self) -> Option<(u64, &'a [u8])> {
        let id = self.u64()?;
        let name = std::mem::take(&mut self.0);
        (!name.is_empty() && name.len() <= 255).then_some((id, name))
    }

    fn extent(&mut self) -> Option<Key<'a>> {
        Some(Key::Extent {
            inode: InodeId(self.u64()?),
            generation: self.u32()?,
            offset: self.u64()?,
        })
    }

    fn usage(&mut self) -> Option<Key<'a>> {
        Some(Key::Use {
            block: BlockId(self.u64()?),
            block_offset: self.u32()?,
            inode: InodeId(self.u64()?),
            generation: self.u32()?,
            file_offset: self.u64()?,
        })
    }

    fn lock(&mut self) -> Option<Key<'a>> {
        Some(Key::Lock {
            inode: InodeId(self.u64()?),
            session: SessionId(self.u64()?),
            owner: self.u64()?,
        })
    }

    fn counter(&mut self) -> Option<Key<'a>> {
        Some(Key::Counter(match self.letter()? {
            b'f' => Counter::Filesystem,
            b'n' => Counter::Numbers,
            b'b' => Counter::Boots,
            b't' => Counter::Totals,
            b'p' => Counter::Position,
            b'r' => Counter::Recovered,
            _ => return None,
        }))
    }
}
