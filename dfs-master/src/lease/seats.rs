//! The seats of the sessions: renewals, expiry, and the events that each has yet to be told.
//!
//! A session acknowledges events by asking for those after them. Numbers begin with the boot of the
//! leader, so that a session which counts from before it acknowledges nothing.

use dfs_proto::{
    id::{COUNTER_BITS, SessionId},
    session::Event,
};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::sync::watch;

/// Time without a renewal after which a session is fenced.
pub const TERM: Duration = Duration::from_secs(30);
/// For so long after a renewal a session may use what was leased to it.
pub const LEASE_TERM: Duration = Duration::from_secs(8);
/// Clocks of two machines may differ by so much in that time.
const LEASE_SLACK: Duration = Duration::from_millis(500);
/// Events that wait for one session, at the most; beyond that it forgets everything instead.
const EVENTS_MAX: usize = 10_000;

struct Seat {
    renewed: Duration,
    /// Whether the session has told this leader what it saw of the log, or has never seen one.
    known: watch::Sender<bool>,
    /// Whether it has, besides, forgotten what an earlier leader leased to it.
    confirmed: watch::Sender<bool>,
    /// Numbered up to `last`, oldest first.
    events: VecDeque<Event>,
    last: watch::Sender<u64>,
    /// The last event that it acknowledged.
    heard: watch::Sender<u64>,
}

/// Whether a session has acknowledged an event.
#[derive(Debug)]
pub enum Heard {
    /// It has, or it has ended.
    Yes,
    /// It has not, and may not use what it keeps any more. What it wrote it may have still.
    Silent,
    /// Not yet: look again when this changes, or at this moment.
    NotYet(watch::Receiver<u64>, Duration),
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
pub struct Seats {
    seats: HashMap<SessionId, Seat>,
    /// Events are numbered from here.
    base: u64,
    /// How many are not confirmed.
    unconfirmed: watch::Sender<usize>,
}

impl Seats {
    /// None yet, for the leader of this boot.
    pub fn of(boot: u64) -> Seats {
        Seats {
            seats: HashMap::new(),
            base: boot << COUNTER_BITS,
            unconfirmed: watch::Sender::new(0),
        }
    }

    /// A session begins.
    pub fn open(&mut self, session: SessionId, now: Duration) {
        self.seat(session, now, true);
    }

    /// A session is known from before this leader. It may have seen what a power cut took, and is not
    /// served before it has told that; and it keeps what it was leased, and is told to forget that.
    pub fn keep(&mut self, session: SessionId, now: Duration) {
        self.seat(session, now, false);
        self.tell(session, Event::ForgetAll);
        self.count();
    }

    /// Becomes 0 when every session from before this leader has confirmed or ended.
    pub fn unconfirmed(&self) -> watch::Receiver<usize> {
        self.unconfirmed.subscribe()
    }

    /// Which have not.
    pub fn are_unconfirmed(&self) -> Vec<SessionId> {
        let seats = self.seats.iter();
        let waits = seats.filter(|(_, seat)| !*seat.confirmed.borrow());
        waits.map(|(session, _)| *session).collect()
    }

    fn count(&self) {
        let seats = self.seats.values();
        let waits = seats.filter(|seat| !*seat.confirmed.borrow()).count();
        self.unconfirmed.send_replace(waits);
    }

    fn seat(&mut self, session: SessionId, now: Duration, confirmed: bool) {
        let last = watch::Sender::new(self.base);
        self.seats.insert(
            session,
            Seat {
                renewed: now,
                known: watch::Sender::new(confirmed),
                confirmed: watch::Sender::new(confirmed),
                events: VecDeque::new(),
                last,
                heard: watch::Sender::new(0),
            },
        );
    }

    /// A session has ended; who hangs for its events is woken.
    pub fn end(&mut self, session: SessionId) {
        self.seats.remove(&session);
        self.count();
    }

    /// Whether it is open.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.seats.contains_key(&session)
    }

    /// Whether it keeps nothing from before this leader; `None` if it is not open.
    pub fn is_confirmed(&self, session: SessionId) -> Option<bool> {
        self.seats
            .get(&session)
            .map(|seat| *seat.confirmed.borrow())
    }

    /// It has told what it saw, and the log has it.
    pub fn is_known(&self, session: SessionId) {
        if let Some(seat) = self.seats.get(&session) {
            seat.known
                .send_if_modified(|known| !std::mem::replace(known, true));
        }
    }

    /// Becomes true when the session has told what it saw, and closes when it ends.
    pub fn acquaintance(&self, session: SessionId) -> Option<watch::Receiver<bool>> {
        self.seats.get(&session).map(|seat| seat.known.subscribe())
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

    /// Tells one session; the number of the event, if there is such a session.
    pub fn tell(&mut self, session: SessionId, event: Event) -> Option<u64> {
        self.seats.get_mut(&session).map(|seat| seat.push(event))
    }

    /// Whether a session has acknowledged the event of this number.
    pub fn heard(&self, session: SessionId, number: u64, now: Duration) -> Heard {
        let Some(seat) = self.seats.get(&session) else {
            return Heard::Yes;
        };
        let until = seat.renewed + LEASE_TERM + LEASE_SLACK;
        match (*seat.heard.borrow() >= number, now >= until) {
            (true, _) => Heard::Yes,
            (false, true) => Heard::Silent,
            (false, false) => Heard::NotYet(seat.heard.subscribe(), until),
        }
    }

    /// Tells all of them.
    pub fn tell_all(&mut self, event: &Event) {
        for seat in self.seats.values_mut() {
            seat.push(event.clone());
        }
    }

    /// What happened after event `after`, which acknowledges everything up to it; `None` if there
    /// is no such session. A session from before this leader is confirmed when it has forgotten
    /// what it was told to forget.
    pub fn after(&mut self, session: SessionId, after: u64) -> Option<Told> {
        let seat = self.seats.get_mut(&session)?;
        let last = *seat.last.borrow();
        let after = after.clamp(self.base, last);
        let first = last - seat.events.len() as u64;
        for _ in first..after {
            seat.events.pop_front();
        }
        let told = Told {
            last,
            events: seat.events.iter().cloned().collect(),
        };
        seat.heard.send_if_modified(|heard| {
            let more = *heard < after;
            *heard = after.max(*heard);
            more
        });
        let confirms = after > self.base && !*seat.confirmed.borrow();
        if confirms {
            seat.confirmed.send_replace(true);
            self.count();
        }
        Some(told)
    }

    /// Changes when there is something new to tell, or closes when the session ends.
    pub fn watch(&self, session: SessionId) -> Option<watch::Receiver<u64>> {
        self.seats.get(&session).map(|seat| seat.last.subscribe())
    }
}

impl Seat {
    fn push(&mut self, event: Event) -> u64 {
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
        *self.last.borrow()
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
        let mut seats = Seats::of(0);
        seats.open(SESSION, at(10));
        assert!(seats.expired(at(40)).is_empty());
        assert_eq!(seats.expired(at(41)), [SESSION]);
        assert!(seats.renew(SESSION, at(41)));
        assert!(seats.expired(at(71)).is_empty());
        assert_eq!(seats.is_confirmed(SESSION), Some(true));
        seats.keep(SESSION, at(71));
        seats.renew_all(at(100));
        assert!(seats.expired(at(130)).is_empty());
        seats.end(SESSION);
        assert!(!seats.renew(SESSION, at(131)) && !seats.is_open(SESSION));
    }

    #[test]
    fn events_are_told_until_they_are_acknowledged() {
        let mut seats = Seats::of(0);
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
    }

    #[test]
    fn a_session_of_an_earlier_leader_is_served_when_it_has_forgotten() {
        let mut seats = Seats::of(2);
        let base = 2 << COUNTER_BITS;
        seats.keep(SESSION, Duration::ZERO);
        let mut waiting = seats.unconfirmed();
        assert_eq!(*waiting.borrow_and_update(), 1);
        for before in [0, 70, 1 << COUNTER_BITS | 9] {
            let told = seats.after(SESSION, before).expect("there");
            assert_eq!((told.last, told.events), (base + 1, vec![Event::ForgetAll]));
            assert_eq!(seats.is_confirmed(SESSION), Some(false));
        }
        let told = seats.after(SESSION, base + 1).expect("there");
        assert_eq!((told.last, told.events.len()), (base + 1, 0));
        assert_eq!(seats.is_confirmed(SESSION), Some(true));
        assert_eq!(*waiting.borrow_and_update(), 0);
    }

    #[test]
    fn who_was_told_is_waited_for_until_it_has_forgotten_or_may_not_use_what_it_has() {
        let at = Duration::from_secs;
        let mut seats = Seats::of(0);
        seats.open(SESSION, at(10));
        let told = seats
            .tell(SESSION, Event::SealSoon(BlockId(1)))
            .expect("there");
        let Heard::NotYet(_, until) = seats.heard(SESSION, told, at(12)) else {
            panic!("nothing was acknowledged");
        };
        assert_eq!(until, at(18) + LEASE_SLACK);
        assert!(matches!(seats.heard(SESSION, told, until), Heard::Silent));
        seats.renew(SESSION, at(13));
        assert!(matches!(
            seats.heard(SESSION, told, until),
            Heard::NotYet(..)
        ));
        seats.after(SESSION, told);
        assert!(matches!(seats.heard(SESSION, told, at(14)), Heard::Yes));
        let next = seats.tell(SESSION, Event::ForgetAll).expect("there");
        seats.end(SESSION);
        assert!(matches!(seats.heard(SESSION, next, at(14)), Heard::Yes));
    }

    #[test]
    fn an_endless_queue_becomes_one_forget() {
        let mut seats = Seats::of(0);
        seats.open(SESSION, Duration::ZERO);
        for n in 0..=(EVENTS_MAX as u64) {
            seats.tell(SESSION, Event::SealSoon(BlockId(n)));
        }
        let told = seats.after(SESSION, 0).expect("there");
        assert_eq!(told.events.len(), 2);
        assert_eq!(told.events[0], Event::ForgetAll);
    }
}
