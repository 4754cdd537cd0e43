//! The desk where orders to minions lie until they are reported finished.
//!
//! One order for each replica at a time; a newer one takes its place under a higher number, and
//! what is reported of the older one is passed over.

use dfs_proto::{
    id::{BlockId, MinionId},
    minion::{Finished, Order, Task},
};
use std::collections::BTreeMap;

/// Orders that wait for one minion, at the most; what does not fit is found again later.
const WAITING_MAX: usize = 8192;
/// Orders in one answer.
const ANSWER_MAX: usize = 256;

/// Orders that are not finished.
#[derive(Debug, Default)]
pub struct Desk {
    term: u64,
    number: u64,
    waiting: BTreeMap<MinionId, BTreeMap<BlockId, Order>>,
}

impl Desk {
    /// The desk of a leader of this term, which must be higher than that of every leader before.
    pub fn of(term: u64) -> Desk {
        Desk {
            term,
            ..Desk::default()
        }
    }

    /// Gives an order, unless the same one waits already.
    pub fn issue(&mut self, minion: MinionId, block: BlockId, task: Task) {
        let waiting = self.waiting.entry(minion).or_default();
        if waiting.get(&block).is_some_and(|order| order.task == task) {
            return;
        }
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&block) {
            return;
        }
        self.number += 1;
        let order = Order {
            term: self.term,
            number: self.number,
            block,
            task,
        };
        waiting.insert(block, order);
    }

    /// Takes an order back that is not reported finished.
    pub fn withdraw(&mut self, minion: MinionId, block: BlockId) {
        if let Some(waiting) = self.waiting.get_mut(&minion) {
            waiting.remove(&block);
        }
    }

    /// The oldest orders for a minion.
    pub fn for_minion(&self, minion: MinionId) -> Vec<Order> {
        let waiting = self
            .waiting
            .get(&minion)
            .into_iter()
            .flat_map(BTreeMap::values);
        let mut orders: Vec<Order> = waiting.cloned().collect();
        orders.sort_unstable_by_key(|order| order.number);
        orders.truncate(ANSWER_MAX);
        orders
    }

    /// An order is reported finished; answers it, if it is the one that waits.
    pub fn finish(&mut self, minion: MinionId, finished: &Finished) -> Option<Order> {
        let waiting = self.waiting.get_mut(&minion)?;
        let order = waiting.get(&finished.block)?;
        if (order.term, order.number) != (finished.term, finished.number) {
            return None;
        }
        waiting.remove(&finished.block)
    }

    /// Whether an order for this replica waits.
    pub fn waits(&self, minion: MinionId, block: BlockId) -> bool {
        self.waiting
            .get(&minion)
            .is_some_and(|waiting| waiting.contains_key(&block))
    }

    /// Whether an order to make a copy of this block waits.
    pub fn copies(&self, minion: MinionId, block: BlockId) -> bool {
        let waiting = self.waiting.get(&minion);
        let order = waiting.and_then(|waiting| waiting.get(&block));
        order.is_some_and(|order| matches!(order.task, Task::Copy { .. }))
    }

    /// The minions for which an order for this block waits.
    pub fn minions_of(&self, block: BlockId) -> Vec<MinionId> {
        let all = self.waiting.iter();
        let of_it = all.filter(|(_, waiting)| waiting.contains_key(&block));
        of_it.map(|(minion, _)| *minion).collect()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.values().map(BTreeMap::len).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_repeated_until_finished_and_replaced_by_newer_ones() {
        let (minion, block) = (MinionId(1), BlockId(9));
        let mut desk = Desk::of(7);
        desk.issue(minion, block, Task::Measure);
        desk.issue(minion, block, Task::Measure);
        let orders = desk.for_minion(minion);
        assert_eq!(orders.len(), 1);
        assert_eq!(desk.for_minion(minion), orders, "repeated");
        desk.issue(minion, block, Task::Seal { length: 5 });
        let done = |order: &Order| Finished {
            term: order.term,
            number: order.number,
            block: order.block,
            outcome: Ok(None),
        };
        assert_eq!(desk.finish(minion, &done(&orders[0])), None, "an older one");
        let newer = desk.for_minion(minion);
        assert!(newer[0].number > orders[0].number && newer[0].term == 7);
        assert_eq!(desk.minions_of(block), [minion]);
        assert!(desk.waits(minion, block) && !desk.copies(minion, block));
        assert_eq!(desk.minions_of(BlockId(8)), []);
        assert_eq!(
            desk.finish(MinionId(2), &done(&newer[0])),
            None,
            "of another minion"
        );
        assert_eq!(
            desk.finish(minion, &done(&newer[0])),
            Some(newer[0].clone())
        );
        assert!(desk.is_empty() && !desk.waits(minion, block));
    }
}
