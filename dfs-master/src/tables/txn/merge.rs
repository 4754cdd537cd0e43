//! One ordered sequence out of several layers of changes and a base below them.

use crate::tables::{
    damage::Damage,
    key::KeyRange,
    txn::{
        base::BaseView,
        overlay::{Overlay, Slot},
        read::{Direction, Each},
    },
};
use std::{cmp::Ordering, collections::btree_map, ops::ControlFlow};

/// The next change of one layer.
struct Head<'a> {
    changes: btree_map::Range<'a, Box<[u8]>, Slot>,
    next: Option<(&'a [u8], &'a Slot)>,
    direction: Direction,
}

impl<'a> Head<'a> {
    fn of(layer: &'a Overlay, range: &KeyRange, direction: Direction) -> Head<'a> {
        let mut head = Head {
            changes: layer.range(range.bounds()),
            next: None,
            direction,
        };
        head.advance();
        head
    }

    fn advance(&mut self) {
        let next = match self.direction {
            Direction::Up => self.changes.next(),
            Direction::Down => self.changes.next_back(),
        };
        self.next = next.map(|(key, slot)| (&**key, slot));
    }
}

/// Calls `each` with the keys and values in `range`, in order: of each key what the topmost layer
/// says that has it, else the base. `layers` are topmost first.
pub(super) fn visit(
    layers: &[&Overlay],
    base: &BaseView,
    range: &KeyRange,
    direction: Direction,
    each: &mut Each<'_>,
) -> Result<(), Damage> {
    if range.is_empty() {
        return Ok(());
    }
    let mut heads: Vec<Head<'_>> = layers
        .iter()
        .map(|layer| Head::of(layer, range, direction))
        .collect();
    let mut below = base.range(range, direction)?;
    let mut bottom = below.next().transpose()?;
    let first = |a: &[u8], b: &[u8]| match direction {
        Direction::Up => a.cmp(b),
        Direction::Down => b.cmp(a),
    };
    loop {
        let top = heads
            .iter()
            .filter_map(|head| head.next)
            .reduce(|best, next| {
                if first(next.0, best.0).is_lt() {
                    next
                } else {
                    best
                }
            });
        // Of equal keys `reduce` keeps the topmost layer's; the base gives way to any layer.
        let order = match (top, bottom) {
            (None, None) => return Ok(()),
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some((key, _)), Some((base_key, _))) => first(key, base_key),
        };
        if order.is_gt() {
            let (key, value) = bottom.expect("it comes first");
            if each(key, value)?.is_break() {
                return Ok(());
            }
            bottom = below.next().transpose()?;
            continue;
        }
        let (key, slot) = top.expect("it comes first");
        if let Some(value) = slot.value()
            && each(key, value)? == ControlFlow::Break(())
        {
            return Ok(());
        }
        for head in &mut heads {
            if head.next.is_some_and(|(other, _)| other == key) {
                head.advance();
            }
        }
        if order.is_eq() {
            bottom = below.next().transpose()?;
        }
    }
}
