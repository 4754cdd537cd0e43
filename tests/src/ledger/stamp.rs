//! 4 KiB that say where they belong.

use crate::pattern;

/// Bytes of a block of the ledger.
pub(super) const BLOCK: usize = 4096;

/// Who wrote a block, to which file, in which version, at which index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    pub(super) scribe: u32,
    pub(super) file: u32,
    pub(super) version: u32,
    pub(super) index: u32,
}

const MAGIC: u64 = 0x6c65_6467_6572_3031;

impl Stamp {
    fn seed(self) -> u64 {
        let one = pattern::mix(u64::from(self.scribe) << 32 | u64::from(self.file));
        one ^ (u64::from(self.version) << 32 | u64::from(self.index))
    }

    /// The block.
    pub(super) fn block(self) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        pattern::fill(self.seed(), 0, &mut block);
        block[..8].copy_from_slice(&MAGIC.to_le_bytes());
        for (at, part) in [self.scribe, self.file, self.version, self.index]
            .iter()
            .enumerate()
        {
            block[8 + 4 * at..12 + 4 * at].copy_from_slice(&part.to_le_bytes());
        }
        block
    }

    /// Which block this is, or what it is instead.
    pub(super) fn read(block: &[u8]) -> Result<Stamp, String> {
        if block.iter().all(|byte| *byte == 0) {
            return Err("zeros".to_owned());
        }
        if block.len() != BLOCK {
            return Err(format!("a block of {} bytes", block.len()));
        }
        let part = |at: usize| {
            u32::from_le_bytes(
                block[8 + 4 * at..12 + 4 * at]
                    .try_into()
                    .expect("four bytes"),
            )
        };
        let stamp = Stamp {
            scribe: part(0),
            file: part(1),
            version: part(2),
            index: part(3),
        };
        if block == stamp.block() {
            return Ok(stamp);
        }
        if block[..8] != MAGIC.to_le_bytes() {
            return Err("foreign bytes".to_owned());
        }
        Err(format!("torn: begins as {stamp:?}"))
    }
}

#[test]
fn stamps_read_back_and_damage_is_told_apart() {
    let stamp = Stamp {
        scribe: 1,
        file: 2,
        version: 3,
        index: 4,
    };
    assert_eq!(Stamp::read(&stamp.block()), Ok(stamp));
    let mut torn = stamp.block();
    torn[2048..].copy_from_slice(
        &Stamp {
            version: 4,
            ..stamp
        }
        .block()[2048..],
    );
    assert!(Stamp::read(&torn).is_err_and(|what| what.starts_with("torn")));
    assert_eq!(Stamp::read(&[0; BLOCK]), Err("zeros".to_owned()));
}
