//! Where inodes are, for people.
//!
//! A directory knows the one above it and not its name there: paths are found by going over listings,
//! each once for all that is looked for in it. A file does not know where its names are: all there are
//! have to be gone over. Only people ask for them.

use crate::engine::{leader::Leader, reader::Reader};
use bytes::Bytes;
use dfs_host::threads;
use dfs_proto::{
    error::FsError,
    id::InodeId,
    service::INODES_PER_QUESTION_MAX,
    view::{Cookie, ENTRIES_PER_ANSWER_MAX},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Going over all names may take so long; what was found by then is told.
const PATHS_MAX: Duration = Duration::from_secs(60);

/// A path of each of these inodes that has one.
pub(super) async fn of(
    leader: &Leader,
    inodes: Vec<InodeId>,
) -> Result<Vec<(InodeId, Bytes)>, FsError> {
    if inodes.len() > INODES_PER_QUESTION_MAX as usize {
        return Err(FsError::Invalid(format!(
            "too many inodes at once: {INODES_PER_QUESTION_MAX} at the most"
        )));
    }
    let asked: BTreeSet<InodeId> = inodes.into_iter().collect();
    let clock = Arc::clone(&leader.clock);
    look(leader, move |reader| {
        let until = clock.monotonic() + PATHS_MAX;
        let named = reader.names_of(&asked, || clock.monotonic() < until)?;
        let directories = named.values().map(|(parent, _)| *parent).collect();
        let above = paths(reader, directories)?;
        let path = |(inode, (parent, name)): (InodeId, (InodeId, Vec<u8>))| {
            let above = above.get(&parent)?;
            let above = above.strip_suffix(b"/").unwrap_or(above);
            Some((inode, Bytes::from([above, b"/", &name].concat())))
        };
        Ok(named.into_iter().filter_map(path).collect())
    })
    .await
}

/// Where directories are. One that has no name, or moves just now, is left out.
pub(super) async fn of_directories(
    leader: &Leader,
    directories: Vec<InodeId>,
) -> Result<BTreeMap<InodeId, Bytes>, FsError> {
    look(leader, move |reader| paths(reader, directories)).await
}

/// Goes over listings beside everybody else.
async fn look<T: Send + 'static>(
    leader: &Leader,
    work: impl FnOnce(&Reader) -> Result<T, FsError> + Send + 'static,
) -> Result<T, FsError> {
    let reader = leader.reader.clone();
    let found = threads::blocking(move || work(&reader)).await;
    found.map_err(|error| FsError::Unavailable(error.to_string()))?
}

fn paths(reader: &Reader, directories: Vec<InodeId>) -> Result<BTreeMap<InodeId, Bytes>, FsError> {
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
