//! Whether what the players did can be told as if one machine had done it.

use super::versions::{ABSENT, is_mixed, parts};
use super::{FIRST, Mixture, PAGE, Player, Register};
use dfs_tests::registers::{Deed, Operation, Value, check};
use std::{collections::HashMap, time::Duration};

fn mount_of(by: &str) -> Option<String> {
    by.split(" thread").next().map(str::to_owned)
}

/// Until when the mount of a write may see it before others do: its end, or the moment at which it was
/// told that it failed, though it may be done yet.
type Told = HashMap<Value, u64>;

fn seen_early_until(value: Value, write: &Operation, told: &Told) -> u64 {
    let end = write.end.or_else(|| told.get(&value).copied());
    end.unwrap_or(u64::MAX)
}

/// Whether writes that were under way on the same mount explain what was read: the kernel locks no page
/// for a read of bytes that it has.
fn explain(
    mixture: &Mixture,
    register: Register,
    history: &[(usize, usize, Operation)],
    told: &Told,
) -> Result<(), String> {
    let writes = history.iter().filter_map(|(of, page, one)| match one.deed {
        Deed::Write(value) if (*of, *page) == (mixture.register, 0) => Some((value, one)),
        _ => None,
    });
    let (start, end) = mixture.span;
    let is_begun = |value: Value, one: &Operation| {
        mount_of(&one.by) == mount_of(&mixture.by)
            && one.start <= end
            && seen_early_until(value, one, told) >= start
    };
    let writes: Vec<(Value, &Operation)> = writes.collect();
    let begun = writes.iter().filter(|(value, one)| is_begun(*value, one));
    let begun: Vec<Value> = begun.map(|(value, _)| *value).collect();
    let all: Vec<Value> = writes
        .iter()
        .map(|(value, _)| *value)
        .chain([FIRST])
        .collect();
    match is_mixed(&mixture.found, register, &begun, &all) {
        true => Ok(()),
        false => {
            let (what, parts) = (&mixture.what, parts(&mixture.found, &all));
            Err(format!("{what}: {parts}; under way here: {begun:x?}"))
        }
    }
}

/// Without reads of a write by the same mount that was still under way: the kernel puts bytes into the
/// page cache before it passes them on, so that readers on that mount can be ahead of all others, and
/// nobody can change that from outside of the kernel (docs/semantics.md).
fn without_early_sights(operations: &[Operation], told: &Told) -> Vec<Operation> {
    let mount = |one: &Operation| mount_of(&one.by);
    let writes = operations.iter().filter_map(|one| match one.deed {
        Deed::Write(value) if value != ABSENT => Some((value, one)),
        _ => None,
    });
    let writes: HashMap<Value, &Operation> = writes.collect();
    let is_early = |one: &&Operation| match one.deed {
        Deed::Read(value) => writes.get(&value).is_some_and(|write| {
            mount(write) == mount(one) && one.start < seen_early_until(value, write, told)
        }),
        Deed::Write(_) => false,
    };
    let kept = operations.iter().filter(|one| !is_early(one));
    kept.cloned().collect()
}

/// Findings that are told of each kind.
const TOLD: usize = 5;

/// Fails unless it can. The longest operation.
pub(super) fn judge(registers: &[Register], players: Vec<Player>) -> Duration {
    let mut wrong: Vec<String> = Vec::new();
    let mut history: Vec<(usize, usize, Operation)> = Vec::new();
    let mut mixtures: Vec<Mixture> = Vec::new();
    let (mut stale, mut failed, mut longest) = (0, 0, Duration::ZERO);
    let mut told = Told::new();
    for mut player in players {
        stale += player.stale;
        failed += player.failed;
        told.extend(player.told);
        longest = longest.max(player.longest);
        history.append(&mut player.history);
        wrong.append(&mut player.wrong);
        mixtures.append(&mut player.mixtures);
    }
    for mixture in &mixtures {
        wrong.extend(explain(mixture, registers[mixture.register], &history, &told).err());
    }
    let torn = wrong.len();
    wrong.truncate(TOLD);
    let (mut broken, mut early) = (0, 0);
    for (number, register) in registers.iter().enumerate() {
        for page in 0..register.bytes.div_ceil(PAGE) {
            let of_it = history
                .iter()
                .filter(|(r, p, _)| (*r, *p) == (number, page));
            let of_it: Vec<Operation> = of_it.map(|(_, _, one)| one.clone()).collect();
            if check(FIRST, &of_it).is_ok() {
                continue;
            }
            match check(FIRST, &without_early_sights(&of_it, &told)) {
                Ok(()) => early += 1,
                Err(why) => {
                    broken += 1;
                    wrong.push(format!("{}, page {page}: {why}", register.name));
                }
            }
        }
    }
    let steps = history.iter().filter(|(_, page, _)| *page == 0).count();
    println!(
        "{steps} operations, {failed} failed, {stale} stale, the longest {longest:?}, {torn} wrong by themselves, {} read while they were \
         written, {broken} pages with no explanation, {early} with one but for early sights of own \
         writes",
        mixtures.len()
    );
    wrong.truncate(2 * TOLD);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(steps > 100, "only {steps} operations were done");
    assert!(stale * 50 < steps, "{stale} opens were stale");
    longest
}
