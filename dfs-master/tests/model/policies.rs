//! Policies as the tree says: what is in and below a directory is under its policy.

use crate::{driver::Driver, kind, plain::Plain};
use dfs_master::engine::{
    command::Act,
    reader::{Reader, Wants},
};
use dfs_proto::{attr::FileKind, block::Copies, error::FsError, id::InodeId};
use std::collections::{BTreeMap, BTreeSet};

/// The model's policies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    pub(crate) copies: BTreeMap<InodeId, Copies>,
    /// Files that have, or ever had, more than one name.
    pub(crate) linked: BTreeSet<InodeId>,
}

impl Plain {
    /// Sets a policy or takes it away; `came` is what the machine made of it.
    pub(crate) fn policy(
        &mut self,
        directory: InodeId,
        copies: Option<Copies>,
        came: Result<(), &FsError>,
    ) {
        let there = self.inodes.get(&directory);
        let named = there.is_some() && self.links(directory) > 0;
        let is_directory = there.is_some_and(|inode| inode.kind == FileKind::Directory);
        let has = self.policies.copies.contains_key(&directory);
        let valid = copies.is_none_or(|copies| (1..=copies.wanted).contains(&copies.least));
        let expected = match copies {
            _ if !valid => Err("Invalid"),
            _ if !named => Err("Stale"),
            _ if !is_directory => Err("NotDirectory"),
            None if !has => Err("Invalid"),
            Some(_) | None => Ok(()),
        };
        let came = came.map_err(kind);
        assert_eq!(
            came,
            expected.map_err(str::to_owned),
            "{directory}: {copies:?}"
        );
        match (expected, copies) {
            (Ok(()), Some(copies)) => drop(self.policies.copies.insert(directory, copies)),
            (Ok(()), None) => drop(self.policies.copies.remove(&directory)),
            (Err(_), _) => {}
        }
    }

    /// The policies of the machine are these; and when all is passed on, each inode with one name is
    /// under that of the nearest directory above, and no block wants less than its files.
    pub(crate) fn compare_policies(&self, reader: &Reader) {
        let all = reader.policies(InodeId(0), 1000).expect("reads");
        assert_eq!(
            all,
            self.policies.copies.clone().into_iter().collect::<Vec<_>>()
        );
        if reader.is_counting().expect("reads") {
            return;
        }
        let mut below = vec![(InodeId::ROOT, None)];
        while let Some((directory, above)) = below.pop() {
            let own = self.policies.copies.get(&directory).copied();
            let policy = own.or(above);
            self.compare_policy(reader, directory, policy);
            for inode in self.inodes[&directory].entries.values() {
                match self.inodes[inode].kind {
                    FileKind::Directory => below.push((*inode, policy)),
                    _ if self.policies.linked.contains(inode) => {}
                    _ => self.compare_policy(reader, *inode, policy),
                }
            }
        }
    }

    fn compare_policy(&self, reader: &Reader, inode: InodeId, policy: Option<Copies>) {
        let view = reader.view(inode).expect("it is there").answer;
        assert_eq!(view.attr.policy, policy, "the policy of inode {inode}");
        for extent in reader.locate(inode, 0).expect("reads").answer.extents {
            let block = reader
                .block(extent.block)
                .expect("reads")
                .expect("is there");
            let wants = Wants::of(policy);
            assert_eq!(
                block.wants.and(wants),
                block.wants,
                "{extent:?} of inode {inode}"
            );
        }
    }
}

impl Driver {
    /// A policy of a directory.
    pub(crate) fn policy(&mut self, plain: &Plain) -> Act {
        let directory = self.of_kind(plain, true);
        let wanted = 1 + self.up_to(3);
        let copies = Copies {
            wanted,
            least: self.up_to(wanted),
        };
        let copies = (!self.one_in(3)).then_some(copies);
        Act::Policy { directory, copies }
    }
}
