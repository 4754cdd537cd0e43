//! Reads: a plan of what the range is made of, and its bytes from memory or from minions.

use super::{
    content::Content,
    state::{File, State},
};
use crate::{
    cache::{Extents, Part},
    error::Error,
    link::Told,
    read::{Fetcher, Plan, Source, Span, UNIT_BYTES, Unread, gather, zeros},
};
use bytes::Bytes;
use dfs_proto::{
    extent::{Extent, FileRange},
    id::{BlockId, SessionId},
    service::MasterClient,
};
use futures::future::try_join_all;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Why a plan cannot be made now.
pub(super) enum Unplanned {
    /// Someone changed the file: ask what it is now.
    Moved,
    /// Where the bytes from here on are is not known.
    Unknown(u64),
}

/// What becomes of bytes that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// The audience keeps them until it is told to forget them.
    Kept,
    /// They are used once.
    Once,
}

/// What a read has to do before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// Nothing: what is known is so, or was when the read began.
    Answer,
    /// To wait until what was known is forgotten.
    Wait,
    /// To ask the master.
    Ask,
}

impl File {
    /// The size as readers see it.
    pub(crate) fn size(&self) -> u64 {
        self.state.lock().size()
    }

    /// The bytes of `range`, if they are all in memory; shorter at the end of the file.
    pub(crate) fn try_read(&self, range: FileRange, how: Use) -> Option<Bytes> {
        if self.admission(range, how) != Admission::Answer {
            return None;
        }
        let plan = self.state.lock().plan(range).ok()?;
        let at_hand = |span: &Span| match &span.source {
            Source::Zeros => Some(zeros(span.range.len())),
            Source::Bytes(bytes) => Some(bytes.clone()),
            Source::Stored { place, offset, .. } => {
                let (start, end) = stored(*offset, span);
                self.core.fetcher.cached(place.block, start, end)
            }
        };
        let parts: Option<Vec<Bytes>> = plan.spans.iter().map(at_hand).collect();
        parts.map(gather)
    }

    /// The bytes of `range`; shorter at the end of the file. Where bytes must be fetched, what is
    /// around them is fetched too if `sequential`.
    pub(crate) async fn read(
        &self,
        range: FileRange,
        how: Use,
        sequential: bool,
    ) -> Result<Bytes, Error> {
        let until = Instant::now() + self.core.settings.operation_timeout;
        let mut failed: Option<(BlockId, Unread)> = None;
        let mut wait = Duration::from_millis(10);
        loop {
            match self.admission(range, how) {
                Admission::Answer => {}
                Admission::Wait => {
                    let answered = |file: &File| file.admission(range, how) != Admission::Wait;
                    self.wait_until(answered, until, "a change elsewhere")
                        .await?;
                    continue;
                }
                // It was so when it was answered, whatever was recalled since; and a recall waits until
                // this read is answered.
                Admission::Ask => drop(self.refresh().await?),
            }
            let plan = self.state.lock().plan(range);
            let plan = match plan {
                Ok(plan) => plan,
                Err(Unplanned::Moved) => {
                    self.refresh().await?;
                    continue;
                }
                Err(Unplanned::Unknown(from)) => {
                    self.locate(from).await?;
                    continue;
                }
            };
            let fetcher = &self.core.fetcher;
            let fetches = plan.spans.iter().map(|s| fetch(fetcher, s, sequential));
            let (block, unread) = match try_join_all(fetches).await {
                Ok(parts) => return Ok(gather(parts)),
                Err(failure) => failure,
            };
            // Asked once more after a new look at where the bytes are: blocks move and go.
            let again = failed.as_ref().is_some_and(|(_, before)| before.for_good);
            if (unread.for_good && again) || Instant::now() + wait >= until {
                let why = unread.why;
                return Err(Error::NoReplica { block, why });
            }
            failed = Some((block, unread));
            self.state.lock().forget();
            sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
    }

    /// Whether a read of `range` can be answered from what is known now.
    fn admission(&self, range: FileRange, how: Use) -> Admission {
        if let Some(forgetting) = &mut self.state.lock().forgetting {
            // What was leased is so until this recall is answered; only what is kept has to go first.
            let answers = how == Use::Once || forgetting.answers(range);
            return match (answers, forgetting.was_leased) {
                (true, true) => Admission::Answer,
                (true, false) => Admission::Ask,
                (false, _) => Admission::Wait,
            };
        }
        match self.is_leased() {
            true => Admission::Answer,
            false => Admission::Ask,
        }
    }

    /// Begins to fetch what is stored of `range`.
    pub(crate) fn read_ahead(&self, range: FileRange) {
        let plan = self.state.lock().plan(range);
        let Ok(plan) = plan else {
            return;
        };
        for span in plan.spans {
            if let Source::Stored {
                place,
                offset,
                around,
                ..
            } = span.source
            {
                let unit = unit(offset, around);
                self.core.fetcher.read_ahead(&place, unit);
            }
        }
    }

    /// Whether what is known of the content, and where it ends, is so until the master says
    /// otherwise.
    pub(crate) fn is_leased(&self) -> bool {
        let known = self.core.attrs.attr(self.inode, self.core.now());
        let (version, moved) = {
            let state = self.state.lock();
            (state.attr.data_version, state.moved)
        };
        !moved && known.is_some_and(|(attr, _)| attr.data_version == version)
    }

    pub(super) async fn locate(&self, from: u64) -> Result<(), Error> {
        let inode = self.inode;
        let locate = |client: MasterClient, context, session: SessionId| async move {
            client.locate(context, session, inode, from).await
        };
        let Told { source, answer, .. } = self.core.master.ask("where bytes are", locate).await?;
        let mut state = self.state.lock();
        if source.index < state.index {
            // A change of our own overtook the answer: it would bring back what that replaced. Who
            // needs it asks again.
            return Ok(());
        }
        if answer.until <= from {
            return Err(Error::Unfitting("to locate: nothing is located".to_owned()));
        }
        match &mut state.content {
            Content::Extents(extents) => extents.learn(from, answer),
            Content::Inline(_) => state.moved = true,
        }
        Ok(())
    }
}

async fn fetch(
    fetcher: &Arc<Fetcher>,
    span: &Span,
    sequential: bool,
) -> Result<Bytes, (BlockId, Unread)> {
    match &span.source {
        Source::Zeros => Ok(zeros(span.range.len())),
        Source::Bytes(bytes) => Ok(bytes.clone()),
        Source::Stored {
            place,
            offset,
            around,
            along,
        } => {
            let wanted = stored(*offset, span);
            let unit = match sequential {
                true => unit(*offset, *around),
                false => *along,
            };
            let got = fetcher.get(place, wanted, unit).await;
            got.map_err(|unread| (place.block, unread))
        }
    }
}

/// The range in the block of a stored span.
fn stored(offset: u32, span: &Span) -> (u32, u32) {
    let len = u32::try_from(span.range.len()).expect("a span is inside a unit");
    (offset, offset + len)
}

/// What is fetched in one go around the byte at `offset`.
fn unit(offset: u32, around: (u32, u32)) -> (u32, u32) {
    let start = offset / UNIT_BYTES * UNIT_BYTES;
    (start.max(around.0), (start + UNIT_BYTES).min(around.1))
}

impl State {
    /// What `range`, as far as the file goes, is made of.
    fn plan(&self, range: FileRange) -> Result<Plan, Unplanned> {
        if self.moved {
            return Err(Unplanned::Moved);
        }
        let file = FileRange {
            start: 0,
            end: self.size(),
        };
        let range = range.overlap(file);
        let mut plan = Plan::default();
        match &self.content {
            Content::Inline(bytes) => {
                let there = FileRange::of(0, bytes.len() as u64).overlap(range);
                if !there.is_empty() {
                    let from = usize::try_from(there.start).expect("inside inline bytes");
                    let to = usize::try_from(there.end).expect("inside inline bytes");
                    plan.push(there, Source::Bytes(bytes.slice(from..to)));
                }
                let start = range.start.max(bytes.len() as u64);
                let end = range.end;
                plan.push(FileRange { start, end }, Source::Zeros);
            }
            Content::Extents(extents) => {
                for part in extents.parts(range) {
                    match part {
                        Part::Hole(range) => plan.push(range, Source::Zeros),
                        Part::Stored(extent) => push_stored(&mut plan, extents, extent)?,
                        // What is all dirty need not be located.
                        Part::Unknown(range) => return Err(Unplanned::Unknown(range.start)),
                    }
                }
            }
        }
        plan.join(UNIT_BYTES);
        if self.is_unsent(range) {
            let segments = self.batches.iter().flat_map(|b| &b.segments);
            segments.for_each(|(at, bytes)| plan.paint(*at, bytes));
            for (at, bytes) in self.dirty.overlapping(range) {
                plan.paint(at, &Bytes::copy_from_slice(bytes));
            }
        }
        Ok(plan)
    }

    /// Where the bytes are is to be asked again.
    fn forget(&mut self) {
        if let Content::Extents(_) = self.content {
            self.content = Content::unknown();
            self.moved = true;
        }
    }
}

/// Adds a stored part, cut at the units in which blocks are fetched.
fn push_stored(plan: &mut Plan, extents: &Extents, part: Extent) -> Result<(), Unplanned> {
    let unknown = || Unplanned::Unknown(part.file_offset);
    let place = extents.place(part.block).ok_or_else(unknown)?;
    let whole = extents.at(part.file_offset).ok_or_else(unknown)?;
    let around = (whole.block_offset, whole.block_end());
    let (mut at, mut offset) = (part.file_offset, part.block_offset);
    while offset < part.block_end() {
        let next = (offset / UNIT_BYTES + 1) * UNIT_BYTES;
        let len = next.min(part.block_end()) - offset;
        let source = Source::Stored {
            place: place.clone(),
            offset,
            around,
            along: (offset, offset + len),
        };
        plan.push(FileRange::of(at, u64::from(len)), source);
        at += u64::from(len);
        offset += len;
    }
    Ok(())
}
