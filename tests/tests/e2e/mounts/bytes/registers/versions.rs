//! What a file that is a register holds: versions whose every page says whose it is, so that an old, torn
//! or foreign one is told apart.

use dfs_tests::{pattern, registers::Value};

/// Bytes of the kernel's page.
pub(super) const PAGE: usize = 4096;

/// A page that is not there: the file ends before it.
pub(super) const ABSENT: Value = 0;

/// A file, and how it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register {
    pub(super) name: &'static str,
    pub(super) bytes: usize,
    /// New files are renamed over it; else it is written in place.
    pub(super) replaced: bool,
}

pub(super) const IN_PLACE: &[Register] = &[
    Register {
        name: "small",
        bytes: 100,
        replaced: false,
    },
    Register {
        name: "large",
        bytes: 20_000,
        replaced: false,
    },
];

pub(super) const REPLACED: &[Register] = &[
    Register {
        name: "small-replaced",
        bytes: 100,
        replaced: true,
    },
    Register {
        name: "large-replaced",
        bytes: 20_000,
        replaced: true,
    },
];

pub(super) const ALL: &[Register] = &[IN_PLACE[0], IN_PLACE[1], REPLACED[0], REPLACED[1]];

/// The bytes of a version: every page begins with its value, and all of it follows from it.
pub(super) fn content(value: Value, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    for (at, page) in (0..).zip(content.chunks_mut(PAGE)) {
        pattern::fill(pattern::mix(value), at * PAGE as u64, page);
        page[..8].copy_from_slice(&value.to_le_bytes());
    }
    content
}

/// The value of each page that was read, or what is wrong with it.
pub(super) fn values(found: &[u8], register: Register) -> Result<Vec<Value>, String> {
    let mut values = vec![ABSENT; register.bytes.div_ceil(PAGE)];
    for (at, page) in found.chunks(PAGE).enumerate() {
        let of = |value| content(value, register.bytes)[at * PAGE..].to_vec();
        let head = page
            .first_chunk::<8>()
            .map(|head| Value::from_le_bytes(*head));
        let Some(value) = head else {
            return Err(format!("page {at} has {} bytes", page.len()));
        };
        let wanted = of(value);
        let wanted = &wanted[..wanted.len().min(PAGE)];
        if page != wanted {
            let differs = page.iter().zip(wanted).position(|(a, b)| a != b);
            let first = differs.unwrap_or(page.len().min(wanted.len()));
            let rest = &page[first..];
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            return Err(format!(
                "page {at} begins as version {value:x}, and from byte {first} of {} on it is something \
                 else ({zeros} zeros)",
                page.len()
            ));
        }
        values[at] = value;
    }
    Ok(values)
}

#[test]
fn versions_and_mixtures_are_told_apart() {
    let register = IN_PLACE[1];
    let (one, two) = (content(7, register.bytes), content(8, register.bytes));
    assert_eq!(values(&one, register), Ok(vec![7; 5]));
    assert_eq!(values(&[], register), Ok(vec![ABSENT; 5]));
    let by_pages = [&one[..PAGE], &two[PAGE..]].concat();
    assert_eq!(values(&by_pages, register), Ok(vec![7, 8, 8, 8, 8]));
    for mixture in [
        [&one[..100], &two[100..]].concat(),
        [&one[..100], &vec![0; register.bytes - 100][..]].concat(),
        one[..100].to_vec(),
        vec![0; register.bytes],
    ] {
        values(&mixture, register).expect_err("is none of the two");
    }
}
