//! Policies, as people set them and look at them: by directories that have paths.

use super::paths;
use crate::engine::{command::Act, leader::Leader, ticks};
use dfs_proto::{
    block::Copies,
    error::FsError,
    id::InodeId,
    minion::Liveness,
    service::{POLICIES_PER_ANSWER_MAX, PolicyStatus},
};

/// Gives a directory a policy, or takes its own away. What is there follows at once if that is little,
/// and in the background if not; copies are made and given up as the survey comes by.
pub(super) async fn set(
    leader: &Leader,
    directory: InodeId,
    copies: Option<Copies>,
) -> Result<(), FsError> {
    leader.act(Act::Policy { directory, copies }).await?;
    tracing::info!(%directory, ?copies, "a policy was set, or taken away");
    ticks::count_at_once(leader).await;
    leader.survey.lock().restart();
    Ok(())
}

/// A page of all policies.
pub(super) async fn page(
    leader: &Leader,
    after: InodeId,
    limit: u32,
) -> Result<Vec<PolicyStatus>, FsError> {
    let limit = limit.clamp(1, POLICIES_PER_ANSWER_MAX);
    let limit = usize::try_from(limit).expect("32 bits");
    let policies = leader.reader.policies(after, limit)?;
    let directories = policies.iter().map(|(directory, _)| *directory);
    let paths = paths::of_directories(leader, directories.collect()).await?;
    let alive = alive(leader);
    let passing_on = leader.reader.is_counting()?;
    let status = policies.into_iter().map(|(directory, copies)| {
        let now = leader.copies(Some(copies));
        PolicyStatus {
            directory,
            path: paths.get(&directory).cloned().unwrap_or_default(),
            copies,
            now,
            writable: usize::try_from(now.least).is_ok_and(|least| least <= alive),
            passing_on,
        }
    });
    Ok(status.collect())
}

/// How many directories have a policy that demands more copies than there are minions for, of the first
/// ones.
pub(super) fn unwritable(leader: &Leader) -> Result<usize, FsError> {
    let limit = usize::try_from(POLICIES_PER_ANSWER_MAX).expect("32 bits");
    let policies = leader.reader.policies(InodeId(0), limit)?;
    let alive = alive(leader);
    let needs = |(_, copies): &(InodeId, Copies)| leader.copies(Some(*copies)).least;
    let beyond = |least| usize::try_from(least).is_ok_and(|least| least > alive);
    Ok(policies
        .iter()
        .map(needs)
        .filter(|least| beyond(*least))
        .count())
}

fn alive(leader: &Leader) -> usize {
    let roster = leader.roster.lock();
    let stay = roster.iter().filter(|(_, member)| !member.drains);
    stay.filter(|(_, member)| member.liveness == Liveness::Alive)
        .count()
}
