//! The kernel's questions about a file that are being answered, or were a moment ago.
//!
//! The kernel takes nothing in of an answer if it was told to forget something after it had asked.
//! It then goes on with the size that it knew, and a reader who has just been told of more gets less,
//! or zeros. So the kernel is told to forget at a moment when it has taken in what it asked for. Where
//! that did not succeed it asks again before it reads, and then that answer is waited for before it is
//! told anything: a size that was told is at worst taken in with the next question.
//!
//! Waits are short and bounded: a reader that asks without end does not hold a writer up for ever.

use dfs_proto::id::InodeId;
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

#[derive(Debug)]
struct Look {
    /// Questions that are not answered yet.
    under_way: u32,
    /// How often the kernel was told to forget.
    forgot: u64,
    /// How often it forgot pages besides, because of an open.
    dropped: u64,
    /// When it last forgot something.
    last: Option<Instant>,
    /// The last answer.
    answered: Instant,
    /// The last answer with attributes to what was asked since the kernel was told to forget.
    attributes: Option<Instant>,
    /// Attributes were answered in vain, and none since.
    in_vain: bool,
}

#[derive(Debug, Default)]
struct World {
    inodes: HashMap<InodeId, Look>,
    /// What counts begin with.
    dropped: u64,
}

/// Questions by inode. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks(Arc<Mutex<World>>);

/// A question, until it is dropped.
#[derive(Debug)]
pub(crate) struct Looking {
    looks: Looks,
    inode: InodeId,
    attributes: bool,
    forgot: u64,
}

impl Drop for Looking {
    fn drop(&mut self) {
        if let Some(look) = self.looks.0.lock().inodes.get_mut(&self.inode) {
            look.end(self.attributes.then_some(self.forgot), Instant::now());
        }
    }
}

impl Look {
    fn new(forgot: u64, now: Instant) -> Look {
        Look {
            under_way: 0,
            forgot,
            dropped: 0,
            last: None,
            answered: now,
            attributes: None,
            in_vain: false,
        }
    }

    /// A question is answered; if it was for attributes, it began when the kernel had been told to
    /// forget so often.
    fn end(&mut self, attributes: Option<u64>, now: Instant) {
        self.under_way -= 1;
        self.answered = now;
        match attributes {
            Some(forgot) if forgot == self.forgot => self.attributes = Some(now),
            Some(_) => self.in_vain |= self.attributes.is_none(),
            None => {}
        }
    }

    /// The kernel is told to forget, and that can come in between a write's bytes and its request.
    fn forget(&mut self, now: Instant) {
        self.last = Some(now);
        self.forget_written(now);
    }

    /// The kernel is told to forget what a write has replaced, before that is answered: no other write
    /// of these bytes is under way.
    fn forget_written(&mut self, now: Instant) {
        let unsure = self.attributes.is_some() && !self.has_taken_in(now);
        self.in_vain = unsure || (self.in_vain && self.attributes.is_none());
        self.attributes = None;
        self.forgot += 1;
    }

    fn is_past(&self, now: Instant) -> bool {
        self.under_way == 0 && now >= self.answered + TAKEN_IN
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
    /// A question about an inode is being answered, for `attributes` or for bytes.
    pub(crate) fn begin(&self, inode: InodeId, attributes: bool) -> Looking {
        let mut looks = self.0.lock();
        let look = self.entry(&mut looks, inode);
        look.under_way += 1;
        let forgot = look.forgot;
        drop(looks);
        let looks = self.clone();
        Looking {
            looks,
            inode,
            attributes,
            forgot,
        }
    }

    /// How often the kernel forgot pages of an inode, if that is some time ago.
    pub(crate) fn forgot(&self, inode: InodeId) -> Option<u64> {
        let mut looks = self.0.lock();
        let look = self.entry(&mut looks, inode);
        let recent = look.last.is_some_and(|last| last.elapsed() < TAKEN_IN);
        (!recent).then_some(look.forgot + look.dropped)
    }

    /// The kernel forgets pages because it is not told to keep them at an open.
    pub(crate) fn drops(&self, inode: InodeId) {
        let mut looks = self.0.lock();
        let look = self.entry(&mut looks, inode);
        look.dropped += 1;
        look.last = Some(Instant::now());
    }

    fn entry<'a>(&self, looks: &'a mut World, inode: InodeId) -> &'a mut Look {
        let now = Instant::now();
        if looks.inodes.len() >= INODES_MAX && !looks.inodes.contains_key(&inode) {
            looks
                .inodes
                .retain(|_, look| !look.is_past(now + AGAIN_WAIT));
            // What is remembered anew must not look as if nothing had been forgotten.
            looks.dropped += 1 << 32;
        }
        let dropped = looks.dropped;
        let entry = looks.inodes.entry(inode);
        entry.or_insert_with(|| Look::new(dropped, now))
    }

    /// Whether a question about an inode is being answered, or was just now.
    pub(crate) fn is_asked(&self, inode: InodeId) -> bool {
        let now = Instant::now();
        let looks = self.0.lock();
        looks
            .inodes
            .get(&inode)
            .is_some_and(|look| !look.is_past(now))
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

    /// The kernel is being told to forget.
    pub(crate) fn forgets(&self, inode: InodeId) {
        if let Some(look) = self.0.lock().inodes.get_mut(&inode) {
            look.forget(Instant::now());
        }
    }

    /// As [`Looks::forgets`], what a write that is not answered yet has replaced.
    pub(crate) fn forgets_written(&self, inode: InodeId) {
        if let Some(look) = self.0.lock().inodes.get_mut(&inode) {
            look.forget_written(Instant::now());
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
        let soon = start + TAKEN_IN;
        assert!(!look.is_ready(soon, TAKEN_IN));
        assert!(look.is_ready(start + QUIET_WAIT, QUIET_WAIT));
        look.end(None, soon);
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
                look.end(Some(0), start + TAKEN_IN);
            } else {
                look.end(Some(0), start);
                look.forget(start);
            }
            let later = start + QUIET_WAIT;
            assert!(!look.is_ready(later, QUIET_WAIT), "it has to ask again");
            assert!(look.is_ready(later, AGAIN_WAIT), "nobody does");
            look.under_way += 1;
            look.end(Some(1), later);
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
            drop(looks.begin(InodeId(inode), true));
            for look in looks.0.lock().inodes.values_mut() {
                look.answered -= AGAIN_WAIT * 2;
            }
        }
        let before = looks.forgot(InodeId(0));
        assert!(before > Some(0), "it was remembered, and is not any more");
        looks.forgets(InodeId(0));
        assert_eq!(looks.forgot(InodeId(0)), None, "just now");
        assert!(looks.0.lock().inodes.len() <= INODES_MAX);
    }
}
