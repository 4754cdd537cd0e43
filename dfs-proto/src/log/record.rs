//! Records of the log: how one looks in a segment, and how a good one is told from anything else.
//!
//! ```text
//!  0  magic "dfsR"                 4   little-endian throughout
//!  4  crc32c of bytes 8 to the end of the payload
//!  8  crc of the record before (of the segment's header for the first one)
//! 12  length of the payload        4
//! 16  sequence of the segment      8
//! 24  index                        8
//! 32  term                         8
//! 40  node                         4
//! 44  kind                         1   then 3 zeros
//! 48  synced up to                 8   (segment sequence << 32 | offset) when this was written
//! 56  payload, then zeros up to a multiple of 8
//! ```
//!
//! A record is good if magic, sequence, lengths and checksum are right: it was written by this
//! segment's present life, whole. It belongs to the log if besides it names the record before it.
//! What a recycled segment still holds of its earlier life fails the sequence, and what a cut tail
//! left behind fails the chain, so neither has to be wiped.
//!
//! A segment of a log begins with 64 bytes of its own, [`SegmentHeader`]. Both stand here, and not
//! with the master, because keepers are sent the log as it stands in its segments.

use crate::{checksum::Crc32c, id::FilesystemId};

/// Bytes of a record before its payload.
pub const RECORD_HEADER_BYTES: usize = 56;

const MAGIC: [u8; 4] = *b"dfsR";

/// Bytes of a segment before its records.
pub const SEGMENT_HEADER_BYTES: u32 = 64;
const SEGMENT_MAGIC: [u8; 8] = *b"dfsLog1\n";

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An entry without commands, as a new leader logs it.
    Blank,
    /// An entry of commands.
    Commands,
    /// An entry with a new membership.
    Membership,
    /// Not an entry: all entries after `index` are void.
    Truncate,
    /// Not an entry: tells only how far the log is synced.
    Mark,
}

impl Kind {
    /// Whether it takes an index of the log.
    pub fn is_entry(self) -> bool {
        matches!(self, Kind::Blank | Kind::Commands | Kind::Membership)
    }

    fn code(self) -> u8 {
        match self {
            Kind::Blank => 1,
            Kind::Commands => 2,
            Kind::Membership => 3,
            Kind::Truncate => 4,
            Kind::Mark => 5,
        }
    }

    fn of(code: u8) -> Option<Kind> {
        [
            Kind::Blank,
            Kind::Commands,
            Kind::Membership,
            Kind::Truncate,
            Kind::Mark,
        ]
        .into_iter()
        .find(|kind| kind.code() == code)
    }
}

/// Which entry: what Raft calls a log id.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Place {
    /// Term of the leader that logged it.
    pub term: u64,
    /// That leader.
    pub node: u32,
    /// Its index.
    pub index: u64,
}

impl Place {
    /// Whether there can be such an entry: they are counted from 1, and there is always a next one.
    pub fn is_possible(&self) -> bool {
        (1..u64::MAX).contains(&self.index)
    }
}

/// A byte of the log: which segment, and the offset in it.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Spot {
    /// Sequence of the segment.
    pub segment: u32,
    /// Offset in its file.
    pub offset: u32,
}

impl Spot {
    fn packed(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    fn unpacked(packed: u64) -> Spot {
        let part = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
        Spot {
            segment: part(packed >> 32),
            offset: part(packed),
        }
    }
}

/// A record without its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What it says.
    pub kind: Kind,
    /// Which entry; for a truncation the last that stays, for a mark the last before it.
    pub place: Place,
    /// Sequence of the segment.
    pub segment: u32,
    /// Checksum of the record before.
    pub before: u32,
    /// Up to where the log was known to be synced when this was written.
    pub synced: Spot,
}

/// A good record found in a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found<'a> {
    /// Its header.
    pub header: Header,
    /// Its checksum, which the next one names.
    pub crc: u32,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Bytes that a record with a payload of this length takes.
pub fn record_bytes(payload: usize) -> usize {
    (RECORD_HEADER_BYTES + payload).next_multiple_of(8)
}

/// Appends a record to `into`; answers its checksum.
pub fn write_record(into: &mut Vec<u8>, header: &Header, payload: &[u8]) -> u32 {
    let length = u32::try_from(payload.len()).expect("an entry is far below 4 GiB");
    let mut head = [0u8; RECORD_HEADER_BYTES];
    head[0..4].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&header.before.to_le_bytes());
    head[12..16].copy_from_slice(&length.to_le_bytes());
    head[16..24].copy_from_slice(&u64::from(header.segment).to_le_bytes());
    head[24..32].copy_from_slice(&header.place.index.to_le_bytes());
    head[32..40].copy_from_slice(&header.place.term.to_le_bytes());
    head[40..44].copy_from_slice(&header.place.node.to_le_bytes());
    head[44] = header.kind.code();
    head[48..56].copy_from_slice(&header.synced.packed().to_le_bytes());
    let crc = Crc32c::of_parts([&head[8..], payload]).0;
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    let start = into.len();
    into.extend_from_slice(&head);
    into.extend_from_slice(payload);
    into.resize(start + record_bytes(payload.len()), 0);
    crc
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Bytes of the record that begins here, as its header says; `None` while that has not all come, or
/// where it is none. Nothing is known to be right of it yet.
pub fn announced_bytes(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..RECORD_HEADER_BYTES)?;
    let length = usize::try_from(u32_at(head, 12)).ok()?;
    (head[0..4] == MAGIC).then(|| record_bytes(length))
}

/// The record at the beginning of `bytes`, if it is a good one of this segment.
pub fn read_record(bytes: &[u8], segment: u32) -> Option<Found<'_>> {
    let head = bytes.get(..RECORD_HEADER_BYTES)?;
    if head[0..4] != MAGIC || u64_at(head, 16) != u64::from(segment) {
        return None;
    }
    let length = usize::try_from(u32_at(head, 12)).ok()?;
    let payload = bytes.get(RECORD_HEADER_BYTES..)?.get(..length)?;
    let crc = u32_at(head, 4);
    if Crc32c::of_parts([&head[8..], payload]).0 != crc {
        return None;
    }
    let header = Header {
        kind: Kind::of(head[44])?,
        place: Place {
            term: u64_at(head, 32),
            node: u32_at(head, 40),
            index: u64_at(head, 24),
        },
        segment,
        before: u32_at(head, 8),
        synced: Spot::unpacked(u64_at(head, 48)),
    };
    Some(Found {
        header,
        crc,
        payload,
    })
}

/// The header of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Counts the segments.
    pub sequence: u32,
    /// Bytes of the file.
    pub bytes: u32,
    /// Checksum of the last record of the segment before; 0 for the first.
    pub before: u32,
    /// The file system.
    pub filesystem: FilesystemId,
}

impl SegmentHeader {
    /// Its bytes, and its checksum, which the first record names.
    pub fn encode(&self) -> ([u8; 64], u32) {
        let mut head = [0u8; 64];
        head[0..8].copy_from_slice(&SEGMENT_MAGIC);
        head[16..20].copy_from_slice(&self.sequence.to_le_bytes());
        head[20..24].copy_from_slice(&self.bytes.to_le_bytes());
        head[24..28].copy_from_slice(&self.before.to_le_bytes());
        head[32..48].copy_from_slice(&self.filesystem.0.to_le_bytes());
        let crc = Crc32c::of(&head[16..]).0;
        head[8..12].copy_from_slice(&crc.to_le_bytes());
        (head, crc)
    }

    /// The header in these bytes and its checksum, if it is a good one.
    pub fn decode(head: &[u8]) -> Option<(SegmentHeader, u32)> {
        let head: &[u8; 64] = head.get(..64)?.try_into().ok()?;
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let filesystem = u128::from_le_bytes(head[32..48].try_into().expect("sixteen bytes"));
        let decoded = SegmentHeader {
            sequence: word(16),
            bytes: word(20),
            before: word(24),
            filesystem: FilesystemId(filesystem),
        };
        let (again, crc) = decoded.encode();
        (again == *head).then_some((decoded, crc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            kind: Kind::Commands,
            place: Place {
                term: 3,
                node: 1,
                index: 42,
            },
            segment: 7,
            before: 0x0102_0304,
            synced: Spot {
                segment: 6,
                offset: 4096,
            },
        }
    }

    #[test]
    fn golden_bytes() {
        let mut bytes = Vec::new();
        let crc = write_record(&mut bytes, &sample(), b"hello");
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let expected = format!(
            "64667352{}0403020105000000070000000000000\
             02a000000000000000300000000000000010000000200000000100000060000006\
             8656c6c6f000000",
            crc.to_le_bytes()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        );
        assert_eq!(hex, expected);
        assert_eq!(crc, GOLDEN_CRC);
    }

    const GOLDEN_CRC: u32 = 3_054_356_129;

    #[test]
    fn reads_what_was_written_and_nothing_else() {
        let mut bytes = Vec::new();
        let crc = write_record(&mut bytes, &sample(), b"hello");
        assert_eq!(bytes.len(), record_bytes(5));
        let found = read_record(&bytes, 7).expect("good");
        assert_eq!(
            (found.header, found.crc, found.payload),
            (sample(), crc, &b"hello"[..])
        );
        assert_eq!(read_record(&bytes, 8), None);
        for cut in 0..RECORD_HEADER_BYTES + 5 {
            assert_eq!(read_record(&bytes[..cut], 7), None);
        }
        for bit in 0..(RECORD_HEADER_BYTES + 5) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_record(&flipped, 7), None, "bit {bit}");
        }
    }

    #[test]
    fn golden_segment_header() {
        let header = SegmentHeader {
            sequence: 0x2a,
            bytes: 1 << 24,
            before: 0x0102_0304,
            filesystem: FilesystemId(0x1f),
        };
        let (bytes, crc) = header.encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let crc_hex: String = crc
            .to_le_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let expected = format!(
            "6466734c6f67310a{crc_hex}000000002a00000000000001040302010000000\
             01f{}",
            "0".repeat(62)
        );
        assert_eq!(hex, expected);
        assert_eq!(SegmentHeader::decode(&bytes), Some((header, crc)));
        for bit in 0..64 * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), None, "bit {bit}");
        }
    }
}
