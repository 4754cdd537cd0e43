//! Quotas as sums over the tree: what is in and below a directory is counted in its quota.
//!
//! What the tree does not tell is taken from the machine: of an inode without a name, or with names
//! on both sides of a border (or that ever had such), where it is counted; and while something is
//! still being counted, whether a change is refused for a quota.

use crate::{
    driver::Driver,
    kind,
    plain::{Answer, Plain},
};
use dfs_master::engine::{command::Act, reader::Reader};
use dfs_proto::{
    attr::FileKind, change::Change, error::FsError, id::InodeId, name::Name, view::Limits,
};
use rand::seq::IndexedRandom;
use std::collections::{BTreeMap, BTreeSet};

/// The model's quotas.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quotas {
    pub(crate) limits: BTreeMap<InodeId, Limits>,
    /// Whether a change that quotas do not allow is known to be refused, and no other.
    pub(crate) strict: bool,
    /// Inodes that the tree says too little of, and the quotas that they are counted in.
    loose: BTreeMap<InodeId, Vec<InodeId>>,
}

/// The directories that an inode has names in, each as often.
type Parents = BTreeMap<InodeId, Vec<InodeId>>;

/// Inodes and bytes.
type Sum = (u64, u64);

/// Whether an error is that of a quota.
pub(crate) fn is_quota(kind: &str) -> bool {
    ["QuotaOfInodes", "QuotaOfBytes", "CrossesQuota"].contains(&kind)
}

impl Plain {
    /// Takes from the machine what the tree does not tell.
    pub(crate) fn look_at(&mut self, reader: &Reader, change: Option<&Change>) {
        let parents = self.parents();
        let split: Vec<InodeId> = self
            .inodes
            .keys()
            .filter(|id| {
                self.quotas.loose.contains_key(id) || self.homes(&parents, **id).len() != 1
            })
            .copied()
            .collect();
        let chain = |id| {
            let quotas = reader.quotas_of(id).expect("it is there");
            quotas.into_iter().map(|(directory, _)| directory).collect()
        };
        self.quotas.loose = split.into_iter().map(|id| (id, chain(id))).collect();
        let certain = change.is_none_or(|change| {
            let mut concerned = self.concerned(change).into_iter();
            concerned.all(|id| !self.quotas.loose.contains_key(&id))
        });
        let counting = reader.is_counting().expect("reads");
        self.quotas.strict = certain && !counting && !self.quotas.limits.is_empty();
    }

    fn concerned(&self, change: &Change) -> Vec<InodeId> {
        let entry = |parent: &InodeId, name: &Name| {
            let directory = self.inodes.get(parent);
            directory.and_then(|directory| directory.entries.get(name).copied())
        };
        match change {
            Change::Rename {
                parent,
                name,
                new_parent,
                new_name,
                ..
            } => [entry(parent, name), entry(new_parent, new_name)]
                .into_iter()
                .flatten()
                .chain([*parent, *new_parent])
                .collect(),
            Change::Make { parent, .. } => vec![*parent],
            Change::Link { inode, parent, .. } => vec![*inode, *parent],
            Change::CloneRange { inode, .. } => vec![*inode],
            Change::Commit { files, .. } => files.iter().map(|file| file.inode).collect(),
            _ => Vec::new(),
        }
    }

    fn parents(&self) -> Parents {
        let mut parents = Parents::new();
        for (id, inode) in &self.inodes {
            for named in inode.entries.values() {
                parents.entry(*named).or_default().push(*id);
            }
        }
        parents
    }

    /// The quotas that a directory is below, itself included, the nearest first; none if it is not
    /// in the tree.
    fn around(&self, parents: &Parents, directory: InodeId) -> Option<Vec<InodeId>> {
        let mut quotas = Vec::new();
        let mut at = directory;
        loop {
            if self.quotas.limits.contains_key(&at) {
                quotas.push(at);
            }
            if at == InodeId::ROOT {
                return Some(quotas);
            }
            at = *parents.get(&at)?.first()?;
        }
    }

    /// The different places where an inode may be counted, by its names.
    fn homes(&self, parents: &Parents, id: InodeId) -> BTreeSet<Vec<InodeId>> {
        let directories = match self.inodes[&id].kind {
            FileKind::Directory => vec![id],
            _ => parents.get(&id).cloned().unwrap_or_default(),
        };
        let around = directories.iter().map(|dir| self.around(parents, *dir));
        around.flatten().collect()
    }

    /// What is counted in each quota, of the inodes that `of` has too.
    fn sums(&self, of: &Plain) -> BTreeMap<InodeId, Sum> {
        let parents = self.parents();
        let mut sums: BTreeMap<InodeId, Sum> = BTreeMap::new();
        for (id, inode) in self
            .inodes
            .iter()
            .filter(|(id, _)| of.inodes.contains_key(id))
        {
            let homes = self.homes(&parents, *id).into_iter().next();
            let quotas = self.quotas.loose.get(id).cloned().or(homes);
            for quota in quotas.unwrap_or_default() {
                let sum = sums.entry(quota).or_default();
                *sum = (sum.0 + 1, sum.1 + inode.stored());
            }
        }
        sums
    }

    /// What is counted in a quota.
    pub(crate) fn counted(&self, directory: InodeId) -> Sum {
        self.sums(self).get(&directory).copied().unwrap_or_default()
    }

    /// Whether what has come of a change is allowed: nothing has grown beyond a limit.
    pub(crate) fn within_limits(&mut self, before: &Plain) -> Answer {
        if !self.quotas.strict {
            return Ok(());
        }
        // What has lost its last name and is open is counted where it was.
        let (then, now) = (before.parents(), self.parents());
        let ids = self
            .inodes
            .keys()
            .filter(|id| before.inodes.contains_key(id));
        let lost: Vec<InodeId> = ids
            .filter(|id| self.homes(&now, **id).is_empty())
            .copied()
            .collect();
        for id in lost {
            let home = before.homes(&then, id).into_iter().next();
            let home = home.unwrap_or_default();
            self.quotas.loose.entry(id).or_insert(home);
        }
        let (then, now) = (before.sums(self), self.sums(self));
        for (directory, limits) in &self.quotas.limits {
            let of =
                |sums: &BTreeMap<InodeId, Sum>| sums.get(directory).copied().unwrap_or_default();
            let (then, now) = (of(&then), of(&now));
            if now.0 > then.0 && limits.inodes.is_some_and(|limit| now.0 > limit) {
                return Err("QuotaOfInodes");
            }
            if now.1 > then.1 && limits.bytes.is_some_and(|limit| now.1 > limit) {
                return Err("QuotaOfBytes");
            }
        }
        Ok(())
    }

    /// Whether an entry of `from` may become one of `to`, as far as borders go.
    pub(crate) fn may_move(&self, id: InodeId, from: InodeId, to: InodeId) -> Answer {
        let inode = &self.inodes[&id];
        let alone = match inode.kind {
            FileKind::Directory => inode.entries.is_empty() || self.quotas.limits.contains_key(&id),
            _ => self.links(id) == 1,
        };
        let parents = self.parents();
        let around = |directory| self.around(&parents, directory);
        match alone || !self.quotas.strict || around(from) == around(to) {
            true => Ok(()),
            false => Err("CrossesQuota"),
        }
    }

    /// Whether an inode may get a name in `to`, as far as borders go.
    pub(crate) fn may_link(&self, id: InodeId, to: InodeId) -> Answer {
        let parents = self.parents();
        let here = self.homes(&parents, id).into_iter().next();
        match !self.quotas.strict || here == self.around(&parents, to) {
            true => Ok(()),
            false => Err("CrossesQuota"),
        }
    }

    /// Sets a quota or takes it away; `came` is what the machine made of it.
    pub(crate) fn quota(
        &mut self,
        directory: InodeId,
        limits: Option<Limits>,
        came: Result<(), &FsError>,
    ) {
        let there = self.inodes.get(&directory);
        let named = there.is_some() && self.links(directory) > 0;
        let is_directory = there.is_some_and(|inode| inode.kind == FileKind::Directory);
        let has = self.quotas.limits.contains_key(&directory);
        let expected = match limits {
            Some(_) if !named => Err("Stale"),
            Some(_) if !is_directory => Err("NotDirectory"),
            None if !has => Err("Invalid"),
            Some(_) | None => Ok(()),
        };
        let came = came.map_err(kind);
        // What was taken away just now cannot always be given back before that is done.
        if came
            .as_ref()
            .err()
            .is_some_and(|came| came == "Unavailable")
            && !has
        {
            return;
        }
        assert_eq!(
            came,
            expected.map_err(str::to_owned),
            "{directory}: {limits:?}"
        );
        match (expected, limits) {
            (Ok(()), Some(limits)) => drop(self.quotas.limits.insert(directory, limits)),
            (Ok(()), None) => drop(self.quotas.limits.remove(&directory)),
            (Err(_), _) => {}
        }
    }

    /// The quotas of the machine are these, and when all is counted, count what is there.
    pub(crate) fn compare_quotas(&mut self, reader: &Reader) {
        self.look_at(reader, None);
        let rows = reader.quotas(InodeId(0), 1000).expect("reads");
        let limits: BTreeMap<InodeId, Limits> =
            rows.iter().map(|(id, row)| (*id, row.limits)).collect();
        assert_eq!(limits, self.quotas.limits);
        if reader.is_counting().expect("reads") {
            return;
        }
        for (directory, row) in rows {
            let counted = (row.counted.inodes, row.counted.bytes);
            assert_eq!(counted, self.counted(directory), "the quota of {directory}");
        }
    }
}

impl Driver {
    /// A quota of a directory, mostly close to what is there.
    pub(crate) fn quota(&mut self, plain: &Plain) -> Act {
        let has: Vec<InodeId> = plain.quotas.limits.keys().copied().collect();
        let known = has.choose(&mut self.random).copied();
        let directory = match known.filter(|_| has.len() > 5 || self.one_in(2)) {
            Some(known) => known,
            None => self.of_kind(plain, true),
        };
        if self.one_in(4) {
            let limits = None;
            return Act::Quota { directory, limits };
        }
        let (inodes, bytes) = plain.counted(directory);
        let limit =
            |more: u64, now: u64, some: bool| some.then_some((now + more).saturating_sub(2));
        let limits = Some(Limits {
            inodes: limit(self.up_to(8).into(), inodes, !self.one_in(3)),
            bytes: limit(self.up_to(200).into(), bytes, !self.one_in(3)),
        });
        Act::Quota { directory, limits }
    }
}
