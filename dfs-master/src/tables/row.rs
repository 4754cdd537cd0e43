//! How a row becomes bytes: a version byte, then postcard.
//!
//! Each type of row has its own version; what an older build wrote is read by the type's own
//! [`Row::upgrade`], and what a newer one wrote is refused by name.

use crate::tables::{damage::Damage, key::Key};
use serde::{Serialize, de::DeserializeOwned};

/// A type of row.
pub trait Row: Serialize + DeserializeOwned {
    /// What its key is made of.
    type Id<'a>: Copy;

    /// The version that this build writes.
    const VERSION: u8 = 1;

    /// What it is, for messages.
    const WHAT: &'static str;

    /// Its key.
    fn key<'a>(id: Self::Id<'a>) -> Key<'a>;

    /// Reads what version `version` wrote, an older one than [`Row::VERSION`].
    fn upgrade(version: u8, bytes: &[u8]) -> Option<Self> {
        let _ = (version, bytes);
        None
    }
}

/// Appends the bytes of a row to `into`.
pub fn encode<R: Row>(row: &R, into: Vec<u8>) -> Vec<u8> {
    let mut into = into;
    into.push(R::VERSION);
    postcard::to_extend(row, into).expect("rows are plain values, and memory takes any of them")
}

/// Reads what an older build wrote, to which newer ones append a field: with `end` as that.
pub fn with_end<R: Row>(bytes: &[u8], end: &[u8]) -> Option<R> {
    whole(&[bytes, end].concat())
}

fn whole<R: Row>(bytes: &[u8]) -> Option<R> {
    let (row, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(row)
}

/// Reads a row; `key` is for the message.
pub fn decode<R: Row>(key: &[u8], bytes: &[u8]) -> Result<R, Damage> {
    let row = match bytes.split_first() {
        Some((version, rest)) if *version == R::VERSION => whole(rest),
        Some((version, rest)) if *version < R::VERSION => R::upgrade(*version, rest),
        Some((version, _)) => {
            return Err(Damage::Content(format!(
                "the {} row at {} has version {version}, and this build knows versions up to {}; \
                 start a build that is at least as new as the one that wrote it",
                R::WHAT,
                key.escape_ascii(),
                R::VERSION
            )));
        }
        None => None,
    };
    row.ok_or_else(|| {
        Damage::Content(format!(
            "the {} row at {} is damaged; restore the master's folder from a copy of this file \
             system",
            R::WHAT,
            key.escape_ascii()
        ))
    })
}
