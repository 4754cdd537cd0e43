//! What was promised: the oracle of the simulation.
//!
//! Every 512 bytes of every file say which write they are of. The book knows each write that was
//! issued for each of these stripes, and up to which of them a sync, a close or an answer has
//! promised that it is there. Each file is written by one client only; everybody reads it.

use crate::machine;
use dfs_proto::id::InodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    ops::Range,
};

/// Bytes that are written together or not at all.
pub(crate) const STRIPE: usize = 512;

/// A write, by its number; 0 is what was never written.
pub(crate) type Version = u64;

/// What is known of a stripe.
#[derive(Clone, Default)]
struct Stripe {
    /// Issued and not yet outdated by `synced`.
    issued: BTreeSet<Version>,
    /// What its writer was told is written.
    written: Version,
    /// What a sync has promised: it survives everything.
    synced: Version,
    /// What a close has promised: it survives all but a power cut.
    closed: Version,
}

/// A file.
#[derive(Clone, Default)]
struct Content {
    stripes: Vec<Stripe>,
    /// Nothing has gone wrong for its writer since it was opened there: it reads what it wrote.
    certain: bool,
    /// A read showed less than was written. That is so where bytes could not be sent in the
    /// background, and then its writer must be told at the next sync or close.
    suspect: Option<String>,
}

/// What a write, sync or close will have promised when it is answered.
pub(crate) struct Promise {
    inode: InodeId,
    versions: Vec<(usize, Version)>,
    cuts: u64,
}

/// How much a reader may expect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expecting {
    /// What was promised to everybody.
    Promised,
    /// All that its writer has been told is written, too.
    Written,
}

/// What a read must show of a stripe.
#[derive(Clone, Copy, Default)]
pub(crate) struct Least {
    promised: Version,
    written: Version,
}

/// What was issued and promised.
#[derive(Default)]
pub(crate) struct Book {
    files: BTreeMap<InodeId, Content>,
    /// All inodes there ever were.
    pub(crate) inodes: BTreeSet<InodeId>,
    last: Version,
    /// Power cuts so far.
    pub(crate) cuts: u64,
    /// What must not be and was seen.
    pub(crate) violations: Vec<String>,
    /// A digest of all that was noted.
    pub(crate) digest: u64,
    /// Notes so far, for people.
    pub(crate) answers: u64,
    /// Of these, those that were errors.
    pub(crate) errors: u64,
}

impl Book {
    /// Notes the answer to an operation.
    pub(crate) fn note(&mut self, what: &str, well: bool) {
        self.answers += 1;
        self.errors += u64::from(!well);
        let at = turmoil::sim_elapsed().unwrap_or_default().as_micros();
        let mut line = String::new();
        let _ = write!(line, "{at} {what} {well}");
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        tracing::debug!(target: "sim", "{line}");
    }

    /// Something that must not be was seen.
    pub(crate) fn violated(&mut self, what: String) {
        let at = turmoil::sim_elapsed().unwrap_or_default();
        tracing::error!(target: "sim", "{what}");
        self.violations.push(format!("{at:?}: {what}"));
    }

    /// A file was made.
    pub(crate) fn made(&mut self, inode: InodeId) {
        if !self.inodes.insert(inode) {
            self.violated(format!("inode {inode} was given out twice"));
        }
        let content = Content {
            certain: true,
            ..Content::default()
        };
        self.files.insert(inode, content);
    }

    /// Whether a file is known.
    pub(crate) fn knows(&self, inode: InodeId) -> bool {
        self.files.contains_key(&inode)
    }

    /// Stripes of a file that were ever written.
    pub(crate) fn stripes(&self, inode: InodeId) -> usize {
        self.files.get(&inode).map_or(0, |file| file.stripes.len())
    }

    /// Bytes for a write to these stripes, and what it promises when it is answered.
    pub(crate) fn write(&mut self, inode: InodeId, stripes: Range<usize>) -> (Vec<u8>, Promise) {
        self.last += 1;
        let version = self.last;
        let file = self.files.get_mut(&inode).expect("it was made");
        if file.stripes.len() < stripes.end {
            file.stripes.resize(stripes.end, Stripe::default());
        }
        let mut bytes = Vec::with_capacity(stripes.len() * STRIPE);
        for at in stripes.clone() {
            file.stripes[at].issued.insert(version);
            stamp(inode, at, version, &mut bytes);
        }
        let promise = Promise {
            inode,
            versions: stripes.map(|at| (at, version)).collect(),
            cuts: self.cuts,
        };
        (bytes, promise)
    }

    /// A write was answered.
    pub(crate) fn written(&mut self, promise: &Promise) {
        let file = self.files.get_mut(&promise.inode).expect("it was made");
        for &(at, version) in &promise.versions {
            file.stripes[at].written = version;
        }
    }

    /// What a sync or close promises that begins now.
    pub(crate) fn promise(&self, inode: InodeId) -> Promise {
        let file = self.files.get(&inode).expect("it was made");
        let versions = file.stripes.iter().enumerate();
        Promise {
            inode,
            versions: versions.map(|(at, stripe)| (at, stripe.written)).collect(),
            cuts: self.cuts,
        }
    }

    /// A sync was answered.
    pub(crate) fn synced(&mut self, promise: &Promise) {
        self.must_be_whole(promise);
        let file = self.files.get_mut(&promise.inode).expect("it was made");
        for &(at, version) in &promise.versions {
            let stripe = &mut file.stripes[at];
            stripe.synced = stripe.synced.max(version);
            stripe.closed = stripe.closed.max(version);
            stripe.issued.retain(|issued| *issued >= version);
        }
    }

    /// Whoever is told that all is well must have read what was written.
    fn must_be_whole(&mut self, promise: &Promise) {
        let file = self.files.get_mut(&promise.inode).expect("it was made");
        if let Some(seen) = file.suspect.take() {
            self.violated(format!("synced or closed as if it were well, but {seen}"));
        }
    }

    /// A close was answered.
    pub(crate) fn closed(&mut self, promise: &Promise) {
        if promise.cuts != self.cuts {
            return;
        }
        self.must_be_whole(promise);
        let file = self.files.get_mut(&promise.inode).expect("it was made");
        for &(at, version) in &promise.versions {
            file.stripes[at].closed = file.stripes[at].closed.max(version);
        }
    }

    /// Its writer was told that something went wrong, or is gone: what was written and not promised
    /// to everybody may be gone, too.
    pub(crate) fn failed(&mut self, inode: InodeId) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.certain = false;
            file.suspect = None;
            for stripe in &mut file.stripes {
                stripe.written = stripe.closed;
            }
        }
    }

    /// Its writer has it open anew.
    pub(crate) fn opened(&mut self, inode: InodeId) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.certain = true;
        }
    }

    /// The power went somewhere.
    pub(crate) fn cut(&mut self) {
        self.cuts += 1;
        for file in self.files.values_mut() {
            file.certain = false;
            file.suspect = None;
            for stripe in &mut file.stripes {
                stripe.closed = stripe.synced;
            }
        }
    }

    /// What a read of these stripes that begins now must show at least.
    pub(crate) fn expect(&self, inode: InodeId, of: Range<usize>, how: Expecting) -> Vec<Least> {
        let file = self.files.get(&inode).expect("it was made");
        let certain = file.certain && how == Expecting::Written;
        let least = |at| {
            let stripe: &Stripe = file.stripes.get(at)?;
            let promised = stripe.closed.max(stripe.synced);
            Some(Least {
                promised,
                written: if certain {
                    promised.max(stripe.written)
                } else {
                    promised
                },
            })
        };
        of.map(|at| least(at).unwrap_or_default()).collect()
    }

    /// Checks what a read gave: that it is of this place in this file, was written there, and is
    /// not older than what was expected when the read began.
    pub(crate) fn check(
        &mut self,
        who: &str,
        inode: InodeId,
        first: usize,
        least: &[Least],
        bytes: &[u8],
    ) {
        let (mut wrong, mut less) = (Vec::new(), None);
        let file = self.files.get(&inode).expect("it was made");
        for (i, least) in least.iter().enumerate() {
            let at = first + i;
            let part = bytes.get(i * STRIPE..).unwrap_or_default();
            let part = &part[..part.len().min(STRIPE)];
            let seen = match read_stamp(inode, at, part) {
                Ok(seen) => seen,
                Err(why) => {
                    wrong.push(format!("{who}: inode {inode}, stripe {at}: {why}"));
                    continue;
                }
            };
            let stripe = file.stripes.get(at);
            let issued = seen == 0 || stripe.is_some_and(|stripe| stripe.issued.contains(&seen));
            // What a sync outdates while a read is on its way is forgotten: only too old then.
            let outdated = stripe.is_some_and(|stripe| seen < stripe.synced);
            let short = |least| {
                let len = bytes.len();
                let was = format!("write {seen} where {least} was; {len} bytes from {first}");
                format!("{who}: inode {inode}, stripe {at}: {was}")
            };
            if seen < least.promised {
                wrong.push(short(least.promised));
            } else if seen < least.written {
                less.get_or_insert_with(|| short(least.written));
            } else if !issued && !outdated {
                let was = format!("write {seen}, which was never written there");
                wrong.push(format!("{who}: inode {inode}, stripe {at}: {was}"));
            }
        }
        if let Some(less) = less {
            tracing::info!(target: "sim", "less than was written, which must be told: {less}");
            let file = self.files.get_mut(&inode).expect("it was made");
            file.suspect.get_or_insert(less);
        }
        // One is as good as many.
        if let Some(first) = wrong.into_iter().next() {
            self.violated(first);
        }
    }
}

fn stamp(inode: InodeId, at: usize, version: Version, into: &mut Vec<u8>) {
    let begin = into.len();
    for word in [inode.0, at as u64, version] {
        into.extend_from_slice(&word.to_le_bytes());
    }
    let mut rest = inode.0 ^ (at as u64) << 32 ^ version;
    while into.len() < begin + STRIPE {
        rest = dfs_tests::pattern::mix(rest);
        into.extend_from_slice(&rest.to_le_bytes());
    }
}

/// Which write bytes are of; 0 for what was never written, also beyond the end.
fn read_stamp(inode: InodeId, at: usize, bytes: &[u8]) -> Result<Version, String> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let word = |i: usize| {
        let part = bytes.get(i * 8..i * 8 + 8);
        part.map(|part| u64::from_le_bytes(part.try_into().expect("8 bytes")))
    };
    let version = word(2).ok_or("a piece of a stamp")?;
    let mut whole = Vec::new();
    stamp(inode, at, version, &mut whole);
    match bytes == whole {
        true => Ok(version),
        false if word(0) != Some(inode.0) => Err(format!("bytes of inode {:?}", word(0))),
        false if word(1) != Some(at as u64) => Err(format!("bytes of stripe {:?}", word(1))),
        false => Err(format!("torn: {} bytes of write {version}", bytes.len())),
    }
}

/// A number below `end`.
pub(crate) fn below(end: usize) -> usize {
    usize::try_from(machine::roll() % end as u64).expect("below a usize")
}
