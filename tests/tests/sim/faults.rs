//! What befalls the machines, drawn from the seed: one fault after the other, each with its end.
//!
//! One minion of each run is the victim: only its disk rots, fails or forgets what it has synced.
//! Whatever is promised has another copy, so nothing may be lost; more than that can happen to no
//! cluster without loss.

use crate::{
    book::below,
    machine, network,
    world::{Place, World},
};
use dfs_host::disk::{Crash, Disk, Fault};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};
use turmoil::Sim;

/// Time between faults, at the most.
const PAUSE_MS: usize = 3500;
/// Delay of a message where nothing is wrong, at the most.
const LATENCY: Duration = Duration::from_millis(3);

/// A kernel waits so long for a machine that acknowledges nothing, and then ends its streams.
const SILENCE: Duration = Duration::from_secs(25);

#[derive(Clone, Debug)]
enum Undo {
    Start(Place),
    /// Two machines are together again.
    Join(Place, Place),
    /// They are not yet, and their kernels have waited for long enough.
    Cut(Place, Place),
    Hasten(Place, Place),
    HealDisk(Place),
    SpeedDisks,
    SetClock(Place),
}

/// The faults of one run.
pub(crate) struct Faults {
    world: Rc<World>,
    victim: Place,
    next: Duration,
    undo: Vec<(Duration, Undo)>,
    down: BTreeSet<Place>,
    /// Those whose power is gone: nothing ends their streams.
    dark: BTreeSet<Place>,
    /// Pairs that hear nothing of each other, and how often they were parted.
    parted: BTreeMap<(Place, Place), usize>,
    /// How many struck.
    pub(crate) struck: u64,
}

fn ms(most: usize) -> Duration {
    Duration::from_millis(below(most) as u64)
}

impl Faults {
    /// None yet.
    pub(crate) fn new(world: Rc<World>, minions: usize) -> Faults {
        Faults {
            world,
            victim: Place::Minion(1 + below(minions)),
            next: Duration::from_secs(3),
            undo: Vec::new(),
            down: BTreeSet::new(),
            dark: BTreeSet::new(),
            parted: BTreeMap::new(),
            struck: 0,
        }
    }

    /// Lets strike and end what is due.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>) {
        let now = self.world.elapsed();
        let (due, later) = self.undo.drain(..).partition(|(at, _)| *at <= now);
        self.undo = later;
        for (_, undo) in Vec::into_iter(due) {
            self.end(sim, undo);
        }
        if self.world.was_promised() {
            self.cut_all(sim, Crash::PowerAtWorst);
        }
        if now >= self.next {
            self.next = now + ms(PAUSE_MS);
            self.struck += 1;
            self.strike(sim);
        }
    }

    /// Ends all of them.
    pub(crate) fn stop(&mut self, sim: &mut Sim<'_>) {
        for (_, undo) in std::mem::take(&mut self.undo) {
            self.end(sim, undo);
        }
        // A disk that was out of service is back with the next process.
        self.kill(sim, self.victim, Crash::Kill);
        self.end(sim, Undo::HealDisk(self.victim));
        self.end(sim, Undo::Start(self.victim));
    }

    fn any(&self) -> Place {
        // The last one is who looks at the end.
        let machines = &self.world.machines;
        machines[below(machines.len() - 1)].place
    }

    fn later(&mut self, after: Duration, undo: Undo) {
        self.undo.push((self.world.elapsed() + after, undo));
    }

    fn strike(&mut self, sim: &mut Sim<'_>) {
        let place = self.any();
        match below(100) {
            0..=18 => self.take_down(sim, place, Crash::Kill),
            19..=26 => self.take_down(sim, place, Crash::Power),
            27..=30 => self.take_down(sim, place, Crash::PowerAtWorst),
            31..=33 => self.cut_all(sim, Crash::Power),
            34..=42 => self.await_promise(),
            43..=72 => self.part(sim, place),
            73..=79 => self.slow(sim, place),
            80..=87 => self.rot(),
            88..=93 => self.break_disk(),
            94..=96 => self.fill_master(),
            _ => self.step_clock(place),
        }
    }

    fn kill(&mut self, sim: &mut Sim<'_>, place: Place, how: Crash) {
        self.world.trouble(place);
        if how != Crash::Kill {
            self.dark.insert(place);
            self.link(sim);
            self.world.book().cut();
        }
        sim.crash(place.name());
        self.world.crash(place, how);
        self.down.insert(place);
        tracing::info!(target: "sim", ?place, ?how, "dies");
    }

    fn take_down(&mut self, sim: &mut Sim<'_>, place: Place, how: Crash) {
        if self.down.contains(&place) {
            return;
        }
        self.kill(sim, place, how);
        let away = match below(10) {
            0 => ms(40_000),
            1..=4 => ms(8_000),
            _ => ms(1_000),
        };
        self.later(away, Undo::Start(place));
    }

    /// The power of the whole house goes right after a sync was answered, with slow disks.
    fn await_promise(&mut self) {
        machine::set_disks(ms(80));
        self.world.await_promise();
        tracing::info!(target: "sim", "the power goes with the next promise");
        let length = ms(10_000);
        self.later(length, Undo::SpeedDisks);
    }

    /// The power of the whole house.
    fn cut_all(&mut self, sim: &mut Sim<'_>, how: Crash) {
        let machines = self.world.machines.iter().map(|machine| machine.place);
        let mut up: Vec<Place> = machines.filter(|p| !self.down.contains(p)).collect();
        // Who looks at the end has not begun.
        up.retain(|place| *place != Place::Client(self.world.clients() + 1));
        for place in up {
            self.kill(sim, place, how);
            let away = ms(5_000);
            self.later(away, Undo::Start(place));
        }
    }

    fn other(&self, place: Place) -> Place {
        loop {
            let other = self.any();
            if other != place {
                return other;
            }
        }
    }

    fn part(&mut self, sim: &mut Sim<'_>, place: Place) {
        let others = match below(3) {
            0 => self.world.machines.iter().map(|m| m.place).collect(),
            _ => vec![self.other(place)],
        };
        let length = [ms(2_000), ms(6_000), ms(20_000), ms(45_000)][below(4)];
        for other in others.into_iter().filter(|other| *other != place) {
            if other == Place::Client(self.world.clients() + 1) {
                continue;
            }
            self.world.trouble(place);
            self.world.trouble(other);
            *self.parted.entry((place, other)).or_default() += 1;
            tracing::info!(target: "sim", ?place, ?other, ?length, "are parted");
            self.later(length, Undo::Join(place, other));
            if length > SILENCE {
                self.later(SILENCE, Undo::Cut(place, other));
            }
        }
        self.link(sim);
    }

    /// Has messages wait between those that hear nothing of each other, and go between the others.
    fn link(&self, sim: &Sim<'_>) {
        let places: Vec<Place> = self.world.machines.iter().map(|m| m.place).collect();
        // Who looks at the end is no host before.
        let places = &places[..places.len() - 1];
        for (i, a) in places.iter().enumerate() {
            for b in &places[i + 1..] {
                let apart = self.parted.contains_key(&(*a, *b))
                    || self.parted.contains_key(&(*b, *a))
                    || self.dark.contains(a)
                    || self.dark.contains(b);
                match apart {
                    true => sim.hold(a.name(), b.name()),
                    false => sim.release(a.name(), b.name()),
                }
            }
        }
    }

    fn slow(&mut self, sim: &mut Sim<'_>, place: Place) {
        let other = self.other(place);
        self.world.trouble(place);
        self.world.trouble(other);
        let latency = LATENCY + ms(400);
        sim.set_link_max_message_latency(place.name(), other.name(), latency);
        tracing::info!(target: "sim", ?place, ?other, ?latency, "are slow");
        let length = ms(20_000);
        self.later(length, Undo::Hasten(place, other));
    }

    fn rot(&mut self) {
        let disk = &self.world.machine(self.victim).disk;
        let files = disk.list("blocks").unwrap_or_default();
        if files.is_empty() {
            return;
        }
        let name = format!("blocks/{}", files[below(files.len())]);
        let len = disk.open(&name).and_then(|file| file.len()).unwrap_or(0);
        let Ok(len) = usize::try_from(len) else {
            return;
        };
        if len > 0 {
            let (at, bit) = (below(len) as u64, 1 << below(8));
            if !self.is_elsewhere(&name, at) {
                return;
            }
            let flipped = disk.flip(&name, at, bit);
            tracing::info!(target: "sim", name, at, ?flipped, "a bit has flipped");
        }
    }

    /// Whether another minion has a file up to there. What the victim alone has after a power cut was
    /// promised to nobody, and what nobody else has cannot be healed.
    fn is_elsewhere(&self, name: &str, at: u64) -> bool {
        let others = self.world.machines.iter();
        let mut others = others.filter(|m| m.place != self.victim);
        others.any(|other| {
            let len = other.disk.open(name).and_then(|file| file.len());
            len.is_ok_and(|len| len > at)
        })
    }

    fn break_disk(&mut self) {
        let fault = [
            Fault::ReadError,
            Fault::WriteError,
            Fault::SyncError,
            Fault::Error,
            Fault::Full,
        ][below(5)];
        let disk = &self.world.machine(self.victim).disk;
        disk.fail_after(below(20) as u64, fault);
        tracing::info!(target: "sim", victim = ?self.victim, ?fault, "a disk will fail");
        let length = ms(10_000);
        self.later(length, Undo::HealDisk(self.victim));
    }

    fn fill_master(&mut self) {
        self.world.trouble(Place::Master);
        let disk = &self.world.machine(Place::Master).disk;
        disk.fail_after(below(20) as u64, Fault::Full);
        tracing::info!(target: "sim", "the master's disk will be full");
        let length = ms(4_000);
        self.later(length, Undo::HealDisk(Place::Master));
    }

    fn step_clock(&mut self, place: Place) {
        let by = i64::try_from(below(1_200_000)).expect("small") - 600_000;
        self.world.machine(place).clock.step(by);
        tracing::info!(target: "sim", ?place, by, "has the wrong time");
        let length = ms(20_000);
        self.later(length, Undo::SetClock(place));
    }

    fn end(&mut self, sim: &mut Sim<'_>, undo: Undo) {
        tracing::info!(target: "sim", ?undo, "ends");
        match undo {
            Undo::Start(place) => {
                self.world.trouble(place);
                self.down.remove(&place);
                self.dark.remove(&place);
                self.link(sim);
                sim.bounce(place.name());
            }
            Undo::Join(a, b) => {
                self.world.trouble(a);
                self.world.trouble(b);
                let parted = self.parted.get_mut(&(a, b)).expect("they were parted");
                *parted -= 1;
                self.parted.retain(|_, times| *times > 0);
                self.link(sim);
            }
            Undo::Cut(a, b) => network::cut(sim.lookup(a.name()), sim.lookup(b.name())),
            Undo::Hasten(a, b) => {
                self.world.trouble(a);
                self.world.trouble(b);
                sim.set_link_max_message_latency(a.name(), b.name(), LATENCY);
            }
            Undo::HealDisk(place) => {
                self.world.trouble(place);
                self.world.machine(place).disk.heal();
                // Its process may have given the disk up for good: a new one looks again.
                if place == self.victim && !self.down.contains(&place) {
                    self.kill(sim, place, Crash::Kill);
                    self.end(sim, Undo::Start(place));
                }
            }
            Undo::SpeedDisks => machine::set_disks(Duration::ZERO),
            Undo::SetClock(place) => self.world.machine(place).clock.step(0),
        }
    }
}
