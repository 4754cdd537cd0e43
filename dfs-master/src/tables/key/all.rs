//! The beginnings that keys of one kind share, for ranges over them.

use super::KeyBytes;
use dfs_proto::id::{BlockId, InodeId, SessionId};

/// All inodes.
pub fn inodes() -> KeyBytes {
    KeyBytes::of(b'I')
}
/// The inline bytes of all files.
pub fn inlines() -> KeyBytes {
    KeyBytes::of(b'F')
}
/// All directory entries, by name.
pub fn dirents() -> KeyBytes {
    KeyBytes::of(b'D')
}
/// The entries of one directory, by name.
pub fn entries(parent: InodeId) -> KeyBytes {
    KeyBytes::of(b'D').u64(parent.0)
}
/// The directory entries of all directories, by cookie.
pub fn listings() -> KeyBytes {
    KeyBytes::of(b'N')
}
/// The entries of one directory, by cookie.
pub fn listing(parent: InodeId) -> KeyBytes {
    KeyBytes::of(b'N').u64(parent.0)
}
/// The inline bytes of one file.
pub fn inline(inode: InodeId) -> KeyBytes {
    KeyBytes::of(b'F').u64(inode.0)
}
/// All extended attributes.
pub fn every_xattr() -> KeyBytes {
    KeyBytes::of(b'X')
}
/// The extended attributes of one inode.
pub fn xattrs(inode: InodeId) -> KeyBytes {
    KeyBytes::of(b'X').u64(inode.0)
}
/// The extents of all files.
pub fn every_extent() -> KeyBytes {
    KeyBytes::of(b'E')
}
/// The extents of one file in all generations.
pub fn generations(inode: InodeId) -> KeyBytes {
    KeyBytes::of(b'E').u64(inode.0)
}
/// The extents of one generation of a file.
pub fn extents(inode: InodeId, generation: u32) -> KeyBytes {
    KeyBytes::of(b'E').u64(inode.0).u32(generation)
}
/// All blocks.
pub fn blocks() -> KeyBytes {
    KeyBytes::of(b'B')
}
/// The uses of all blocks.
pub fn every_use() -> KeyBytes {
    KeyBytes::of(b'U')
}
/// The uses of one block.
pub fn uses(block: BlockId) -> KeyBytes {
    KeyBytes::of(b'U').u64(block.0)
}
/// All blocks that are not settled.
pub fn unsettled() -> KeyBytes {
    KeyBytes::of(b'W')
}
/// The blocks of one session that are not settled.
pub fn written_by(session: SessionId) -> KeyBytes {
    KeyBytes::of(b'W').u64(session.0)
}
/// All blocks that nothing names.
pub fn unused() -> KeyBytes {
    KeyBytes::of(b'G')
}
/// All blocks of which some bytes may be dead.
pub fn worn() -> KeyBytes {
    KeyBytes::of(b'Y')
}
/// What was given up of all blocks.
pub fn every_hole() -> KeyBytes {
    KeyBytes::of(b'H')
}
/// All sessions.
pub fn sessions() -> KeyBytes {
    KeyBytes::of(b'S')
}
/// What all sessions hold open.
pub fn every_open() -> KeyBytes {
    KeyBytes::of(b'O')
}
/// What one session holds open.
pub fn opens(session: SessionId) -> KeyBytes {
    KeyBytes::of(b'O').u64(session.0)
}
/// The locks of all inodes.
pub fn every_lock() -> KeyBytes {
    KeyBytes::of(b'L')
}
/// The locks of one inode.
pub fn locks(inode: InodeId) -> KeyBytes {
    KeyBytes::of(b'L').u64(inode.0)
}
/// The locks of one inode that one session has.
pub fn locks_of(inode: InodeId, session: SessionId) -> KeyBytes {
    KeyBytes::of(b'L').u64(inode.0).u64(session.0)
}
/// How much all sessions have locked.
pub fn every_locked() -> KeyBytes {
    KeyBytes::of(b'K')
}
/// How much one session has locked of each inode.
pub fn locked_by(session: SessionId) -> KeyBytes {
    KeyBytes::of(b'K').u64(session.0)
}
/// The answers kept for one session.
pub fn replies(session: SessionId) -> KeyBytes {
    KeyBytes::of(b'R').u64(session.0)
}
/// The answers kept for all sessions.
pub fn every_reply() -> KeyBytes {
    KeyBytes::of(b'R')
}
/// All minions.
pub fn minions() -> KeyBytes {
    KeyBytes::of(b'M')
}
/// Inodes with extents to be removed.
pub fn trims() -> KeyBytes {
    KeyBytes::of(b'T')
}
/// The quotas of all directories.
pub fn quotas() -> KeyBytes {
    KeyBytes::of(b'Q')
}
/// All inodes of which something is still to be counted.
pub fn uncounted() -> KeyBytes {
    KeyBytes::of(b'Z')
}
/// The policies of all directories.
pub fn policies() -> KeyBytes {
    KeyBytes::of(b'P')
}
/// All blocks that may have more copies than is wanted.
pub fn ample() -> KeyBytes {
    KeyBytes::of(b'J')
}
