//! Talking to a master: reach it in time, ask it, and follow paths in its file system.

use crate::{
    failure::Failure,
    place::{Masters, Place},
    text::printable,
};
use dfs_proto::{
    attr::{Attr, FileKind},
    block::{Copies, ReplicaState},
    error::FsError,
    id::{BlockId, InodeId, MinionId},
    log::{BackupPart, StreamSpot},
    service::{
        AdminClient, BLOCKS_PER_ANSWER_MAX, BlockRecord, POLICIES_PER_ANSWER_MAX, PolicyStatus,
        QUOTAS_PER_ANSWER_MAX, QuotaStatus, Status, TablesCheck, TablesWish,
    },
    session::BadReplica,
    view::{Cookie, Layout, Limits, Listing},
    wire::{Address, Client, Greeting, ServiceKind, dial, within},
};
use std::{path::Path, time::Duration};
use tarpc::client::RpcError;
use tokio::time::Instant;

/// How long one page of a listing may take, once the master has answered at all.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may take to go over all names.
const PATHS_TIMEOUT: Duration = Duration::from_secs(90);

/// How long one part of a backup may take.
const BACKUP_TIMEOUT: Duration = Duration::from_secs(90);

/// Symbolic links that one path may lead over.
const LINKS_MAX: u32 = 40;

/// A master that answered.
pub(crate) struct Admin {
    client: AdminClient,
    masters: Masters,
    /// Which of them it is.
    pub(crate) address: Address,
    /// Until when the first answer must be there.
    first: Instant,
}

impl Admin {
    /// The first of the masters that answers, if one does within `timeout`.
    pub(crate) async fn reach(masters: Masters, timeout: Duration) -> Result<Admin, Failure> {
        let first = Instant::now() + timeout;
        let greeting = Greeting {
            service: ServiceKind::Admin,
            filesystem: None,
        };
        let mut said = Vec::new();
        let mut left = u32::try_from(masters.addresses.len()).unwrap_or(u32::MAX);
        for address in &masters.addresses {
            // Each of those left gets an equal part of what is left of the time.
            let part = first.duration_since(Instant::now()) / left.max(1);
            left -= 1;
            match dial(address, &greeting, part).await {
                Ok(dialed) => {
                    return Ok(Admin {
                        client: AdminClient::over(dialed.link),
                        address: address.clone(),
                        masters,
                        first,
                    });
                }
                Err(error) => said.push(error.to_string()),
            }
        }
        Err(Failure::Unreachable {
            why: said.join("; "),
            asked: masters.because,
        })
    }

    /// The state of the cluster.
    pub(crate) async fn status(&self) -> Result<Status, Failure> {
        let left = self.first.duration_since(Instant::now());
        let answer = self.client.status(within(left)).await;
        self.answer("status", answer)
    }

    /// A part of a directory.
    pub(crate) async fn list(
        &self,
        inode: InodeId,
        after: Cookie,
        limit: u32,
    ) -> Result<Listing, Failure> {
        let answer = self.client.list(within(PAGE_TIMEOUT), inode, after, limit);
        self.answer("the directory", answer.await)
    }

    /// Where the bytes of a file are; `None` if they are inline.
    pub(crate) async fn layout(
        &self,
        inode: InodeId,
        from: u64,
    ) -> Result<Option<Layout>, Failure> {
        let answer = self.client.layout(within(PAGE_TIMEOUT), inode, from);
        self.answer("the layout", answer.await)
    }

    /// Where a symbolic link leads.
    pub(crate) async fn target(&self, inode: InodeId) -> Result<Vec<u8>, Failure> {
        let answer = self.client.target(within(PAGE_TIMEOUT), inode).await;
        self.answer("the link", answer)
            .map(|target| target.to_vec())
    }

    /// Gives a directory a quota.
    pub(crate) async fn set_quota(
        &self,
        what: &str,
        directory: InodeId,
        limits: Limits,
    ) -> Result<QuotaStatus, Failure> {
        let set = self
            .client
            .set_quota(within(PAGE_TIMEOUT), directory, limits);
        self.answer(what, set.await)
    }

    /// Takes the quota of a directory away.
    pub(crate) async fn remove_quota(&self, what: &str, directory: InodeId) -> Result<(), Failure> {
        let removed = self.client.remove_quota(within(PAGE_TIMEOUT), directory);
        self.answer(what, removed.await)
    }

    /// Gives a directory a policy, or takes its own away.
    pub(crate) async fn set_policy(
        &self,
        what: &str,
        directory: InodeId,
        copies: Option<Copies>,
    ) -> Result<(), Failure> {
        let set = self
            .client
            .set_policy(within(PAGE_TIMEOUT), directory, copies);
        self.answer(what, set.await)
    }

    /// All policies, in the order of their paths.
    pub(crate) async fn policies(&self) -> Result<Vec<PolicyStatus>, Failure> {
        let mut policies: Vec<PolicyStatus> = Vec::new();
        loop {
            let after = policies.last().map_or(InodeId(0), |last| last.directory);
            let most = POLICIES_PER_ANSWER_MAX;
            let page = self
                .client
                .policies(within(PAGE_TIMEOUT), after, most)
                .await;
            let page = self.answer("policies", page)?;
            if page.is_empty() {
                policies.sort_by(|a, b| a.path.cmp(&b.path));
                return Ok(policies);
            }
            policies.extend(page);
        }
    }

    /// The quotas that an inode is counted in, the nearest first.
    pub(crate) async fn quotas_of(&self, inode: InodeId) -> Result<Vec<QuotaStatus>, Failure> {
        let quotas = self.client.quotas_of(within(PAGE_TIMEOUT), inode).await;
        self.answer("quotas", quotas)
    }

    /// A part of all quotas.
    pub(crate) async fn quotas(&self, after: InodeId) -> Result<Vec<QuotaStatus>, Failure> {
        let most = QUOTAS_PER_ANSWER_MAX;
        let quotas = self.client.quotas(within(PAGE_TIMEOUT), after, most).await;
        self.answer("quotas", quotas)
    }

    /// Drains a minion, or does so no more.
    pub(crate) async fn drain(&self, minion: MinionId, drains: bool) -> Result<(), Failure> {
        let done = self.client.drain(within(PAGE_TIMEOUT), minion, drains);
        self.answer(&format!("minion {minion}"), done.await)
    }

    /// Forgets a minion.
    pub(crate) async fn remove_minion(&self, minion: MinionId, lose: bool) -> Result<(), Failure> {
        let done = self
            .client
            .remove_minion(within(PAGE_TIMEOUT), minion, lose);
        self.answer(&format!("minion {minion}"), done.await)
    }

    /// A part of all blocks.
    pub(crate) async fn blocks(&self, after: BlockId) -> Result<Vec<BlockRecord>, Failure> {
        let most = BLOCKS_PER_ANSWER_MAX;
        let blocks = self.client.blocks(within(PAGE_TIMEOUT), after, most).await;
        self.answer("blocks", blocks)
    }

    /// These blocks, as far as they are known.
    pub(crate) async fn blocks_of(&self, blocks: &[BlockId]) -> Result<Vec<BlockRecord>, Failure> {
        let blocks = blocks.to_vec();
        let found = self.client.blocks_of(within(PAGE_TIMEOUT), blocks).await;
        self.answer("blocks", found)
    }

    /// Has bad replicas looked after.
    pub(crate) async fn heal(&self, bad: &[BadReplica]) -> Result<(), Failure> {
        let heard = self.client.heal(within(PAGE_TIMEOUT), bad.to_vec()).await;
        self.answer("bad replicas", heard)
    }

    /// Has the master compare what a minion holds.
    pub(crate) async fn compare(
        &self,
        minion: MinionId,
        held: &[ReplicaState],
    ) -> Result<(), Failure> {
        let held = held.to_vec();
        let heard = self.client.compare(within(PAGE_TIMEOUT), minion, held);
        self.answer(&format!("minion {minion}"), heard.await)
    }

    /// Begins a check of the tables, or asks how far it is.
    pub(crate) async fn check_tables(&self, wish: TablesWish) -> Result<TablesCheck, Failure> {
        let told = self.client.check_tables(within(PAGE_TIMEOUT), wish).await;
        self.answer("the check of the tables", told)
    }

    /// A path, for people, of each of these inodes that has one.
    pub(crate) async fn paths_of(
        &self,
        inodes: &[InodeId],
    ) -> Result<Vec<(InodeId, String)>, Failure> {
        let inodes = inodes.to_vec();
        let paths = self.client.paths_of(within(PATHS_TIMEOUT), inodes).await;
        let paths = self.answer("the paths", paths)?.into_iter();
        Ok(paths
            .map(|(inode, path)| (inode, printable(&path)))
            .collect())
    }

    /// A part of a backup; the first waits for a checkpoint.
    pub(crate) async fn backup(&self, at: Option<StreamSpot>) -> Result<BackupPart, Failure> {
        let part = self.client.backup(within(BACKUP_TIMEOUT), at).await;
        self.answer("the backup", part)
    }

    /// What a path names, over symbolic links on the way (and at its end, if `follow`).
    pub(crate) async fn find(&self, place: &Place, follow: bool) -> Result<Attr, Failure> {
        let mut path = place.path.clone();
        for _ in 0..=LINKS_MAX {
            let end = path.len();
            let (at, found) = match self.find_exact(&path).await {
                Ok(attr) if attr.kind == FileKind::Symlink && follow => (end, attr),
                Ok(attr) => return Ok(attr),
                // Something on the way is no directory: a link, perhaps.
                Err(refused) => match self.first_link(&path).await? {
                    Some(link) => link,
                    None => return Err(refused),
                },
            };
            let target = self.target(found.inode).await?;
            path = self.joined(place, &path, at, &target)?;
        }
        Err(Failure::Loop(printable(&place.path)))
    }

    async fn find_exact(&self, path: &[u8]) -> Result<Attr, Failure> {
        let left = self.first.duration_since(Instant::now());
        let context = within(left.max(PAGE_TIMEOUT));
        let answer = self.client.find(context, path.to_vec().into()).await;
        self.answer(&printable(path), answer)
    }

    /// The first symbolic link that a path goes through, and how much of the path names it.
    async fn first_link(&self, path: &[u8]) -> Result<Option<(usize, Attr)>, Failure> {
        let slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/');
        for (end, _) in slashes.skip(1) {
            match self.find_exact(&path[..end]).await {
                Ok(attr) if attr.kind == FileKind::Symlink => return Ok(Some((end, attr))),
                Ok(_) => {}
                Err(Failure::Refused { .. }) => return Ok(None),
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }

    /// The path after the link that its first `end` bytes name has been followed.
    fn joined(
        &self,
        place: &Place,
        path: &[u8],
        end: usize,
        target: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        let leads_out = || Failure::LeadsOut {
            link: printable(&path[..end]),
            target: printable(target),
        };
        let within_mount = match (&place.mounted, target.first()) {
            (Some(point), Some(b'/')) => Some(below(target, point).ok_or_else(leads_out)?.to_vec()),
            (None, Some(b'/')) => return Err(leads_out()),
            _ => None,
        };
        let folder = path[..end].iter().rposition(|b| *b == b'/').unwrap_or(0);
        let from = within_mount.unwrap_or_else(|| [&path[..=folder], target].concat());
        normal(&[&from, &path[end..]].concat()).ok_or_else(leads_out)
    }

    fn answer<T>(
        &self,
        what: &str,
        answer: Result<Result<T, FsError>, RpcError>,
    ) -> Result<T, Failure> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(Failure::Refused {
                what: what.to_owned(),
                source,
            }),
            Err(error) => Err(Failure::Unreachable {
                why: match error {
                    RpcError::DeadlineExceeded => {
                        format!("{} did not answer in time", self.address)
                    }
                    other => format!("{}: {other}", self.address),
                },
                asked: self.masters.because.clone(),
            }),
        }
    }
}

/// What of an absolute path lies below a mount, with a `/` in front.
fn below<'a>(path: &'a [u8], point: &Path) -> Option<&'a [u8]> {
    use std::os::unix::ffi::OsStrExt;
    let rest = path.strip_prefix(point.as_os_str().as_bytes())?;
    match rest {
        [] => Some(b"/"),
        [b'/', ..] => Some(rest),
        _ => None,
    }
}

/// A path without `.`, `..` and empty names; `None` if it climbs above its root.
fn normal(path: &[u8]) -> Option<Vec<u8>> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop()?;
            }
            name => names.push(name),
        }
    }
    Some([b"/", names.join(&b'/').as_slice()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain() {
        assert_eq!(normal(b"/a/./b/../c//d").as_deref(), Some(&b"/a/c/d"[..]));
        assert_eq!(normal(b"/").as_deref(), Some(&b"/"[..]));
        assert_eq!(normal(b"/a/../.."), None);
    }

    #[test]
    fn links_into_the_mount_stay_in_it() {
        let point = Path::new("/mnt/dfs");
        assert_eq!(below(b"/mnt/dfs/a", point), Some(&b"/a"[..]));
        assert_eq!(below(b"/mnt/dfs", point), Some(&b"/"[..]));
        assert_eq!(below(b"/mnt/dfsx", point), None);
    }
}
