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
    /// The last answer.
    answered: Instant,
    /// The last answer with attributes to what was asked since the kernel was told to forget.
    attributes: Option<Instant>,
    /// Attributes were answered in vain, and none since.
    in_vain: bool,
}

/// Questions by inode. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks(Arc<Mutex<HashMap<InodeId, Look>>>);

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
        if let Some(look) = self.looks.0.lock().get_mut(&self.inode) {
            let now = Instant::now();
            look.under_way -= 1;
            look.answered = now;
            if self.attributes && self.forgot == look.forgot {
                look.attributes = Some(now);
            } else if self.attributes {
                look.in_vain |= look.attributes.is_none();
            }
        }
    }
}

impl Look {
    fn new(now: Instant) -> Look {
        Look {
            under_way: 0,
            forgot: 0,
            answered: now,
            attributes: None,
            in_vain: false,
        }
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
        let now = Instant::now();
        let mut looks = self.0.lock();
        if looks.len() >= INODES_MAX && !looks.contains_key(&inode) {
            looks.retain(|_, look| !look.is_past(now + AGAIN_WAIT));
        }
        let look = looks.entry(inode).or_insert_with(|| Look::new(now));
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

    /// Waits until the kernel may be told to forget something of an inode.
    pub(crate) async fn settle(&self, inode: InodeId) {
        let since = Instant::now();
        loop {
            let now = Instant::now();
            let is_ready = |look: &Look| look.is_ready(now, now - since);
            if self.0.lock().get(&inode).is_none_or(is_ready) {
                return;
            }
            sleep(PACE).await;
        }
    }

    /// The kernel is being told to forget.
    pub(crate) fn forgets(&self, inode: InodeId) {
        let now = Instant::now();
        if let Some(look) = self.0.lock().get_mut(&inode) {
            let unsure = look.attributes.is_some() && !look.has_taken_in(now);
            look.in_vain = unsure || (look.in_vain && look.attributes.is_none());
            look.attributes = None;
            look.forgot += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InodeId = InodeId(5);

    async fn settled(looks: &Looks) -> Duration {
        let since = Instant::now();
        looks.settle(FILE).await;
        since.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_waited_for_until_its_answer_is_taken_in_but_not_for_long() {
        let looks = Looks::default();
        assert!(settled(&looks).await.is_zero(), "nobody asked");
        let looking = looks.begin(FILE, false);
        drop(looks.begin(FILE, false));
        assert!(settled(&looks).await >= QUIET_WAIT, "it is not answered");
        drop(looking);
        let waited = settled(&looks).await;
        assert!(waited >= TAKEN_IN && waited < QUIET_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_in_vain_is_answered_before_the_kernel_forgets_again() {
        let looks = Looks::default();
        let looking = looks.begin(FILE, true);
        looks.forgets(FILE);
        drop(looking);
        let again = looks.clone();
        let asks = tokio::spawn(async move {
            sleep(TAKEN_IN * 4).await;
            drop(again.begin(FILE, true));
        });
        let waited = settled(&looks).await;
        assert!(waited >= TAKEN_IN * 5 && waited < AGAIN_WAIT, "{waited:?}");
        asks.await.expect("asked");
        looks.forgets(FILE);
        assert!(settled(&looks).await.is_zero(), "it was taken in");
        drop(looks.begin(FILE, true));
        looks.forgets(FILE);
        assert!(settled(&looks).await >= AGAIN_WAIT, "nobody asks again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_past_is_not_remembered() {
        let looks = Looks::default();
        for inode in 0..5000 {
            drop(looks.begin(InodeId(inode), true));
            sleep(PACE).await;
        }
        assert!(looks.0.lock().len() <= INODES_MAX);
    }
}
