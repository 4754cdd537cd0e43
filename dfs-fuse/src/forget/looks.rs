//! The kernel's questions about a file that are being answered, or were a moment ago.
//!
//! The kernel takes nothing in of an answer if it was told to forget something after it had asked.
//! It then goes on with the size that it knew, and a reader who has just been told of more gets less,
//! or zeros. So the kernel is told to forget at a moment when it has taken in what it asked for. Where
//! that did not succeed it asks again before it reads, and then that answer is waited for before it is
//! told anything: a size that was told is at worst taken in with the next question.
//!
//! Waits are short and bounded: a reader that asks without end does not hold a writer up for ever.

use dfs_proto::{extent::FileRange, id::InodeId};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// The task that asked has run again so long after the answer was written.
const TAKEN_IN: Duration = Duration::from_millis(5);

/// So long a moment without a question is waited for.
const QUIET_WAIT: Duration = Duration::from_millis(20);

/// So long the next question after one in vain is waited for.
const AGAIN_WAIT: Duration = Duration::from_millis(60);

/// Between two looks.
const PACE: Duration = Duration::from_millis(1);

/// Inodes that are remembered before those of the past are forgotten.
const INODES_MAX: usize = 1024;

/// Pages may still go so long after the kernel was told to forget them, and bytes of a write that are
/// with the kernel only and not with us yet go with them. Who opens a file that nobody else has open
/// has no such write.
const UNSURE: Duration = Duration::from_secs(1);
const UNSURE_ALONE: Duration = Duration::from_millis(20);

/// What the kernel asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Attributes.
    Attributes,
    /// Bytes: those that it holds pages for.
    Pages(FileRange),
}

/// Bytes that the kernel holds pages for.
#[derive(Debug)]
struct Read {
    range: FileRange,
    answered: Option<Instant>,
}

#[derive(Debug)]
struct Look {
    /// Questions that are not answered yet.
    under_way: u32,
    /// Those for bytes, and others that were answered just now.
    reads: Vec<Read>,
    /// How often the kernel was told to forget.
    forgot: u64,
    /// How often it forgot pages besides.
    dropped: u64,
    /// It may be forgetting something until then.
    unsure: Option<Instant>,
    /// The last answer.
    answered: Instant,
    /// The last answer with attributes to what was asked since the kernel was told to forget.
    attributes: Option<Instant>,
    /// Attributes were answered in vain, and none since.
    in_vain: bool,
}

#[derive(Debug)]
struct World {
    inodes: HashMap<InodeId, Look>,
    /// How many there may be before those of the past are looked for.
    room: usize,
    /// What counts begin with.
    dropped: u64,
}

impl Default for World {
    fn default() -> World {
        World {
            inodes: HashMap::new(),
            room: INODES_MAX,
            dropped: 0,
        }
    }
}

/// Questions by inode. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks(Arc<Mutex<World>>);

/// A question, until it is dropped.
#[derive(Debug)]
pub(crate) struct Looking {
    looks: Looks,
    inode: InodeId,
    asks: Asks,
    forgot: u64,
}

impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(look) = self.looks.0.lock().inodes.get_mut(&self.inode) {
            look.end(self.asks, self.forgot, Instant::now());
        }
    }
}

impl Read {
    fn is_past(&self, now: Instant) -> bool {
        self.answered.is_some_and(|at| now >= at + TAKEN_IN)
    }
}

impl Look {
    fn new(dropped: u64, now: Instant) -> Look {
        Look {
            under_way: 0,
            reads: Vec::new(),
            forgot: 0,
            dropped,
            unsure: None,
            answered: now,
            attributes: None,
            in_vain: false,
        }
    }

    fn begin(&mut self, asks: Asks, now: Instant) {
        self.under_way += 1;
        if let Asks::Pages(range) = asks {
            self.reads.retain(|read| !read.is_past(now));
            let answered = None;
            self.reads.push(Read { range, answered });
        }
    }

    /// A question is answered, which began when the kernel had been told to forget so often.
    fn end(&mut self, asks: Asks, forgot: u64, now: Instant) {
        self.under_way -= 1;
        self.answered = now;
        match asks {
            Asks::Attributes if forgot == self.forgot => self.attributes = Some(now),
            Asks::Attributes => self.in_vain |= self.attributes.is_none(),
            Asks::Pages(range) => {
                let ours = |read: &&mut Read| read.range == range && read.answered.is_none();
                if let Some(read) = self.reads.iter_mut().find(ours) {
                    read.answered = Some(now);
                }
            }
        }
    }

    /// Whether the kernel holds something of a range in order to read it.
    fn holds(&self, range: FileRange, now: Instant) -> bool {
        let holds = |read: &Read| !read.is_past(now) && !read.range.overlap(range).is_empty();
        self.reads.iter().any(holds)
    }

    /// The kernel forgets pages, until `until` at the latest, and that can come in between a write's
    /// bytes and its request.
    fn drop_pages(&mut self, until: Instant) {
        self.dropped += 1;
        self.unsure = self.unsure.max(Some(until));
    }

    /// The kernel is told to forget attributes, and perhaps more.
    fn forget(&mut self, now: Instant) {
        let unsure = self.attributes.is_some() && !self.has_taken_in(now);
        self.in_vain = unsure || (self.in_vain && self.attributes.is_none());
        self.attributes = None;
        self.forgot += 1;
    }

    fn is_past(&self, now: Instant) -> bool {
        self.under_way == 0 && now >= self.answered + TAKEN_IN
    }

    /// Whether nothing of it is of use any more.
    fn is_forgettable(&self, now: Instant) -> bool {
        let sure = self.unsure.is_none_or(|until| now >= until);
        sure && self.under_way == 0 && now >= self.answered + AGAIN_WAIT
    }

    /// Whether attributes were taken in since the kernel was told to forget.
    fn has_taken_in(&self, now: Instant) -> bool {
        self.attributes.is_some_and(|at| now >= at + TAKEN_IN)
    }

    /// Whether the kernel may be told to forget, `waited` after that was wanted.
    fn is_ready(&self, now: Instant, waited: Duration) -> bool {
        match self.in_vain {
            true => self.has_taken_in(now) || waited >= AGAIN_WAIT,
            false => self.is_past(now) || waited >= QUIET_WAIT,
        }
    }
}

impl Looks {
    /// A question about an inode is being answered.
    pub(crate) fn begin(&self, inode: InodeId, asks: Asks) -> Looking {
        let mut looks = self.0.lock();
        let look = self.entry(&mut looks, inode);
        look.begin(asks, Instant::now());
        let forgot = look.forgot;
        drop(looks);
        let looks = self.clone();
        Looking {
            looks,
            inode,
            asks,
            forgot,
        }
    }

    /// How often the kernel forgot pages of an inode, if none of that can still be under way. Pages that
    /// a write replaced are not counted: the kernel takes one write of a file at a time.
    pub(crate) fn dropped(&self, inode: InodeId) -> Option<u64> {
        let mut looks = self.0.lock();
        let look = self.entry(&mut looks, inode);
        let sure = look.unsure.is_none_or(|until| Instant::now() >= until);
        sure.then_some(look.dropped)
    }

    /// The kernel is being told to forget pages.
    pub(crate) fn drops(&self, inode: InodeId) {
        let mut looks = self.0.lock();
        let look = self.entry(&mut looks, inode);
        look.drop_pages(Instant::now() + UNSURE);
    }

    /// The kernel forgets all pages by itself because of an open; nobody else has the file open, if it
    /// is opened `alone`.
    pub(crate) fn opens(&self, inode: InodeId, alone: bool) {
        let mut looks = self.0.lock();
        let look = self.entry(&mut looks, inode);
        let wait = if alone { UNSURE_ALONE } else { UNSURE };
        look.drop_pages(Instant::now() + wait);
    }

    fn entry<'a>(&self, looks: &'a mut World, inode: InodeId) -> &'a mut Look {
        let now = Instant::now();
        if looks.inodes.len() >= looks.room && !looks.inodes.contains_key(&inode) {
            looks.inodes.retain(|_, look| !look.is_forgettable(now));
            looks.room = INODES_MAX.max(looks.inodes.len() * 2);
            // What is remembered anew must not look as if nothing had been forgotten.
            looks.dropped += 1 << 32;
        }
        let dropped = looks.dropped;
        let entry = looks.inodes.entry(inode);
        entry.or_insert_with(|| Look::new(dropped, now))
    }

    /// Whether the kernel holds something of a range in order to read it.
    pub(crate) fn holds(&self, inode: InodeId, range: FileRange) -> bool {
        let looks = self.0.lock();
        let look = looks.inodes.get(&inode);
        look.is_some_and(|look| look.holds(range, Instant::now()))
    }

    /// Waits until the kernel may be told to forget something of an inode.
    pub(crate) async fn settle(&self, inode: InodeId) {
        let since = Instant::now();
        loop {
            let now = Instant::now();
            let is_ready = |look: &Look| look.is_ready(now, now - since);
            if self.0.lock().inodes.get(&inode).is_none_or(is_ready) {
                return;
            }
            sleep(PACE).await;
        }
    }

    /// The kernel is being told to forget the attributes of an inode, and perhaps more.
    pub(crate) fn forgets(&self, inode: InodeId) {
        if let Some(look) = self.0.lock().inodes.get_mut(&inode) {
            look.forget(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a question under way.
    fn asked(now: Instant) -> Look {
        Look {
            under_way: 1,
            ..Look::new(0, now)
        }
    }

    #[test]
    fn an_answer_is_waited_for_until_it_is_taken_in_but_not_for_long() {
        let start = Instant::now();
        let mut look = asked(start);
        let bytes = Asks::Pages(FileRange::of(0, 1));
        let soon = start + TAKEN_IN;
        assert!(!look.is_ready(soon, TAKEN_IN));
        assert!(look.is_ready(start + QUIET_WAIT, QUIET_WAIT));
        look.end(bytes, 0, soon);
        assert!(!look.is_ready(soon, TAKEN_IN), "it is on its way");
        assert!(look.is_ready(soon + TAKEN_IN, TAKEN_IN * 2));
    }

    #[test]
    fn who_asked_in_vain_is_answered_before_the_kernel_forgets_again() {
        let start = Instant::now();
        for under_way in [true, false] {
            let mut look = asked(start);
            if under_way {
                look.forget(start);
                look.end(Asks::Attributes, 0, start + TAKEN_IN);
            } else {
                look.end(Asks::Attributes, 0, start);
                look.forget(start);
            }
            let later = start + QUIET_WAIT;
            assert!(!look.is_ready(later, QUIET_WAIT), "it has to ask again");
            assert!(look.is_ready(later, AGAIN_WAIT), "nobody does");
            look.under_way += 1;
            look.end(Asks::Attributes, 1, later);
            assert!(!look.is_ready(later, QUIET_WAIT));
            let taken_in = later + TAKEN_IN;
            assert!(look.is_ready(taken_in, QUIET_WAIT));
            look.forget(taken_in);
            assert!(look.is_ready(taken_in, Duration::ZERO));
        }
    }

    #[test]
    fn what_is_past_is_not_remembered() {
        let looks = Looks::default();
        for inode in 0..5000 {
            drop(looks.begin(InodeId(inode), Asks::Attributes));
            for look in looks.0.lock().inodes.values_mut() {
                look.answered -= AGAIN_WAIT * 2;
            }
        }
        let before = looks.dropped(InodeId(0));
        assert!(before > Some(0), "it was remembered, and is not any more");
        assert!(looks.0.lock().inodes.len() <= INODES_MAX);
    }

    #[test]
    fn what_is_read_is_held_until_its_answer_is_taken_in() {
        let start = Instant::now();
        let mut look = Look::new(0, start);
        let of = |start, len| FileRange::of(start, len);
        look.begin(Asks::Pages(of(0, 4096)), start);
        look.begin(Asks::Pages(of(0, 4096)), start);
        look.begin(Asks::Attributes, start);
        assert!(look.holds(of(100, 1), start) && !look.holds(of(4096, 1), start));
        look.end(Asks::Pages(of(0, 4096)), 0, start);
        let taken_in = start + TAKEN_IN;
        assert!(look.holds(of(100, 1), taken_in), "the other one");
        look.end(Asks::Pages(of(0, 4096)), 0, taken_in);
        assert!(look.holds(of(100, 1), taken_in));
        assert!(!look.holds(of(100, 1), taken_in + TAKEN_IN));
    }

    #[test]
    fn nobody_is_sure_of_pages_while_they_may_go() {
        let looks = Looks::default();
        let inode = InodeId(7);
        let first = looks.dropped(inode);
        assert!(first.is_some());
        looks.opens(inode, true);
        assert_eq!(looks.dropped(inode), None);
        looks.0.lock().inodes.get_mut(&inode).expect("known").unsure = Some(Instant::now());
        let second = looks.dropped(inode);
        assert!(second > first);
        looks.drops(inode);
        assert_eq!(
            looks.dropped(inode),
            None,
            "it took longer than it was waited for"
        );
    }
}
