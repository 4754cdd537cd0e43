//! Quotas, as people set them and look at them: by directories that have paths.
//!
//! A directory knows the one above it and not its name there: paths are found by going over listings,
//! each once for all that is looked for in it. Only people ask for them.

use crate::engine::{
    command::Act,
    leader::Leader,
    reader::{QuotaRow, Reader},
    ticks,
};
use bytes::Bytes;
use dfs_proto::{
    error::FsError,
    id::InodeId,
    service::{QUOTAS_PER_ANSWER_MAX, QuotaStatus},
    view::{Cookie, ENTRIES_PER_ANSWER_MAX, Limits},
};
use std::collections::{BTreeMap, BTreeSet};

/// Sets a quota. What is there is counted at once if that is little, and in the background if not.
pub(super) async fn set(
    leader: &Leader,
    directory: InodeId,
    limits: Limits,
) -> Result<QuotaStatus, FsError> {
    let limits = Some(limits);
    leader.act(Act::Quota { directory, limits }).await?;
    tracing::info!(%directory, ?limits, "a quota was set");
    ticks::count(leader).await?;
    let quotas = of(leader, directory)?;
    let own = quotas
        .into_iter()
        .find(|quota| quota.directory == directory);
    // Another call may have taken it away in between.
    own.ok_or(FsError::NotFound)
}

/// Takes a quota away.
pub(super) async fn remove(leader: &Leader, directory: InodeId) -> Result<(), FsError> {
    let limits = None;
    leader.act(Act::Quota { directory, limits }).await?;
    tracing::info!(%directory, "a quota was taken away");
    ticks::count(leader).await
}

/// The quotas that an inode is counted in, the nearest first.
pub(super) fn of(leader: &Leader, inode: InodeId) -> Result<Vec<QuotaStatus>, FsError> {
    let quotas = leader.reader.quotas_of(inode)?;
    described(&leader.reader, quotas)
}

/// A page of all quotas.
pub(super) fn page(
    leader: &Leader,
    after: InodeId,
    limit: u32,
) -> Result<Vec<QuotaStatus>, FsError> {
    let limit = limit.clamp(1, QUOTAS_PER_ANSWER_MAX);
    let limit = usize::try_from(limit).expect("32 bits");
    described(&leader.reader, leader.reader.quotas(after, limit)?)
}

fn described(
    reader: &Reader,
    quotas: Vec<(InodeId, QuotaRow)>,
) -> Result<Vec<QuotaStatus>, FsError> {
    let paths = paths(reader, quotas.iter().map(|(directory, _)| *directory))?;
    let status = quotas.into_iter().map(|(directory, row)| QuotaStatus {
        directory,
        path: paths.get(&directory).cloned().unwrap_or_default(),
        limits: row.limits,
        bytes: row.counted.bytes,
        inodes: row.counted.inodes,
        counting: row.counted.uncounted > 0,
    });
    Ok(status.collect())
}

/// Where directories are. One that has no name, or moves just now, is left out.
fn paths(
    reader: &Reader,
    directories: impl IntoIterator<Item = InodeId>,
) -> Result<BTreeMap<InodeId, Bytes>, FsError> {
    let directories: Vec<InodeId> = directories.into_iter().collect();
    // Each with the one above it, and what is looked for in each.
    let mut above: BTreeMap<InodeId, InodeId> = BTreeMap::new();
    let mut inside: BTreeMap<InodeId, BTreeSet<InodeId>> = BTreeMap::new();
    for directory in &directories {
        let mut at = *directory;
        while at != InodeId::ROOT && !above.contains_key(&at) {
            let parent = match reader.parent(at) {
                Ok(parent) => parent.answer.inode,
                Err(FsError::Stale(_)) => break,
                Err(other) => return Err(other),
            };
            above.insert(at, parent);
            inside.entry(parent).or_default().insert(at);
            at = parent;
        }
    }
    let mut names = BTreeMap::new();
    for (parent, looked_for) in inside {
        find_names(reader, parent, looked_for, &mut names)?;
    }
    let path_of = |directory: &InodeId| {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut at = *directory;
        while at != InodeId::ROOT {
            parts.push(names.get(&at)?);
            at = *above.get(&at).filter(|_| parts.len() <= above.len())?;
        }
        parts.reverse();
        let path = [b"/", parts.join(&b'/').as_slice()].concat();
        Some((*directory, Bytes::from(path)))
    };
    Ok(directories.iter().filter_map(path_of).collect())
}

/// The names that inodes have in one directory.
fn find_names(
    reader: &Reader,
    parent: InodeId,
    mut looked_for: BTreeSet<InodeId>,
    names: &mut BTreeMap<InodeId, Vec<u8>>,
) -> Result<(), FsError> {
    let mut after: Cookie = 0;
    while !looked_for.is_empty() {
        let page = match reader.readdir(parent, after, ENTRIES_PER_ANSWER_MAX, false, |_| false) {
            Ok(page) => page.answer,
            Err(FsError::Stale(_)) => return Ok(()),
            Err(other) => return Err(other),
        };
        for entry in &page.entries {
            if looked_for.remove(&entry.inode) {
                names.insert(entry.inode, entry.name.as_bytes().to_vec());
            }
            after = entry.cookie;
        }
        if page.complete {
            break;
        }
    }
    Ok(())
}
