//! Minions, as people take them out: drained first, then forgotten.

use crate::{
    cluster::{self, Roster},
    engine::{command::Act, leader::Leader},
    repair::Survey,
};
use dfs_proto::{error::FsError, id::MinionId, minion::Liveness};

/// Drains a minion, or does so no more.
pub(super) async fn drain(leader: &Leader, minion: MinionId, drains: bool) -> Result<(), FsError> {
    if drains {
        may_drain(&leader.roster.lock(), minion, leader.copies)?;
    }
    leader.act(Act::DrainMinion { minion, drains }).await?;
    leader.roster.lock().drain(minion, drains);
    // What was counted before may lack a block that was placed there just now.
    *leader.survey.lock() = Survey::default();
    tracing::info!(%minion, drains, "minion is drained, or no more");
    Ok(())
}

fn may_drain(
    roster: &Roster,
    minion: MinionId,
    (copies, least): (Option<u32>, Option<u32>),
) -> Result<(), FsError> {
    if roster.get(minion).is_none() {
        return Err(FsError::UnknownMinion(minion));
    }
    if roster.drains(minion) {
        return Ok(());
    }
    let left = roster.staying() - 1;
    let least = cluster::copies(copies, least, roster.staying()).least;
    match left >= usize::try_from(least).unwrap_or(usize::MAX) {
        true => Ok(()),
        false => Err(FsError::Invalid(format!(
            "{left} of {} minions would be left, and a new block needs {least}: add a minion first, \
             or lower --copies-min of the master",
            roster.staying()
        ))),
    }
}

/// Forgets a minion.
pub(super) async fn remove(leader: &Leader, minion: MinionId, lose: bool) -> Result<(), FsError> {
    may_remove(&leader.roster.lock(), &leader.survey.lock(), minion, lose)?;
    leader.act(Act::RemoveMinion { minion }).await?;
    leader.roster.lock().remove(minion);
    leader.damaged.lock().retain(|(_, of)| *of != minion);
    leader.survey.lock().restart();
    leader.tell_roster();
    tracing::info!(%minion, "minion was removed");
    Ok(())
}

fn may_remove(
    roster: &Roster,
    survey: &Survey,
    minion: MinionId,
    lose: bool,
) -> Result<(), FsError> {
    let Some(member) = roster.get(minion) else {
        return Err(FsError::UnknownMinion(minion));
    };
    let refuse = |why: &str| Err(FsError::Invalid(why.to_owned()));
    let Some(tally) = survey.last() else {
        return refuse("the master is still counting what minions have: try again soon");
    };
    let replicas = tally.replicas.get(&minion).copied().unwrap_or(0);
    let drained = member.drains && replicas == 0;
    match member.liveness {
        Liveness::Alive if drained => {
            refuse("it is drained and still runs: stop it first, or it would come back")
        }
        Liveness::Alive => refuse(&format!(
            "it runs and has {replicas} replicas: `dfs minion drain {minion}` first"
        )),
        _ if drained || lose => Ok(()),
        Liveness::Suspect => {
            refuse("it is not known to be dead yet: wait, or start it and drain it")
        }
        Liveness::Dead => match tally.endangered.first() {
            Some(blocks) if *blocks > 0 => refuse(&format!(
                "{blocks} blocks have no copy on the other minions: start it again, or give them up with \
                 --lose-blocks"
            )),
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::Patience,
        engine::reader::{BlockRow, BlockState, ReplicaHealth, Wants},
    };
    use dfs_proto::{
        id::{BlockId, SessionId},
        minion::Registration,
    };
    use std::time::Duration;

    const ONE: MinionId = MinionId(1);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn roster(minions: u32) -> Roster {
        let mut roster = Roster::default();
        for number in 1..=minions {
            let registration = Registration {
                filesystem: None,
                minion: None,
                addresses: Vec::new(),
                host: format!("h{number}"),
                rack: String::new(),
                build: String::new(),
                disks: Vec::new(),
            };
            roster.register(MinionId(number), registration, 1, at(0));
        }
        roster
    }

    /// What a survey found of one block on these minions.
    fn survey(roster: &Roster, on: &[u32]) -> Survey {
        let replicas = on.iter().map(|n| (MinionId(*n), ReplicaHealth::Whole));
        let row = BlockRow {
            session: SessionId(1),
            replicas: replicas.collect(),
            placement: 1,
            state: BlockState::Sealed(1),
            synced: 1,
            punched: 0,
            wants: Wants::of(None),
            outgrown: false,
        };
        let mut survey = Survey::default();
        survey.page(&[(BlockId(1), row)], (2, 3), |of| roster.liveness(of));
        survey.page(&[], (2, 3), |of| roster.liveness(of));
        survey
    }

    fn refusal(outcome: Result<(), FsError>) -> String {
        outcome.expect_err("refused").to_string()
    }

    #[test]
    fn as_many_stay_as_new_blocks_need() {
        let mut roster = roster(3);
        assert_eq!(may_drain(&roster, ONE, (None, None)), Ok(()));
        roster.drain(ONE, true);
        assert_eq!(may_drain(&roster, ONE, (None, None)), Ok(()), "again");
        let said = refusal(may_drain(&roster, MinionId(2), (None, None)));
        assert!(said.contains("1 of 2 minions would be left"), "{said}");
        assert_eq!(may_drain(&roster, MinionId(2), (None, Some(1))), Ok(()));
        let unknown = may_drain(&roster, MinionId(7), (None, None));
        assert_eq!(unknown, Err(FsError::UnknownMinion(MinionId(7))));
    }

    #[test]
    fn only_who_is_gone_and_not_needed_is_removed() {
        let mut roster = roster(3);
        let remove = |roster: &Roster, survey: &Survey, lose| may_remove(roster, survey, ONE, lose);
        let said = refusal(remove(&roster, &Survey::default(), true));
        assert!(said.contains("still counting"), "{said}");
        let full = survey(&roster, &[1, 2]);
        let said = refusal(remove(&roster, &full, true));
        assert!(said.contains("`dfs minion drain 1` first"), "{said}");
        roster.drain(ONE, true);
        let said = refusal(remove(&roster, &survey(&roster, &[2, 3]), false));
        assert!(said.contains("stop it first"), "{said}");

        let patience = Patience::default();
        for minion in [2, 3] {
            roster.beat(MinionId(minion), 1, Vec::new(), at(28));
        }
        roster.judge(&patience, at(29));
        let said = refusal(remove(&roster, &full, false));
        assert!(said.contains("not known to be dead"), "{said}");
        assert_eq!(remove(&roster, &survey(&roster, &[2, 3]), false), Ok(()));

        roster.judge(&patience, at(30));
        assert_eq!(remove(&roster, &survey(&roster, &[1, 2]), false), Ok(()));
        let only = survey(&roster, &[1]);
        let said = refusal(remove(&roster, &only, false));
        assert!(said.contains("1 blocks have no copy"), "{said}");
        assert_eq!(remove(&roster, &only, true), Ok(()));
    }
}
