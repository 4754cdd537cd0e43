//! Quotas, as people set them and look at them: by directories that have paths.

use super::paths;
use crate::engine::{command::Act, leader::Leader, reader::QuotaRow, ticks};
use dfs_proto::{
    error::FsError,
    id::InodeId,
    service::{QUOTAS_PER_ANSWER_MAX, QuotaStatus},
    view::Limits,
};

/// Sets a quota. What is there is counted at once if that is little, and in the background if not.
pub(super) async fn set(
    leader: &Leader,
    directory: InodeId,
    limits: Limits,
) -> Result<QuotaStatus, FsError> {
    let limits = Some(limits);
    leader.act(Act::Quota { directory, limits }).await?;
    tracing::info!(%directory, ?limits, "a quota was set");
    ticks::count_at_once(leader).await;
    let quotas = of(leader, directory).await?;
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
    ticks::count_at_once(leader).await;
    Ok(())
}

/// The quotas that an inode is counted in, the nearest first.
pub(super) async fn of(leader: &Leader, inode: InodeId) -> Result<Vec<QuotaStatus>, FsError> {
    let quotas = leader.reader.quotas_of(inode)?;
    described(leader, quotas).await
}

/// A page of all quotas.
pub(super) async fn page(
    leader: &Leader,
    after: InodeId,
    limit: u32,
) -> Result<Vec<QuotaStatus>, FsError> {
    let limit = limit.clamp(1, QUOTAS_PER_ANSWER_MAX);
    let limit = usize::try_from(limit).expect("32 bits");
    described(leader, leader.reader.quotas(after, limit)?).await
}

async fn described(
    leader: &Leader,
    quotas: Vec<(InodeId, QuotaRow)>,
) -> Result<Vec<QuotaStatus>, FsError> {
    let directories = quotas.iter().map(|(directory, _)| *directory);
    let paths = paths::of_directories(leader, directories.collect()).await?;
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
