//! One run: a storm of faults over a cluster that works, then calm, in which everything must heal.

use crate::{
    client::Client,
    faults::Faults,
    invariants::{copies, leftovers, promises, sessions::Ended, tables},
    machine,
    network::Simulated,
    world::{Place, World},
};
use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    time::Duration,
};

/// How long the storm goes on.
pub(crate) const STORM: Duration = Duration::from_secs(60);
/// Within this, once it is over, the clients must have come to an end.
const CLIENTS_END: Duration = Duration::from_secs(150);
/// Within this, after that, everything must be well.
const HEALED: Duration = Duration::from_secs(400);
/// Steps of time.
const TICK: Duration = Duration::from_millis(2);
const MINIONS: usize = 4;
const CLIENTS: usize = 2;

thread_local! {
    /// Panics of this run's tasks: nobody waits for most of them.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What became of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Report {
    /// What must not be and was seen.
    pub(crate) violations: Vec<String>,
    /// A digest of everything that the clients were told, and of all disks.
    pub(crate) digest: u64,
    /// Answers to clients.
    pub(crate) answers: u64,
    /// Of these, errors.
    pub(crate) errors: u64,
    /// Faults that struck.
    pub(crate) faults: u64,
    /// Until everything was well.
    pub(crate) elapsed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} faults, {} answers, {} of them errors, over after {:.1} s, digest {:016x}",
            self.faults,
            self.answers,
            self.errors,
            self.elapsed.as_secs_f64(),
            self.digest
        )
    }
}

/// Runs the cluster, on a thread that simulates. Once in its life.
pub(crate) fn run() -> Report {
    watch_panics();
    Run::new().finish()
}

fn watch_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
        before(panic);
    }));
}

struct Run {
    world: Rc<World>,
    sim: turmoil::Sim<'static>,
    ended: Ended,
}

impl Run {
    fn new() -> Run {
        dfs_host::threads::simulate(machine::disk_latency);
        dfs_proto::wire::simulate(Rc::new(Simulated));
        let mut sim = turmoil::Builder::new()
            .rng_seed(machine::roll())
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(1 << 20))
            .min_message_latency(Duration::ZERO)
            .max_message_latency(Duration::from_millis(3))
            .tcp_capacity(1 << 16)
            .build();
        let world = World::new(MINIONS, CLIENTS);
        let of = Rc::clone(&world);
        sim.host("master", move || Rc::clone(&of).master());
        for number in 1..=MINIONS {
            let of = Rc::clone(&world);
            sim.host(Place::Minion(number).name(), move || {
                Rc::clone(&of).minion(number)
            });
        }
        for number in 1..=CLIENTS {
            let of = Rc::clone(&world);
            sim.host(Place::Client(number).name(), move || {
                Client::live(Rc::clone(&of), number)
            });
        }
        Run {
            world,
            sim,
            ended: Ended::default(),
        }
    }

    /// One step of time; whether nothing is wrong.
    fn step(&mut self) -> bool {
        self.world.set_elapsed(self.sim.elapsed());
        if let Err(error) = self.sim.step() {
            self.world.book().violated(format!("a host ended: {error}"));
        }
        if self.sim.elapsed().subsec_millis() % 100 == 0 {
            self.ended.step(&self.world);
        }
        for panic in PANICS.take() {
            self.world
                .book()
                .violated(format!("a task panicked: {panic}"));
        }
        self.world.book().violations.is_empty()
    }

    /// Steps until something is so; whether it came, in this time, with nothing wrong.
    fn until(&mut self, what: &str, limit: Duration, is: impl Fn(&World) -> bool) -> bool {
        let end = self.sim.elapsed() + limit;
        while !is(&self.world) {
            if self.sim.elapsed() > end {
                let wrong = format!("{what} after {limit:?} without a fault");
                self.world.book().violated(wrong);
            }
            if !self.step() {
                return false;
            }
        }
        true
    }

    fn finish(mut self) -> Report {
        let mut faults = Faults::new(Rc::clone(&self.world), MINIONS);
        let mut well = true;
        while well && self.sim.elapsed() < STORM {
            faults.step(&mut self.sim);
            well = self.step();
        }
        faults.stop(&mut self.sim);
        self.world.end();
        let well =
            well && self.until("clients work", CLIENTS_END, World::clients_are_done) && self.heal();
        debug_assert_eq!(well, self.world.book().violations.is_empty());
        let disks: u64 = self.world.machines.iter().map(|m| m.disk.changes()).sum();
        let book = self.world.book();
        Report {
            violations: book.violations.clone(),
            digest: book.digest ^ disks,
            answers: book.answers,
            errors: book.errors,
            faults: faults.struck,
            elapsed: self.sim.elapsed(),
        }
    }

    fn heal(&mut self) -> bool {
        let healed = Rc::new(Cell::new(false));
        let looker = Place::Client(CLIENTS + 1).name();
        let (world, told) = (Rc::clone(&self.world), Rc::clone(&healed));
        self.sim.host(looker, move || {
            let (world, told) = (Rc::clone(&world), Rc::clone(&told));
            async move {
                look(&world).await;
                told.set(true);
                std::future::pending::<()>().await;
                Ok(())
            }
        });
        self.until("not everything is well", HEALED + HEALED, |_| healed.get())
    }
}

/// Waits until everything is well, and then looks whether it really is.
async fn look(world: &Rc<World>) {
    let begun = world.elapsed();
    // What has rotted and was not read since is found and healed.
    while let Err(error) = copies::look_at_all(MINIONS).await {
        tracing::debug!(target: "sim", error, "cannot look at all replicas yet");
        if world.elapsed() > begun + HEALED {
            return world
                .book()
                .violated(format!("replicas cannot be looked at: {error}"));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let wants = match copies::status().await {
            Ok(status) => copies::wants(&status, MINIONS),
            Err(error) => error,
        };
        let wants = match wants.is_empty() {
            true => leftovers::look(world, MINIONS)
                .await
                .unwrap_or_else(|error| error),
            false => wants,
        };
        if wants.is_empty() {
            break;
        }
        tracing::debug!(target: "sim", wants, "is not well yet");
        if world.elapsed() > begun + HEALED {
            let short = copies::short().await;
            let wrong = format!("it does not heal: {wants}; blocks without all copies: {short:?}");
            return world.book().violated(wrong);
        }
    }
    let dfs = world.connect(CLIENTS + 1).await;
    promises::check(world, &dfs).await;
    if let Err(wrong) = copies::check(MINIONS).await {
        world.book().violated(wrong);
    }
    tables::check(world).await;
}
