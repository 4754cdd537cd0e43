//! Damage: what becomes of valid bytes on a bad disk, a bad wire, or in bad hands.

/// The generator of Steele, Lea and Flood (splitmix64): the same numbers for the same seed.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).expect("below a usize")
    }

    /// Up to `most` bytes.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        (0..len).map(|_| self.number().to_le_bytes()[0]).collect()
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A part of `len` bytes: where it begins and ends.
    fn part(&mut self, len: usize) -> (usize, usize) {
        let from = self.below(len);
        let most = if self.one_in(4) { len } else { 64 };
        (from, (from + 1 + self.below(most)).min(len))
    }

    /// A number that parsers stumble over.
    fn edge(&mut self, len: usize) -> u64 {
        let len = len as u64;
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => len.wrapping_add_signed(i64::try_from(self.below(9)).expect("small") - 4),
            3 => u64::MAX >> self.below(64),
            4 => (1 << self.below(64)) - 1,
            5 => 1 << self.below(64),
            6 => self.number() >> self.below(64),
            _ => self.below(300) as u64,
        }
    }
}

/// One of `seeds`, damaged in one to six ways.
pub fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    let ways = 1 + random.below(3) * random.below(4);
    for _ in 0..ways.min(6) {
        let other = random.below(seeds.len());
        damage(random, &mut bytes, &seeds[other]);
    }
    bytes
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let len = bytes.len();
    if len == 0 {
        *bytes = random.bytes(80);
        return;
    }
    let at = random.below(len);
    let (from, to) = random.part(len);
    match random.below(13) {
        0..3 => bytes[at] ^= 1 << random.below(8),
        3 => bytes[at] = random.number().to_le_bytes()[0],
        4 => bytes.truncate(at),
        5 => bytes[from..to].fill(0),
        6 => drop(bytes.drain(from..to)),
        // A part twice, or in another place.
        7 => {
            let part = bytes[from..to].to_vec();
            bytes.splice(at..at, part);
        }
        8 => {
            let (from, to) = random.part(other.len());
            let end = (at + if random.one_in(2) { to - from } else { 0 }).min(len);
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        9 => bytes.extend(random.bytes(100)),
        10 => bytes.resize(len + random.below(5000), 0),
        11 => {
            // A length, a count or an offset, of any width.
            let number = random.edge(len).to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4)];
            let at = if random.one_in(2) { at & !3 } else { at };
            for (to, from) in bytes[at..].iter_mut().zip(&number[..width]) {
                *to = *from;
            }
        }
        _ => {
            // The same as postcard spells it.
            let mut number = random.edge(len);
            let mut spelled = Vec::new();
            while number > 0x7f {
                spelled.push(number.to_le_bytes()[0] | 0x80);
                number >>= 7;
            }
            spelled.push(number.to_le_bytes()[0]);
            let end = at + usize::from(random.one_in(2));
            bytes.splice(at..end, spelled);
        }
    }
}
