//! Keys with their values, lent or handed over, in order.

use crate::tables::damage::Damage;

/// A key and its value.
pub(super) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Pairs in order.
pub(super) type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair<'a>, Damage>> + 'a>;

/// Pairs that are handed over, in order.
pub(super) type OwnedPairs<'a> = dyn Iterator<Item = Result<OwnedPair, Damage>> + 'a;

/// A key and its value, handed over.
pub(super) type OwnedPair = (Vec<u8>, Vec<u8>);
