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

/// Whether each page that was read is of one version, or of two of which one is of `begun`: the kernel copies
/// a write into a page while it copies that out to a reader.
pub(super) fn is_mixed(found: &[u8], register: Register, begun: &[Value], all: &[Value]) -> bool {
    let of = |versions: &[Value]| -> Vec<Vec<u8>> {
        let contents = versions.iter().map(|value| content(*value, register.bytes));
        contents.collect()
    };
    let (begun, all) = (of(begun), of(all));
    let chunks = found.chunks(PAGE).enumerate();
    found.len() == register.bytes
        && chunks.into_iter().all(|(at, page)| {
            let cut = |whole: &[u8]| whole[at * PAGE..][..page.len()].to_vec();
            begun.iter().any(|new| {
                let mut others = all.iter().chain([new]);
                others.any(|old| is_woven(page, &cut(new), &cut(old)))
            }) || all.iter().any(|one| cut(one) == page)
        })
}

/// What of which version was found, in order.
pub(super) fn parts(found: &[u8], all: &[Value]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let contents = |value: &Value| (*value, content(*value, found.len()));
    let all: Vec<_> = all.iter().map(contents).collect();
    let mut at = 0;
    while at < found.len() {
        let alike = |one: &[u8]| {
            let both = found[at..].iter().zip(&one[at..]);
            both.take_while(|(a, b)| a == b).count()
        };
        let longest = all.iter().map(|(value, one)| (alike(one), *value)).max();
        let (len, value) = longest.unwrap_or((0, ABSENT));
        parts.push(format!("{value:x} from {at}"));
        if len < 8 {
            parts.push("nothing known".to_owned());
            break;
        }
        at += len;
    }
    parts.join(", ")
}

/// Whether each byte of the page is of one or of the other: one copies past the other, and is passed.
fn is_woven(page: &[u8], one: &[u8], other: &[u8]) -> bool {
    let mut bytes = page.iter().zip(one.iter().zip(other));
    bytes.all(|(found, (one, other))| found == one || found == other)
}

#[test]
fn a_page_that_was_read_while_it_was_written_is_of_two_versions() {
    let register = IN_PLACE[1];
    let (one, two) = (content(7, register.bytes), content(8, register.bytes));
    let mixed = |cut: usize, begun: &[Value]| {
        is_mixed(
            &[&one[..cut], &two[cut..]].concat(),
            register,
            begun,
            &[7, 8],
        )
    };
    assert!(mixed(5000, &[7]) && mixed(5000, &[8]) && mixed(PAGE, &[]));
    assert!(!mixed(5000, &[]) && !mixed(5000, &[9]));
    let zeros = [&one[..5000], &vec![0; register.bytes - 5000][..]].concat();
    assert!(!is_mixed(&zeros, register, &[7], &[7, 8]));
    assert!(!is_mixed(&one[..5000], register, &[7], &[7, 8]));
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
