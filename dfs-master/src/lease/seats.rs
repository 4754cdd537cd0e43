//! The seats of the sessions: renewals, expiry, and the events that each has yet to be told.

use dfs_proto::{id::SessionId, session::Event};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::sync::watch;

/// Time without a renewal after which a session is fenced.
pub const TERM: Duration = Duration::from_secs(30);
/// Events that wait for one session, at the most; beyond that it forgets everything instead.
const EVENTS_MAX: usize = 10_000;

struct Seat {
    renewed: Duration,
    /// Whether the session has told what it saw of the log, or has never seen another leader.
    confirmed: watch::Sender<bool>,
    /// Numbered up to `last`, oldest first.
    events: VecDeque<Event>,
    last: watch::Sender<u64>,
}

/// What a session is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The number of the last event.
    pub last: u64,
    /// The events.
    pub events: Vec<Event>,
}

/// One seat for each session that is open.
#[derive(Default)]
pub struct Seats {
    seats: HashMap<SessionId, Seat>,
}

impl Seats {
    /// A session begins.
    pub fn open(&mut self, session: SessionId, now: Duration) {
        self.seat(session, now, true);
    }

    /// A session is known from before this leader. It may have seen what a power cut took, and is
    /// not served before it has told what it saw ([`Seats::confirm`]).
    pub fn keep(&mut self, session: SessionId, now: Duration) {
        self.seat(session, now, false);
    }

    fn seat(&mut self, session: SessionId, now: Duration, confirmed: bool) {
        let last = watch::Sender::new(0);
        self.seats.insert(
            session,
            Seat {
                renewed: now,
                confirmed: watch::Sender::new(confirmed),
                events: VecDeque::new(),
                last,
            },
        );
    }

    /// A session has ended; who hangs for its events is woken.
    pub fn end(&mut self, session: SessionId) {
        self.seats.remove(&session);
    }

    /// Whether it is open.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.seats.contains_key(&session)
    }

    /// Whether it has told what it saw; `None` if it is not open.
    pub fn is_confirmed(&self, session: SessionId) -> Option<bool> {
        self.seats
            .get(&session)
            .map(|seat| *seat.confirmed.borrow())
    }

    /// It has told what it saw, and the log has all of it.
    pub fn confirm(&self, session: SessionId) {
        if let Some(seat) = self.seats.get(&session) {
            seat.confirmed.send_replace(true);
        }
    }

    /// Becomes true when the session is confirmed, and closes when it ends.
    pub fn confirmation(&self, session: SessionId) -> Option<watch::Receiver<bool>> {
        self.seats
            .get(&session)
            .map(|seat| seat.confirmed.subscribe())
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// A sign of life; `false` if there is no such session.
    pub fn renew(&mut self, session: SessionId, now: Duration) -> bool {
        match self.seats.get_mut(&session) {
            Some(seat) => {
                seat.renewed = seat.renewed.max(now);
                true
            }
            None => false,
        }
    }

    /// How long ago it was renewed.
    pub fn silence(&self, session: SessionId, now: Duration) -> Option<Duration> {
        self.seats
            .get(&session)
            .map(|seat| now.saturating_sub(seat.renewed))
    }

    /// Everyone gets a full term from now on: this leader is new, or did not listen for a while.
    pub fn renew_all(&mut self, now: Duration) {
        for seat in self.seats.values_mut() {
            seat.renewed = seat.renewed.max(now);
        }
    }

    /// Those that did not renew within their term.
    pub fn expired(&self, now: Duration) -> Vec<SessionId> {
        let late = self
            .seats
            .iter()
            .filter(|(_, s)| now.saturating_sub(s.renewed) > TERM);
        let mut late: Vec<SessionId> = late.map(|(session, _)| *session).collect();
        late.sort_unstable();
        late
    }

    /// Tells one session.
    pub fn tell(&mut self, session: SessionId, event: Event) {
        if let Some(seat) = self.seats.get_mut(&session) {
            seat.push(event);
        }
    }

    /// Tells all of them.
    pub fn tell_all(&mut self, event: &Event) {
        for seat in self.seats.values_mut() {
            seat.push(event.clone());
        }
    }

    /// What happened after event `after`, which forgets everything up to it; `None` if there is no
    /// such session.
    pub fn after(&mut self, session: SessionId, after: u64) -> Option<Told> {
        let seat = self.seats.get_mut(&session)?;
        let last = *seat.last.borrow();
        if after > last {
            // It counts from before this leader.
            let waiting = seat.events.len() as u64;
            seat.last.send_replace(after + waiting);
        }
        let last = *seat.last.borrow();
        let first = last - seat.events.len() as u64;
        for _ in first..after {
            seat.events.pop_front();
        }
        Some(Told {
            last,
            events: seat.events.iter().cloned().collect(),
        })
    }

    /// Changes when there is something new to tell, or closes when the session ends.
    pub fn watch(&self, session: SessionId) -> Option<watch::Receiver<u64>> {
        self.seats.get(&session).map(|seat| seat.last.subscribe())
    }
}

impl Seat {
    fn push(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.clear();
            self.events.push_back(Event::ForgetAll);
        }
        // Of the rosters only the newest matters; the older keep their numbers.
        if let (Event::Roster(_), Some(Event::Roster(_))) = (&event, self.events.back()) {
            self.events.pop_back();
        }
        self.events.push_back(event);
        self.last.send_modify(|last| *last += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfs_proto::id::BlockId;

    const SESSION: SessionId = SessionId(5);

    #[test]
    fn sessions_expire_after_a_term_without_renewal() {
        let at = Duration::from_secs;
        let mut seats = Seats::default();
        seats.open(SESSION, at(10));
        assert!(seats.expired(at(40)).is_empty());
        assert_eq!(seats.expired(at(41)), [SESSION]);
        assert!(seats.renew(SESSION, at(41)));
        assert!(seats.expired(at(71)).is_empty());
        assert_eq!(seats.is_confirmed(SESSION), Some(true));
        seats.keep(SESSION, at(71));
        assert_eq!(seats.is_confirmed(SESSION), Some(false));
        seats.confirm(SESSION);
        assert_eq!(seats.is_confirmed(SESSION), Some(true));
        seats.renew_all(at(100));
        assert!(seats.expired(at(130)).is_empty());
        seats.end(SESSION);
        assert!(!seats.renew(SESSION, at(131)) && !seats.is_open(SESSION));
    }

    #[test]
    fn events_are_told_until_they_are_acknowledged() {
        let mut seats = Seats::default();
        seats.open(SESSION, Duration::ZERO);
        let soon = |n| Event::SealSoon(BlockId(n));
        seats.tell(SESSION, soon(1));
        seats.tell_all(&soon(2));
        let all = Told {
            last: 2,
            events: vec![soon(1), soon(2)],
        };
        assert_eq!(seats.after(SESSION, 0), Some(all.clone()));
        assert_eq!(seats.after(SESSION, 0), Some(all));
        assert_eq!(
            seats.after(SESSION, 1),
            Some(Told {
                last: 2,
                events: vec![soon(2)]
            })
        );
        assert_eq!(
            seats.after(SESSION, 2),
            Some(Told {
                last: 2,
                events: vec![]
            })
        );
        seats.tell(SESSION, Event::Roster(Vec::new()));
        seats.tell(SESSION, Event::Roster(Vec::new()));
        let told = seats.after(SESSION, 2).expect("there");
        assert_eq!((told.last, told.events.len()), (4, 1));
        // A session that counted under an earlier leader goes on counting.
        seats.tell(SESSION, soon(9));
        let told = seats.after(SESSION, 70).expect("there");
        let events = vec![Event::Roster(Vec::new()), soon(9)];
        assert_eq!(told, Told { last: 72, events });
        assert_eq!(
            seats.after(SESSION, 72),
            Some(Told {
                last: 72,
                events: vec![]
            })
        );
    }

    #[test]
    fn an_endless_queue_becomes_one_forget() {
        let mut seats = Seats::default();
        seats.open(SESSION, Duration::ZERO);
        for n in 0..=(EVENTS_MAX as u64) {
            seats.tell(SESSION, Event::SealSoon(BlockId(n)));
        }
        let told = seats.after(SESSION, 0).expect("there");
        assert_eq!(told.events.len(), 2);
        assert_eq!(told.events[0], Event::ForgetAll);
    }
}
