//! What a reader gets to see: the content of a file, the entries of a directory, free space.

use crate::{
    attr::{Attr, FileKind},
    block::BlockPlace,
    extent::Extent,
    id::InodeId,
    name::Name,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Extents in one answer, at the most.
pub const EXTENTS_PER_ANSWER_MAX: usize = 4096;

/// Entries in one answer of `readdir`, at the most.
pub const ENTRIES_PER_ANSWER_MAX: u32 = 4096;

/// A file as it is at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct View {
    /// Its attributes.
    pub attr: Attr,
    /// Its bytes, or where they are.
    pub content: Content,
}

/// The bytes of a file, or where they are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Content {
    /// All of them; shorter than the size where the rest is zeros. A file has either inline bytes
    /// or extents, never both.
    Inline(Bytes),
    /// Where they are. What no extent covers is a hole and reads as zeros.
    Extents(Layout),
}

/// Where the bytes of a part of a file are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Layout {
    /// Extents in file order, without overlap.
    pub extents: Vec<Extent>,
    /// The blocks that they name, each once.
    pub blocks: Vec<BlockPlace>,
    /// The layout is complete from the offset asked for up to here (`u64::MAX` where nothing
    /// follows); ask again from here for more.
    pub until: u64,
}

/// Where a listing goes on. 0 is the beginning; `.` and `..` are the mount's to add.
pub type Cookie = u64;

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Where a listing goes on after it. Stays valid whatever comes and goes meanwhile.
    pub cookie: Cookie,
    /// Its name.
    pub name: Name,
    /// What it names.
    pub inode: InodeId,
    /// What that is.
    pub kind: FileKind,
    /// The attributes, where they were asked for.
    pub attr: Option<Attr>,
}

/// A part of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listing {
    /// Entries in the order of their cookies.
    pub entries: Vec<Entry>,
    /// Whether nothing follows.
    pub complete: bool,
}

/// Space and inodes, for statfs(2). Bytes are counted in one copy: what an application can store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Space {
    /// Bytes of files that would fit in all.
    pub bytes_total: u64,
    /// Bytes of files that still fit.
    pub bytes_free: u64,
    /// Bytes of all that nothing takes; fewer fit where something outside is used up first.
    pub bytes_spare: u64,
    /// Inodes in use.
    pub inodes_used: u64,
    /// Inodes that can still be made.
    pub inodes_free: u64,
    /// The directory whose quota is what ends the bytes first, if one does, and its limit.
    pub quota: Option<(InodeId, u64)>,
}

/// What may be stored in and below a directory; `None` is without end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Stored bytes, in one copy: holes do not count.
    pub bytes: Option<u64>,
    /// Inodes, the directory itself included.
    pub inodes: Option<u64>,
}
