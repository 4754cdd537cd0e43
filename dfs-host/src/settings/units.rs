//! Sizes and durations as people write them: `256MiB`, `1.5GB`, `75s`, `250ms`.
//!
//! For use as value parsers: `#[arg(long, value_parser = parse_bytes)]`.

use std::{fmt::Write, time::Duration};

/// A text that is no size or no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not begin with a number.
    #[error("{0:?} does not begin with a number; write it like {1}")]
    NoNumber(String, &'static str),
    /// The unit is unknown.
    #[error("{0:?} is no unit; use one of {1}")]
    Unit(String, &'static str),
    /// Larger than can be counted.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Names of units and what they stand for, the largest last.
type Units = &'static [(&'static str, u64)];

const BYTES: Units = &[
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

const NANOS: Units = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("", 1_000_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Bytes: `4096`, `64KiB` or `64k` (both 65,536), `1.5GB` (1,500,000,000). Case does not matter.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    parse(
        text,
        BYTES,
        "256MiB",
        "B, KiB, MiB, GiB, TiB, kB, MB, GB, TB",
    )
}

/// A duration: `75s` or `75`, `250ms`, `1.5h`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    parse(text, NANOS, "75s", "ns, us, ms, s, min, h, d").map(Duration::from_nanos)
}

fn parse(
    text: &str,
    units: Units,
    example: &'static str,
    names: &'static str,
) -> Result<u64, UnitError> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = trimmed.split_at(digits.unwrap_or(trimmed.len()));
    let no_number = || UnitError::NoNumber(text.to_owned(), example);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if [whole, fraction]
        .iter()
        .any(|d| !d.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(no_number());
    }
    // Beyond 18 places nothing of a fraction is left in a whole number of the smallest unit.
    let fraction = &fraction[..fraction.len().min(18)];
    if whole.is_empty() || fraction.is_empty() {
        return Err(no_number());
    }
    let unit = unit.trim().to_ascii_lowercase();
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(UnitError::Unit(unit, names));
    };
    let too_large = || UnitError::TooLarge(text.to_owned());
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let tens = 10u128.pow(u32::try_from(fraction.len()).expect("at most 18"));
    let part: u128 = fraction.parse().map_err(|_| no_number())?;
    let part = u64::try_from(part * u128::from(*scale) / tens).expect("below one unit");
    let sum = whole.checked_mul(*scale).and_then(|w| w.checked_add(part));
    sum.ok_or_else(too_large)
}

/// Bytes for people, with three digits that say something: `812 B`, `1.50 GiB`, `37.2 MiB`.
pub fn show_bytes(bytes: u64) -> String {
    const NAMES: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In thousandths of the unit, so that rounding needs no floating point.
    let exponent = bytes.ilog2() / 10;
    let mut name = exponent as usize - 1;
    let thousandths = |unit: u32| (u128::from(bytes) * 1000) >> (10 * unit);
    let mut value = thousandths(exponent);
    // 1,023.6 of a unit reads better as 1.00 of the next.
    if value >= 999_500 && name + 1 < NAMES.len() {
        name += 1;
        value = thousandths(exponent + 1);
    }
    let (places, step) = match value {
        0..9_995 => (2, 10),
        9_995..99_950 => (1, 100),
        _ => (0, 1000),
    };
    let rounded = (value + step / 2) / step;
    let tens = 10u128.pow(places);
    let mut shown = (rounded / tens).to_string();
    if places > 0 {
        let width = places as usize;
        write!(shown, ".{:0width$}", rounded % tens).expect("a string takes everything");
    }
    format!("{shown} {}", NAMES[name])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("256MiB", 256 << 20),
            ("256 mib", 256 << 20),
            ("64k", 65536),
            ("1.5GB", 1_500_000_000),
            ("0.5KiB", 512),
            ("16777215TiB", 16_777_215 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, ms) in [
            ("75s", 75_000),
            ("75", 75_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_way_to_say_it() {
        for (text, says) in [
            ("", "256MiB"),
            ("MiB", "256MiB"),
            ("-1", "256MiB"),
            ("1.", "256MiB"),
            (".5", "256MiB"),
            ("1.2.3", "256MiB"),
            ("5 parsecs", "one of B, KiB"),
            ("99999999999999999999", "too large"),
            ("16777216TiB", "too large"),
        ] {
            let error = parse_bytes(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10 << 20, "10.0 MiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (1000 << 20, "0.98 GiB"),
            (999 << 30, "999 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(show_bytes(bytes), shown, "{bytes}");
        }
    }
}
