//! Telling the kernel names and attributes, and for how long it may keep them.
//!
//! Each is told while nothing can be recalled ([`Dfs::vouch`]), and noted: the kernel takes it in a
//! moment later, and what is recalled in that moment has to be forgotten twice (see `forget`).

use crate::{attr, forget::Invalidator};
use dfs_client::{Dfs, Kept};
use dfs_proto::{attr::Attr, id::InodeId, name::Name};
use fuser::{FileHandle, FopenFlags, Generation, ReplyAttr, ReplyCreate, ReplyEmpty, ReplyEntry};
use std::time::Duration;

/// Inode ids are never given out twice, so that a generation never changes.
pub(crate) const GENERATION: Generation = Generation(0);

/// Tells the kernel. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    pub(crate) dfs: Dfs,
    pub(crate) invalidator: Invalidator,
}

impl Teller {
    /// What a name was answered to name, or that it names nothing, which the kernel keeps too.
    pub(crate) fn entry(
        &self,
        reply: ReplyEntry,
        (parent, name): (InodeId, &Name),
        answered: Option<Attr>,
    ) {
        let vouch = self.dfs.vouch();
        let kept = vouch.name_or(parent, name, answered);
        self.reply(reply, parent, &kept);
    }

    /// What a name names, if that is at hand; the reply is given back if it is not.
    pub(crate) fn entry_at_hand(
        &self,
        reply: ReplyEntry,
        (parent, name): (InodeId, &Name),
    ) -> Option<ReplyEntry> {
        let vouch = self.dfs.vouch();
        match vouch.name(parent, name) {
            Some(kept) => {
                self.reply(reply, parent, &kept);
                None
            }
            None => Some(reply),
        }
    }

    fn reply(&self, reply: ReplyEntry, parent: InodeId, kept: &Kept) {
        self.invalidator.tells([parent]);
        let told = kept
            .attr
            .as_ref()
            .map_or_else(attr::absent, attr::to_kernel);
        reply.entry_with_ttls(&kept.attr_for, &kept.name_for, &told, GENERATION);
    }

    /// An inode that was not found by a name.
    pub(crate) fn found(&self, reply: ReplyEntry, answered: Attr) {
        let vouch = self.dfs.vouch();
        let (told, left) = vouch.attr_or(answered);
        self.invalidator.tells([told.inode]);
        let name_for = Duration::ZERO;
        reply.entry_with_ttls(&left, &name_for, &attr::to_kernel(&told), GENERATION);
    }

    /// A file that was made and opened.
    pub(crate) fn created(
        &self,
        reply: ReplyCreate,
        (parent, name): (InodeId, &Name),
        answered: Attr,
        (handle, flags): (FileHandle, FopenFlags),
    ) {
        let vouch = self.dfs.vouch();
        let kept = vouch.name_or(parent, name, Some(answered.clone()));
        let told = kept.attr.as_ref().unwrap_or(&answered);
        let both = kept.attr_for.min(kept.name_for);
        self.invalidator.tells([parent, answered.inode]);
        reply.created(&both, &attr::to_kernel(told), GENERATION, handle, flags);
    }

    /// A name was moved, and perhaps another in exchange. The kernel moves what it knew of them
    /// along, for as long as it was told that it may keep it: where it may not keep the new names,
    /// it has to look them up again.
    pub(crate) fn moved(
        &self,
        reply: ReplyEmpty,
        (parent, name): (InodeId, &Name),
        (other_parent, other_name): (InodeId, Option<&Name>),
    ) {
        let vouch = self.dfs.vouch();
        let other = other_name.is_none_or(|name| vouch.name(other_parent, name).is_some());
        if !other || vouch.name(parent, name).is_none() {
            self.invalidator.name(parent, name);
            if let Some(name) = other_name {
                self.invalidator.name(other_parent, name);
            }
        }
        reply.ok();
    }

    /// Attributes that were asked for.
    pub(crate) fn looked_up(&self, reply: ReplyAttr, answered: Attr) {
        let vouch = self.dfs.vouch();
        let (told, left) = vouch.attr_or(answered);
        reply.attr(&left, &attr::to_kernel(&told));
    }

    /// Attributes after a change.
    pub(crate) fn attributes(&self, reply: ReplyAttr, answered: Attr) {
        let vouch = self.dfs.vouch();
        self.invalidator.tells([answered.inode]);
        let (told, left) = vouch.attr_or(answered);
        reply.attr(&left, &attr::to_kernel(&told));
    }

    /// Attributes, if they are at hand; the reply is given back if they are not.
    pub(crate) fn attributes_at_hand(&self, reply: ReplyAttr, inode: InodeId) -> Option<ReplyAttr> {
        let vouch = self.dfs.vouch();
        match vouch.attr(inode) {
            Some((told, left)) => {
                reply.attr(&left, &attr::to_kernel(&told));
                None
            }
            None => Some(reply),
        }
    }
}
