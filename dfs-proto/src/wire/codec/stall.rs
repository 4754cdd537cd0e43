//! Notices that a link waits without anything moving.

use futures::ready;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep};

/// For so long at least, and for twice as long at most, nothing has moved on a stalled link.
const STALL: Duration = Duration::from_secs(30);

/// The watch of one direction of a link. To be asked only while something is awaited; it sets its
/// alarm at most once per period, however much moves in between.
pub(super) struct Stall {
    period: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    /// What had moved when the alarm was set.
    moved: u64,
}

impl Default for Stall {
    fn default() -> Stall {
        Stall::after(STALL)
    }
}

impl Stall {
    /// A watch with another period than usual.
    pub(super) fn after(period: Duration) -> Stall {
        let (alarm, moved) = (None, 0);
        Stall {
            period,
            alarm,
            moved,
        }
    }

    /// Ready when nothing has moved for a whole period; `moved` counts all bytes since ever.
    pub(super) fn poll(&mut self, moved: u64, cx: &mut Context<'_>) -> Poll<()> {
        let alarm = self.alarm.get_or_insert_with(|| {
            self.moved = moved;
            Box::pin(sleep(self.period))
        });
        loop {
            ready!(alarm.as_mut().poll(cx));
            if self.moved == moved {
                return Poll::Ready(());
            }
            self.moved = moved;
            alarm.as_mut().reset(Instant::now() + self.period);
        }
    }
}
