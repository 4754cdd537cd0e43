//! A session that has ended stays ended: what fences a client is not taken back.

use crate::world::World;
use dfs_proto::id::SessionId;
use std::collections::BTreeSet;

/// Those that were seen to have ended, in a log that was synced since.
#[derive(Default)]
pub(crate) struct Ended {
    /// The log index at which they were seen, and they.
    fresh: Vec<(u64, SessionId)>,
    sure: BTreeSet<SessionId>,
}

impl Ended {
    /// Looks at all of them.
    pub(crate) fn step(&mut self, world: &World) {
        let leader = world.leader.borrow();
        let Some(leader) = leader.as_ref() else {
            // What was not synced may be forgotten.
            self.fresh.clear();
            return;
        };
        let (_, applied, synced) = leader.group.progress();
        let Ok(sessions) = leader.reader.sessions(SessionId(0), 1000) else {
            return;
        };
        let synced = self.fresh.extract_if(.., |(index, _)| *index <= synced);
        self.sure.extend(synced.map(|(_, session)| session));
        for (session, row) in sessions {
            if row.ended {
                self.fresh.push((applied, session));
            } else if self.sure.contains(&session) {
                let wrong = format!("session {session} had ended, and is back");
                world.book().violated(wrong);
            }
        }
    }
}
