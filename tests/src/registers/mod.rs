//! Whether what several clients did to a register can be told as if one had done it after the other.
//!
//! A register holds one value. Each operation on it has a moment at which it was asked for and, unless
//! nobody knows how it ended, one at which it was answered; it took effect at some moment between. The
//! history is *linearizable* if such moments can be chosen so that every read finds what was written last.
//! The search is exact: as time passes it keeps every state that the register can be in, each with the
//! operations under way that it already counts (after Wing and Gong, and Lowe). It takes long only where
//! many operations are under way at once. Whose values they are, and what a mixture of two is, is for the
//! caller to say.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write,
};

/// What a register holds. The caller gives each write a value of its own, so that a read tells whose it is.
pub type Value = u64;

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// It holds this from then on.
    Write(Value),
    /// It held this.
    Read(Value),
}

/// One operation, in units of one clock.
#[derive(Clone, Debug)]
pub struct Operation {
    /// When it was asked for.
    pub start: u64,
    /// When it was answered; `None` if nobody knows whether it happened, or will.
    pub end: Option<u64>,
    /// What it was.
    pub deed: Deed,
    /// Who did it and how, for messages.
    pub by: String,
}

/// A state that the register can be in: what it holds, and which operations under way have happened.
type State = (Value, BTreeSet<usize>);

/// Finds an order of the operations that explains all answers, or says which answer cannot be explained.
pub fn check(initial: Value, operations: &[Operation]) -> Result<(), String> {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        if operation.end.is_none() && !was_read(operation, operations) {
            // It can be told as never having happened.
            continue;
        }
        events.push((operation.start, false, number));
        if let Some(end) = operation.end {
            events.push((end, true, number));
        }
    }
    // At the same moment questions come before answers: clocks are coarse, and this accuses nobody.
    events.sort_unstable();
    let mut open: BTreeSet<usize> = BTreeSet::new();
    let mut states: HashSet<State> = HashSet::from([(initial, BTreeSet::new())]);
    for (_, is_answer, number) in events {
        if !is_answer {
            open.insert(number);
            continue;
        }
        let next = answered(&states, number, &open, operations);
        if next.is_empty() {
            return Err(explain(number, &states, operations));
        }
        states = next;
        open.remove(&number);
    }
    Ok(())
}

/// Whether somebody read what an operation wrote.
fn was_read(operation: &Operation, operations: &[Operation]) -> bool {
    let Deed::Write(value) = operation.deed else {
        return false;
    };
    operations.iter().any(|one| one.deed == Deed::Read(value))
}

/// The states in which `number` has happened by its answer, which no longer counts as under way.
fn answered(
    states: &HashSet<State>,
    number: usize,
    open: &BTreeSet<usize>,
    operations: &[Operation],
) -> HashSet<State> {
    let mut next = HashSet::new();
    let mut seen = states.clone();
    let mut stack: Vec<State> = states.iter().cloned().collect();
    while let Some((value, mut counted)) = stack.pop() {
        if counted.remove(&number) {
            next.insert((value, counted));
            continue;
        }
        for one in open.iter().filter(|one| !counted.contains(one)) {
            let after = match operations[*one].deed {
                Deed::Write(written) => written,
                Deed::Read(found) if found == value => value,
                Deed::Read(_) => continue,
            };
            let mut counted = counted.clone();
            counted.insert(*one);
            let state = (after, counted);
            if seen.insert(state.clone()) {
                stack.push(state);
            }
        }
    }
    next
}

/// How many operations before the one that cannot be explained are told.
const TOLD: usize = 15;

fn explain(number: usize, states: &HashSet<State>, operations: &[Operation]) -> String {
    let wrong = &operations[number];
    let possible: BTreeSet<Value> = states.iter().map(|(value, _)| *value).collect();
    let mut text = format!(
        "{} cannot be explained: {}\nbefore it the register held one of {possible:?}, and these were \
         done or under way:\n",
        line(wrong),
        verdict(wrong, operations),
    );
    let mut around: Vec<&Operation> = operations
        .iter()
        .filter(|one| wrong.end.is_none_or(|end| one.start <= end))
        .filter(|one| match one.deed {
            Deed::Write(_) => true,
            Deed::Read(found) => possible.contains(&found),
        })
        .collect();
    around.sort_by_key(|one| one.start);
    for one in &around[around.len().saturating_sub(TOLD)..] {
        let _ = writeln!(text, "  {}", line(one));
    }
    text
}

/// What is wrong with an answer, as far as a sentence can say it.
fn verdict(wrong: &Operation, operations: &[Operation]) -> String {
    let Deed::Read(value) = wrong.deed else {
        return "a read that was answered before rules it out".to_owned();
    };
    let Some(writer) = operations.iter().find(|one| one.deed == Deed::Write(value)) else {
        return format!("{value} was never written, or is what it held at first");
    };
    if wrong.end.is_some_and(|end| end < writer.start) {
        return format!("{value} was written only later");
    }
    let newer = operations.iter().find(|one| {
        matches!(one.deed, Deed::Write(_))
            && writer.end.is_some_and(|end| end < one.start)
            && one.end.is_some_and(|end| end < wrong.start)
    });
    match (newer, newer.and_then(|newer| newer.end)) {
        (Some(newer), Some(end)) => format!(
            "it is old: {:?} had been answered {} us before it was asked",
            newer.deed,
            (wrong.start - end) / 1000
        ),
        _ => format!("an earlier read had found what came after {value}, or it came and went"),
    }
}

fn line(one: &Operation) -> String {
    let end = one
        .end
        .map_or("?".to_owned(), |end| (end / 1000).to_string());
    format!(
        "[{}, {end}] us {:?} by {}",
        one.start / 1000,
        one.deed,
        one.by
    )
}

#[cfg(test)]
mod tests {
    use super::{
        Deed::{Read, Write},
        Operation, check,
    };
    use proptest::prelude::*;

    fn history(told: &[(u64, u64, super::Deed)]) -> Vec<Operation> {
        let one = |&(start, end, deed): &(u64, u64, super::Deed)| Operation {
            start,
            end: (end > 0).then_some(end),
            deed,
            by: "one".to_owned(),
        };
        told.iter().map(one).collect()
    }

    #[test]
    fn what_one_could_have_done_passes() {
        for told in [
            &[(1, 2, Write(1)), (3, 4, Read(1))][..],
            &[(1, 2, Read(0)), (3, 4, Write(1))],
            // A write under way may be seen or not, and by the one and not yet by the other.
            &[(1, 9, Write(1)), (2, 3, Read(0)), (4, 5, Read(1))],
            &[(1, 9, Write(1)), (2, 6, Read(1)), (3, 5, Read(0))],
            // Two writes at once, in either order.
            &[(1, 5, Write(1)), (2, 4, Write(2)), (6, 7, Read(1))],
            &[(1, 5, Write(1)), (2, 4, Write(2)), (6, 7, Read(2))],
            // Nobody knows how it ended: it may come much later, or never.
            &[(1, 0, Write(1)), (2, 3, Read(0)), (8, 9, Read(1))],
            &[(1, 0, Write(1)), (2, 3, Write(2)), (8, 9, Read(2))],
            // The same value twice is two writes.
            &[(1, 2, Write(1)), (3, 4, Write(0)), (5, 6, Read(0))],
        ] {
            check(0, &history(told)).expect("linearizable");
        }
    }

    #[test]
    fn what_nobody_could_have_done_is_found() {
        for (told, why) in [
            (&[(1, 2, Write(1)), (3, 4, Read(0))][..], "Read(0)"),
            (&[(1, 2, Read(1)), (3, 4, Write(1))], "only later"),
            (&[(1, 2, Write(1)), (3, 4, Read(7))], "never written"),
            (
                &[(1, 2, Write(1)), (3, 4, Write(2)), (5, 6, Read(1))],
                "is old",
            ),
            // Seen, and then not seen any more.
            (
                &[(1, 9, Write(1)), (2, 3, Read(1)), (4, 5, Read(0))],
                "Read(0)",
            ),
            // Two who see two writes in different orders.
            (
                &[
                    (1, 5, Write(1)),
                    (1, 5, Write(2)),
                    (6, 7, Read(1)),
                    (8, 9, Read(2)),
                ],
                "Read(2)",
            ),
            (
                &[(1, 0, Write(1)), (2, 3, Read(1)), (4, 5, Read(0))],
                "Read(0)",
            ),
        ] {
            let found = check(0, &history(told)).expect_err("not linearizable");
            assert!(found.contains(why), "{found}");
        }
    }

    /// Tries every order.
    fn slow_check(value: u64, left: &[Operation]) -> bool {
        left.iter().all(|one| one.end.is_none())
            || (0..left.len()).any(|at| {
                let one = &left[at];
                let waits = |other: &Operation| other.end.is_some_and(|end| end < one.start);
                let mut rest = left.to_vec();
                rest.remove(at);
                if rest.iter().any(waits) {
                    return false;
                }
                match one.deed {
                    Write(written) => slow_check(written, &rest),
                    Read(found) => found == value && slow_check(value, &rest),
                }
            })
    }

    proptest! {
        #[test]
        fn the_search_says_what_every_order_says(
            told in prop::collection::vec((0_u64..20, 0_u64..6, any::<bool>(), 0_u64..4, 0..10), 0..7)
        ) {
            let one = |(start, lasts, writes, value, known): (u64, u64, bool, u64, i32)| Operation {
                start,
                end: (known > 0 || !writes).then_some(start + lasts),
                deed: if writes { Write(value) } else { Read(value) },
                by: String::new(),
            };
            let told: Vec<Operation> = told.into_iter().map(one).collect();
            prop_assert_eq!(check(0, &told).is_ok(), slow_check(0, &told));
        }
    }
}
