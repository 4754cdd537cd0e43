//! Frames that nobody honest sends, the same ones for the same seed.

use dfs_hostile::Random;
use dfs_proto::checksum::Crc32c;

/// A frame with right checksums around anything.
pub(crate) fn frame(message: &[u8], table: &[(u32, u32)], payloads: &[u8]) -> Vec<u8> {
    let rows = table
        .iter()
        .flat_map(|(len, sum)| [len.to_le_bytes(), sum.to_le_bytes()]);
    let table_bytes: Vec<u8> = rows.flatten().collect();
    let sum = Crc32c::of_parts([&table_bytes[..], message]);
    let len = u32::try_from(message.len()).expect("short");
    let count = u32::try_from(table.len()).expect("few");
    let head = prefix(1, len, count, sum.0);
    [&head[..], &table_bytes, message, payloads].concat()
}

/// A prefix whose own checksum is right.
pub(crate) fn prefix(flags: u8, message: u32, payloads: u32, sum: u32) -> Vec<u8> {
    let mut bytes = vec![0xd5, b'F', 1, flags];
    for word in [message, payloads, sum] {
        bytes.extend(word.to_le_bytes());
    }
    let sum = Crc32c::of(&bytes);
    bytes.extend(sum.0.to_le_bytes());
    bytes
}

fn varint(mut n: u64, into: &mut Vec<u8>) {
    loop {
        let low = n.to_le_bytes()[0] & 0x7f;
        n >>= 7;
        if n == 0 {
            return into.push(low);
        }
        into.push(low | 0x80);
    }
}

/// A message that begins like one and goes on with numbers of all sizes, which are taken for
/// variants, lengths, counts and times.
pub(crate) fn message(random: &mut Random, most: usize) -> Vec<u8> {
    let mut message = vec![random.below(3).to_le_bytes()[0]];
    varint(random.number() % 100, &mut message);
    let numbers = random.below(most);
    for _ in 0..numbers {
        let bits = random.below(65);
        let number = random
            .number()
            .checked_shr(u32::try_from(bits).expect("small"));
        match random.below(4) {
            0 => message.push(random.below(12).to_le_bytes()[0]),
            1 => varint(number.unwrap_or(0), &mut message),
            2 => message.extend(random.bytes(40)),
            _ => varint(random.number() % 300, &mut message),
        }
    }
    message
}

/// One hostile stream; `honest` are frames that the receiver understands.
pub(crate) fn hostile(random: &mut Random, honest: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if random.one_in(3) {
        bytes.extend(&honest[random.below(honest.len())]);
    }
    let victim = &honest[random.below(honest.len())];
    match random.below(9) {
        0 => bytes.extend(random.bytes(400)),
        1 => bytes.extend(mutated(random, victim)),
        2 => bytes.extend(&victim[..random.below(victim.len())]),
        3 => {
            // Lengths beyond all limits, announced with a right checksum.
            let any = |random: &mut Random| {
                let shift = random.below(32);
                u32::MAX >> shift
            };
            let (message, payloads) = (any(random), any(random));
            bytes.extend(prefix(
                random.bytes(1).first().copied().unwrap_or(1),
                message,
                payloads,
                0,
            ));
            bytes.extend(random.bytes(200));
        }
        4 => {
            let message = random.bytes(300);
            bytes.extend(frame(&message, &[], &[]));
        }
        5 | 6 => {
            let message = message(random, 60);
            bytes.extend(frame(&message, &[], &[]));
        }
        7 => {
            // An honest message, damaged, under checksums that are right.
            let inner = mutated(random, victim.get(20..).unwrap_or(&[]));
            bytes.extend(frame(&inner, &[], &[]));
        }
        _ => bytes.extend(with_payloads(random, victim)),
    }
    bytes
}

fn mutated(random: &mut Random, victim: &[u8]) -> Vec<u8> {
    let mut bytes = victim.to_vec();
    for _ in 0..=random.below(6) {
        if !bytes.is_empty() {
            let at = random.below(bytes.len());
            bytes[at] = random.number().to_le_bytes()[0];
        }
    }
    bytes
}

/// A table that does not fit the message, or the bytes that follow.
fn with_payloads(random: &mut Random, victim: &[u8]) -> Vec<u8> {
    let payload = random.bytes(6000);
    let len = u32::try_from(payload.len()).expect("short");
    let mut table = vec![(len, Crc32c::of(&payload).0)];
    match random.below(5) {
        0 => table.push((u32::MAX, 0)),
        1 => table[0].0 = 0,
        2 => table = vec![(9 << 20, 0)],
        3 => table[0].1 ^= 1,
        _ => {}
    }
    let inner = match random.one_in(2) {
        true => message(random, 30),
        false => victim.get(20..).unwrap_or(&[]).to_vec(),
    };
    frame(&inner, &table, &payload)
}

/// How many [`bombs`] there are.
pub(crate) const BOMBS: usize = 4 * 15 * 4;

/// Messages of the greatest length that unfold to the most memory: one byte again and again, behind
/// beginnings that lead to lists.
pub(crate) fn bombs() -> impl Iterator<Item = Vec<u8>> {
    (0..4u8).flat_map(|kind| {
        (0..15u8).flat_map(move |variant| {
            (0..4u8).map(move |case| bomb(kind, variant, usize::from(case)))
        })
    })
}

fn bomb(kind: u8, variant: u8, case: usize) -> Vec<u8> {
    let mut message = match kind {
        // A request with much time left.
        0 => vec![0, 5, 0xc0, 0xcf, 0x24, variant],
        1 => vec![0, 5, 0xff, 0xff, 0xff, 0xff, 0x0f, variant],
        // Answers that say that all went well, once and twice.
        2 => vec![5, 0, variant],
        _ => vec![5, 0, variant, 0],
    };
    let zeros = case / 2;
    message.extend(vec![0; zeros]);
    let fill = [0u8, 1][case % 2];
    varint((2 << 20) - 64, &mut message);
    message.resize(2 << 20, fill);
    frame(&message, &[], &[])
}
