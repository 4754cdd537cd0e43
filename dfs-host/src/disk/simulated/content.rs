//! One simulated file: what its process sees, what is durable, and what a crash makes of the rest.
//!
//! The model is a page cache above a disk that writes sectors of 512 bytes in any order. After a
//! crash each sector is as it was at some moment since the last sync, and so is the length; sectors
//! of one write need not agree on the moment. What a sync has covered is never lost.

use super::pages::{PAGE, Pages};
use rand::{RngExt, rngs::SmallRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Bytes that a disk writes in one piece.
pub(super) const SECTOR: u64 = SECTOR_LEN as u64;

const SECTOR_LEN: usize = 512;

/// How much of what was not synced lands on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Landing {
    /// Nothing.
    Nothing,
    /// All of it.
    Everything,
    /// What came first, and a part of what came next.
    Beginning,
    /// Any of it, in parts.
    Anything,
}

impl Landing {
    pub(super) fn draw(random: &mut SmallRng) -> Landing {
        match random.random_range(0..8) {
            0 => Landing::Nothing,
            1 => Landing::Everything,
            2..5 => Landing::Beginning,
            _ => Landing::Anything,
        }
    }

    /// How each of `count` steps fares.
    pub(super) fn fates(self, count: usize, random: &mut SmallRng) -> Vec<Fate> {
        let cut = random.random_range(0..=count);
        let fate = |step: usize| match self {
            Landing::Nothing => Fate::Lost,
            Landing::Everything => Fate::Whole,
            Landing::Beginning if step < cut => Fate::Whole,
            Landing::Beginning if step == cut => Fate::Torn,
            Landing::Beginning => Fate::Lost,
            Landing::Anything => match random.random_range(0..3) {
                0 => Fate::Lost,
                1 => Fate::Whole,
                _ => Fate::Torn,
            },
        };
        (0..count).map(fate).collect()
    }
}

/// What becomes of one step that was not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Lost,
    Torn,
    Whole,
}

/// Something done to a file since its last sync.
#[derive(Clone)]
enum Step {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen { len: u64 },
    Punch { range: Range<u64> },
}

impl Step {
    fn apply(&self, pages: &mut Pages) {
        match self {
            Step::Write { offset, bytes } => pages.write(bytes, *offset),
            Step::SetLen { len } => pages.set_len(*len),
            Step::Punch { range } => pages.punch(range.clone()),
        }
    }
}

/// A step, and the file as it changed: bytes it touched, length before and after.
#[derive(Clone)]
struct Change {
    step: Step,
    touched: Range<u64>,
    len: (u64, u64),
}

/// The bytes of a file.
#[derive(Clone, Default)]
pub(super) struct Content {
    seen: Pages,
    durable: Pages,
    pending: Vec<Change>,
    /// Pages that are in memory.
    cached: BTreeSet<u64>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.seen.len()
    }

    pub(super) fn allocated(&self) -> u64 {
        self.seen.allocated()
    }

    pub(super) fn read(&mut self, into: &mut [u8], offset: u64) -> usize {
        let read = self.seen.read(into, offset);
        self.cached.extend(pages_of(offset..offset + read as u64));
        read
    }

    /// As `read`; `None` where a page is not in memory.
    pub(super) fn read_cached(&self, into: &mut [u8], offset: u64) -> Option<usize> {
        let end = (offset + into.len() as u64).min(self.seen.len());
        let hit = pages_of(offset..end).all(|page| self.cached.contains(&page));
        hit.then(|| self.seen.read(into, offset))
    }

    /// How many of `len` bytes at `offset` can be written when `free` more bytes may be taken, and
    /// how many they take.
    pub(super) fn fitting(&self, offset: u64, len: u64, free: u64) -> (u64, u64) {
        let mut taken = 0;
        for page in pages_of(offset..offset + len) {
            if self.seen.has_space(page) {
                continue;
            }
            if taken + PAGE > free {
                return ((page * PAGE).saturating_sub(offset), taken);
            }
            taken += PAGE;
        }
        (len, taken)
    }

    pub(super) fn write(&mut self, bytes: Vec<u8>, offset: u64) {
        let touched = offset..offset + bytes.len() as u64;
        self.cached.extend(pages_of(touched.clone()));
        self.step(Step::Write { offset, bytes }, touched);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let touched = len..self.seen.len().max(len);
        self.step(Step::SetLen { len }, touched);
    }

    pub(super) fn punch(&mut self, range: Range<u64>) {
        let within = range.start.min(self.len())..range.end.min(self.len());
        self.step(Step::Punch { range }, within);
    }

    /// Takes space; that is durable at once.
    pub(super) fn reserve(&mut self, range: Range<u64>) {
        self.seen.reserve(range.clone());
        self.durable.reserve(range);
    }

    fn step(&mut self, step: Step, touched: Range<u64>) {
        let before = self.seen.len();
        step.apply(&mut self.seen);
        self.pending.push(Change {
            step,
            touched,
            len: (before, self.seen.len()),
        });
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            self.durable.adopt(&self.seen, change.touched);
        }
        self.durable.adopt_shape(&self.seen);
    }

    /// What a failed sync does: some of it lands, the rest will never be tried again although it
    /// can still be read until the crash.
    pub(super) fn fail_sync(&mut self, landing: Landing, random: &mut SmallRng) {
        self.durable = self.landed(landing, random);
        self.pending.clear();
    }

    /// Loses memory.
    pub(super) fn crash(&mut self, landing: Landing, random: &mut SmallRng) {
        if !self.pending.is_empty() {
            self.durable = self.landed(landing, random);
            self.pending.clear();
        }
        self.seen = self.durable.clone();
        self.cached.clear();
    }

    pub(super) fn flip(&mut self, offset: u64, mask: u8) {
        self.seen.flip(offset, mask);
        self.durable.flip(offset, mask);
    }

    pub(super) fn forget_cached(&mut self, range: Range<u64>) {
        let dirty: BTreeSet<u64> = (self.pending.iter())
            .flat_map(|change| pages_of(change.touched.clone()))
            .collect();
        let pages = pages_of(range);
        self.cached
            .retain(|page| !pages.contains(page) || dirty.contains(page));
    }

    fn landed(&self, landing: Landing, random: &mut SmallRng) -> Pages {
        let fates = landing.fates(self.pending.len(), random);
        // The last step of each sector that landed: as the page cache has them, it brings the
        // earlier ones of that sector with it.
        let mut last: BTreeMap<u64, usize> = BTreeMap::new();
        for (index, (change, fate)) in self.pending.iter().zip(&fates).enumerate() {
            let sectors = change.touched.start / SECTOR..change.touched.end.div_ceil(SECTOR);
            let lands = |_: &u64| match fate {
                Fate::Lost => false,
                Fate::Torn => random.random(),
                Fate::Whole => true,
            };
            last.extend(sectors.filter(lands).map(|sector| (sector, index)));
        }
        let mut by_step: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (sector, step) in last {
            by_step.entry(step).or_default().push(sector);
        }
        let mut landed = self.durable.clone();
        // All sectors of the same moment are taken from one replay up to it.
        let mut replay = self.durable.clone();
        let replayed = by_step.keys().next_back().map_or(0, |step| step + 1);
        for (index, change) in self.pending[..replayed].iter().enumerate() {
            change.step.apply(&mut replay);
            for sector in by_step.remove(&index).unwrap_or_default() {
                copy_sector(&replay, &mut landed, sector);
            }
        }
        landed.set_len(self.landed_len(&fates, random));
        landed
    }

    fn landed_len(&self, fates: &[Fate], random: &mut SmallRng) -> u64 {
        let landed = fates.iter().rposition(|fate| *fate != Fate::Lost);
        let Some(landed) = landed else {
            return self.durable.len();
        };
        let (before, after) = self.pending[landed].len;
        if fates[landed] == Fate::Whole || after <= before {
            return after;
        }
        let sectors = (after - before).div_ceil(SECTOR);
        (before + random.random_range(0..=sectors) * SECTOR).min(after)
    }
}

/// Copies one sector; what lies beyond the end of `from` is zeros.
fn copy_sector(from: &Pages, to: &mut Pages, sector: u64) {
    let mut bytes = [0; SECTOR_LEN];
    let read = from.read(&mut bytes, sector * SECTOR);
    bytes[read..].fill(0);
    let hole = bytes.iter().all(|byte| *byte == 0);
    match hole {
        // So that punched and unwritten sectors stay holes.
        true => to.punch(sector * SECTOR..(sector + 1) * SECTOR),
        false => to.write(&bytes, sector * SECTOR),
    }
}

fn pages_of(range: Range<u64>) -> Range<u64> {
    match range.start < range.end {
        true => range.start / PAGE..range.end.div_ceil(PAGE),
        false => 0..0,
    }
}
