//! The one checksum of the project: CRC-32C (Castagnoli), of frames, pieces and log records.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A CRC-32C (polynomial 0x1EDC6F41, reflected, as in iSCSI and ext4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Crc32c(pub u32);

impl Crc32c {
    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> Crc32c {
        Crc32c::of_parts([bytes])
    }

    /// The checksum of the concatenation of `parts`.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Crc32c {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        for part in parts {
            digest.update(part);
        }
        Crc32c(u32::try_from(digest.finalize()).expect("CRC-32 has 32 bits"))
    }

    /// The checksum of what this is of, and then `len` bytes of which `next` is.
    pub fn then(self, next: Crc32c, len: u64) -> Crc32c {
        let (first, next) = (u64::from(self.0), u64::from(next.0));
        let sum = crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc32Iscsi, first, next, len);
        Crc32c(u32::try_from(sum).expect("CRC-32 has 32 bits"))
    }
}

/// The checksum of a stream that ends with its own checksum, as it comes.
#[derive(Debug)]
pub struct SelfSummed {
    digest: crc_fast::Digest,
    /// The last bytes, which may be the checksum.
    end: Vec<u8>,
}

impl Default for SelfSummed {
    fn default() -> SelfSummed {
        SelfSummed {
            digest: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi),
            end: Vec::new(),
        }
    }
}

impl SelfSummed {
    /// The next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        self.end.extend_from_slice(bytes);
        let summed = self.end.len().saturating_sub(4);
        self.digest.update(&self.end[..summed]);
        self.end.drain(..summed);
    }

    /// Whether the last four bytes are the checksum of all before them, little-endian.
    pub fn is_whole(&self) -> bool {
        let sum = u32::try_from(self.digest.finalize()).expect("CRC-32 has 32 bits");
        self.end == sum.to_le_bytes()
    }
}

impl fmt::Debug for Crc32c {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_check_value() {
        assert_eq!(Crc32c::of(b"123456789"), Crc32c(0xe306_9283));
        assert_eq!(
            Crc32c::of_parts([&b"1234"[..], b"56789"]),
            Crc32c(0xe306_9283)
        );
    }

    #[test]
    fn sums_of_parts_make_that_of_the_whole() {
        let (first, next) = (Crc32c::of(b"1234"), Crc32c::of(b"56789"));
        assert_eq!(first.then(next, 5), Crc32c(0xe306_9283));
        assert_eq!(Crc32c::of(&[]).then(first, 4), first);
        assert_eq!(first.then(Crc32c::of(&[]), 0), first);
    }

    #[test]
    fn a_stream_that_ends_with_its_checksum_is_whole_however_it_comes() {
        let mut stream = b"123456789".to_vec();
        stream.extend(0xe306_9283_u32.to_le_bytes());
        for part in 1..=stream.len() {
            let mut summed = SelfSummed::default();
            let mut parts = stream.chunks(part).peekable();
            while let Some(part) = parts.next() {
                summed.take(part);
                assert_eq!(summed.is_whole(), parts.peek().is_none());
            }
        }
    }
}
