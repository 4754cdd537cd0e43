//! All rules, one after the other.

use super::{
    blocks, bytes,
    faults::Faults,
    holders, names,
    pass::{Ended, Pass},
};
use crate::tables::txn::Rows;

/// Everything that does not fit. `goes_on` is called now and then with the rows seen so far; it may take
/// its time, and says whether to go on.
pub fn audit<R: Rows>(read: &R, goes_on: &mut dyn FnMut(u64) -> bool) -> Result<Faults, Ended> {
    let mut pass = Pass::new(read, goes_on);
    let mut seen = holders::Seen::load(&mut pass)?;
    let named = names::check(&mut pass)?;
    bytes::check(&mut pass, &mut seen, &named)?;
    blocks::check(&mut pass, &mut seen)?;
    holders::check(&mut pass, &seen)?;
    Ok(pass.end())
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
