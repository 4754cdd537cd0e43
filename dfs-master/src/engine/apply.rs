//! The only writer of the tables: applies the log's entries, in order, each once.
//!
//! The same commands lead to the same tables on every machine and in every run (N1). A command that
//! is refused leaves no trace but its answer. Between two entries the tables are whole, and only
//! there a checkpoint begins.

pub use crate::tables::{
    damage::Damage,
    txn::{MemoryTables, Settings, Storage},
};
use crate::{
    blocks::{reclaim, replicas, seal, space, wear},
    engine::{
        audit::mend,
        command::{Act, Command, Outcome, Position, RewriteStep},
        operate::operate,
        reader::Reader,
        replies::{self, Admission},
    },
    namespace::session,
    policy, quota,
    tables::{
        key::{Key, all},
        rows::{BootsRow, FilesystemRow, InodeRow, MinionRow, NumbersRow, RecoveredRow},
        txn::{Direction, Rows, Tables, Txn},
    },
};
use dfs_proto::{
    attr::FileKind,
    change::{Change, Changed},
    error::FsError,
    id::{BlockId, InodeId, MinionId, SessionId},
    minion::Registration,
    time::Timestamp,
};
use std::ops::ControlFlow;

/// The state machine.
#[derive(Debug)]
pub struct Machine {
    tables: Tables,
    /// What stopped it: the last entry was not applied as a whole, and nothing of it may be kept.
    stopped: Option<Damage>,
}

impl Machine {
    /// Opens the tables as their last checkpoint left them; the log goes on after
    /// [`Machine::position`].
    pub fn open(storage: &Storage, settings: Settings) -> Result<Machine, Damage> {
        let tables = Tables::open(storage, settings)?;
        let stopped = None;
        Ok(Machine { tables, stopped })
    }

    /// The last entry applied.
    pub fn position(&self) -> Position {
        self.tables.position()
    }

    /// The index of the last entry applied; 0 before the first.
    pub fn applied_index(&self) -> u64 {
        self.tables.index()
    }

    /// Applies the commands of one log entry, and gives their outcomes in the same order. Entries
    /// come in the order of the log; one without commands (a blank, a membership) comes with none.
    /// On damage the master must stop: nothing it would say from then on could be relied on.
    pub fn apply(&mut self, at: Position, commands: &[Command]) -> Result<Vec<Outcome>, Damage> {
        self.goes_on()?;
        let applied = self.tables.index();
        if at.index <= applied {
            return Err(Damage::Content(format!(
                "log entry {} came after {applied}: the log and the tables do not belong together; \
                 restore the master's folder as a whole",
                at.index
            )));
        }
        self.tables.checkpoint_if_large();
        let outcomes = commands
            .iter()
            .map(|command| self.apply_one(at.index, command))
            .collect::<Result<Vec<Outcome>, FsError>>();
        let outcomes = outcomes.map_err(|damage| {
            let damage = Damage::Content(damage.to_string());
            self.stopped = Some(damage.clone());
            damage
        })?;
        self.tables.advance(at);
        Ok(outcomes)
    }

    fn goes_on(&self) -> Result<(), Damage> {
        self.stopped.clone().map_or(Ok(()), Err)
    }

    /// Only damage is an error here; what is refused is an outcome, rows that contradict each other too:
    /// each master and each replay refuses the same.
    fn apply_one(&self, index: u64, command: &Command) -> Result<Outcome, FsError> {
        let now = command.now;
        self.tables.transact(|txn| {
            let outcome = match &command.act {
                Act::Change {
                    ticket,
                    change,
                    grant,
                } => {
                    return once(txn, *ticket, index, change, |txn| {
                        operate(txn, now, ticket.session, change, grant)
                    });
                }
                other => act(txn, now, other),
            };
            match outcome {
                Ok(outcome) => Ok(outcome),
                Err(damage @ FsError::Damaged(_)) => Err(damage),
                Err(refused) => {
                    txn.forget();
                    Ok(Outcome::Refused(refused))
                }
            }
        })
    }

    /// Begins to write a checkpoint of what was applied, in the background; `false` when one is
    /// being written, or nothing changed. Apply does so by itself when the changes in memory grow
    /// large; call this every few seconds.
    pub fn checkpoint(&mut self) -> Result<bool, Damage> {
        self.goes_on()?;
        Ok(self.tables.checkpoint())
    }

    /// Waits until everything applied so far is in the tables' file, synced.
    pub fn checkpoint_now(&mut self) -> Result<Position, Damage> {
        self.goes_on()?;
        self.tables.checkpoint_now()
    }

    /// Replaces everything by the rows of a snapshot ([`Reader::snapshot`]), synced. On an error
    /// nothing has changed.
    pub fn install(&mut self, rows: &mut dyn std::io::Read) -> Result<Position, Damage> {
        let installed = self.tables.install(rows)?;
        self.stopped = None;
        Ok(installed)
    }

    /// The tables themselves, for tests that damage them.
    #[cfg(test)]
    pub(in crate::engine) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The other side: reads what was applied, from any thread.
    pub fn reader(&self) -> Reader {
        Reader::of(self.tables.clone())
    }
}

impl Drop for Machine {
    /// A checkpoint that is being written is let finish: its thread holds the tables' file.
    fn drop(&mut self) {
        self.tables.settle();
    }
}

/// Carries out a session's change unless that was done before, and remembers the answer.
fn once(
    txn: &mut Txn<'_>,
    ticket: dfs_proto::change::Ticket,
    index: u64,
    change: &Change,
    carry_out: impl FnOnce(&mut Txn<'_>) -> Result<Changed, FsError>,
) -> Result<Outcome, FsError> {
    let progress = match replies::admit(txn, ticket)? {
        Admission::New(progress) => progress,
        Admission::Again((index, answer)) => return Ok(Outcome::Changed { index, answer }),
        // The end of a session takes its answers with it: asked again, it has ended.
        Admission::Refused(FsError::SessionEnded(_)) if *change == Change::EndSession => {
            let answer = Ok(Changed::Done);
            return Ok(Outcome::Changed { index, answer });
        }
        Admission::Refused(refused) => {
            let answer = Err(refused);
            return Ok(Outcome::Changed { index, answer });
        }
    };
    let answer = carry_out(txn);
    match &answer {
        Err(FsError::Damaged(_)) => return answer.map(|_| Outcome::Done),
        Err(_) => txn.forget(),
        Ok(_) => {}
    }
    if *change != Change::EndSession {
        replies::remember(txn, ticket, progress, index, &answer)?;
    }
    Ok(Outcome::Changed { index, answer })
}

/// Carries out what is no session's change.
fn act(txn: &mut Txn<'_>, now: Timestamp, act: &Act) -> Result<Outcome, FsError> {
    match act {
        Act::Format {
            filesystem,
            uid,
            gid,
            mode,
        } => {
            let row = FilesystemRow {
                filesystem: *filesystem,
                created: now,
            };
            format(txn, now, &row, (*uid, *gid), *mode)
        }
        Act::Boot { log_end } => boot(txn, *log_end),
        Act::Recover {
            log_end,
            boots,
            minions,
        } => recover(txn, now, *log_end, (*boots, *minions)),
        Act::OpenSession {
            session,
            host,
            purpose,
        } => session::begin(txn, now, *session, host, purpose).map(|()| Outcome::Done),
        Act::EndSession { session } => session::end(txn, now, *session).map(|()| Outcome::Done),
        Act::RegisterMinion(registration) => register(txn, registration),
        Act::DrainMinion { minion, drains } => drain(txn, *minion, Some(*drains)),
        Act::RemoveMinion { minion } => drain(txn, *minion, None),
        Act::SealMeasured {
            block,
            measured,
            waited,
        } => seal::by_measure(txn, now, *block, measured, *waited).map(Outcome::Sealed),
        Act::Replicas(news) => each(news, |(block, minion, news)| {
            replicas::note(txn, *block, *minion, *news)
        }),
        Act::Reclaim {
            before,
            blocks_max,
            rows_max,
        } => reclaim(txn, now, *before, (*blocks_max, *rows_max)),
        Act::Quota { .. } | Act::Policy { .. } => {
            rule(txn, act)?;
            Ok(Outcome::Done)
        }
        Act::Count { entries_max } => {
            let more = policy::step::step(txn, *entries_max)? == 0;
            Ok(Outcome::Counted { more })
        }
        Act::Punch { blocks } => {
            wear::decide(txn, now, blocks)?;
            Ok(Outcome::Done)
        }
        Act::Punched(done) => {
            wear::carried_out(txn, now, done)?;
            Ok(Outcome::Done)
        }
        Act::Rewrite {
            block,
            session,
            step,
        } => rewrite(txn, now, (*session, *block), step),
        Act::Mend(mends) => each(mends, |one| mend(txn, now, one)),
        Act::Change { .. } => unreachable!("changes of sessions are carried out once, elsewhere"),
    }
}

/// A directory gets a rule for what is in it, or loses it.
fn rule(txn: &mut Txn<'_>, act: &Act) -> Result<(), FsError> {
    match act {
        Act::Quota { directory, limits } => match limits {
            Some(limits) => quota::set::set(txn, *directory, *limits),
            None => quota::set::remove(txn, *directory),
        },
        Act::Policy { directory, copies } => match copies {
            Some(copies) => policy::set::set(txn, *directory, *copies),
            None => policy::set::remove(txn, *directory),
        },
        _ => unreachable!("the caller sends only rules of directories"),
    }
}

fn each<T>(all: &[T], act: impl FnMut(&T) -> Result<(), FsError>) -> Result<Outcome, FsError> {
    all.iter().try_for_each(act)?;
    Ok(Outcome::Done)
}

fn boot(txn: &mut Txn<'_>, log_end: u64) -> Result<Outcome, FsError> {
    let mut numbers = txn.row::<NumbersRow>(())?.unwrap_or_default();
    numbers.boot += 1;
    txn.put((), &numbers);
    let mut boots = txn.row::<BootsRow>(())?.unwrap_or_default();
    boots.begin(numbers.boot, log_end);
    txn.put((), &boots);
    Ok(Outcome::Booted(numbers.boot))
}

/// A start after which nothing is given out that may have been given out before.
fn recover(
    txn: &mut Txn<'_>,
    now: Timestamp,
    log_end: u64,
    (boots, minions): (u64, u32),
) -> Result<Outcome, FsError> {
    let mut numbers = txn.row::<NumbersRow>(())?.unwrap_or_default();
    numbers.boot += boots;
    numbers.minion = numbers.minion.saturating_add(minions);
    txn.put((), &numbers);
    let at = now;
    let boot = numbers.boot + 1;
    txn.put((), &RecoveredRow { at, boot });
    self::boot(txn, log_end)
}

fn reclaim(
    txn: &mut Txn<'_>,
    now: Timestamp,
    before: Timestamp,
    (blocks_max, rows_max): (u32, u32),
) -> Result<Outcome, FsError> {
    let left = reclaim::trim_step(txn, now, rows_max)?;
    let left = session::clear_step(txn, now, left)?;
    let blocks = reclaim::decide(txn, (before, now), blocks_max)?;
    let full = blocks.len() >= usize::try_from(blocks_max).unwrap_or(usize::MAX);
    Ok(Outcome::Reclaimed {
        blocks,
        more: left == 0 || full,
    })
}

fn rewrite(
    txn: &mut Txn<'_>,
    now: Timestamp,
    (session, block): (SessionId, BlockId),
    step: &RewriteStep,
) -> Result<Outcome, FsError> {
    let files = match step {
        RewriteStep::Begin(replicas, wants) => {
            wear::begin(txn, session, block, replicas, *wants)?;
            Vec::new()
        }
        RewriteStep::End(length) => {
            wear::end(txn, now, session, block, *length)?;
            Vec::new()
        }
        RewriteStep::Swap(moves) => wear::swap(txn, now, block, moves)?,
    };
    Ok(Outcome::Swapped(files))
}

/// Makes an empty file system, unless this is it already.
fn format(
    txn: &mut Txn<'_>,
    now: Timestamp,
    row: &FilesystemRow,
    owner: (u32, u32),
    mode: u16,
) -> Result<Outcome, FsError> {
    if let Some(there) = txn.row::<FilesystemRow>(())? {
        return if there.filesystem == row.filesystem {
            Ok(Outcome::Done)
        } else {
            Err(FsError::WrongFilesystem {
                ours: there.filesystem,
                theirs: row.filesystem,
            })
        };
    }
    let root = InodeRow {
        links: 2,
        parent: InodeId::ROOT,
        ..InodeRow::new(FileKind::Directory, mode, owner, now)
    };
    txn.insert((), row);
    txn.insert(InodeId::ROOT, &root);
    space::count(txn, |totals| totals.inodes += 1)?;
    Ok(Outcome::Done)
}

/// Notes a minion, and numbers it if it is new. One that lost the answer to its first registration
/// is known by its disks.
/// The next number that no minion has, whatever was noted as the last one.
fn free_number(txn: &Txn<'_>, last: u32) -> Result<MinionId, Damage> {
    let mut minion = MinionId(last.saturating_add(1));
    while txn.has::<MinionRow>(minion)? {
        minion.0 = minion.0.saturating_add(1);
    }
    Ok(minion)
}

fn register(txn: &mut Txn<'_>, registration: &Registration) -> Result<Outcome, FsError> {
    if let (Some(theirs), Some(row)) = (registration.filesystem, txn.row::<FilesystemRow>(())?)
        && theirs != row.filesystem
    {
        return Err(FsError::WrongFilesystem {
            ours: row.filesystem,
            theirs,
        });
    }
    let mut numbers = txn.row::<NumbersRow>(())?.unwrap_or_default();
    let minion = match registration.minion {
        Some(minion) => minion,
        None => match by_disks(txn, registration)? {
            Some(minion) => minion,
            None => free_number(txn, numbers.minion)?,
        },
    };
    // A number that these tables have not given out comes from a log tail that was lost.
    numbers.minion = numbers.minion.max(minion.0);
    txn.put((), &numbers);
    let before = txn.row::<MinionRow>(minion)?;
    let incarnation = before.as_ref().map_or(0, |row| row.incarnation) + 1;
    let row = MinionRow {
        registration: registration.clone(),
        incarnation,
        drains: before.is_some_and(|row| row.drains),
    };
    txn.put(minion, &row);
    Ok(Outcome::Registered {
        minion,
        incarnation,
    })
}

/// Has a minion drained, or not any more; or forgets it.
fn drain(txn: &mut Txn<'_>, minion: MinionId, drains: Option<bool>) -> Result<Outcome, FsError> {
    let row = txn.row::<MinionRow>(minion)?;
    let row = row.ok_or(FsError::UnknownMinion(minion))?;
    match drains {
        Some(drains) => txn.put(minion, &MinionRow { drains, ..row }),
        None => txn.delete::<MinionRow>(minion),
    }
    Ok(Outcome::Done)
}

fn by_disks(txn: &Txn<'_>, registration: &Registration) -> Result<Option<MinionId>, FsError> {
    let mut found = None;
    txn.each(
        all::minions().prefix(),
        Direction::Up,
        |key, row: MinionRow| {
            let known = &row.registration.disks;
            let shares = registration
                .disks
                .iter()
                .any(|disk| known.iter().any(|other| other.disk == disk.disk));
            match key {
                Key::Minion(minion) if shares => {
                    found = Some(minion);
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        },
    )?;
    Ok(found)
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "large_tests.rs"]
mod large_tests;
