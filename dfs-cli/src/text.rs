//! Text for people: tables, moments, spans of time, counts.

use dfs_proto::time::Timestamp;
use std::fmt::Write;

/// Lines of cells under their headings, each column as wide as it needs. Columns of numbers are
/// aligned to the right, but for the last.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    lines: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Table {
        Table {
            headings: headings.to_vec(),
            lines: Vec::new(),
        }
    }

    /// One more line, with as many cells as there are headings.
    pub(crate) fn line(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.lines.push(cells);
    }

    pub(crate) fn render(&self) -> String {
        let headings = self.headings.iter().map(|h| (*h).to_owned()).collect();
        let all: Vec<&Vec<String>> = std::iter::once(&headings).chain(&self.lines).collect();
        let columns = 0..self.headings.len();
        let widths: Vec<usize> = columns
            .map(|i| all.iter().map(|line| width(&line[i])).max().unwrap_or(0))
            .collect();
        let mut out = String::new();
        for line in &all {
            let mut text = String::new();
            for (i, (cell, wide)) in line.iter().zip(&widths).enumerate() {
                let fill = " ".repeat(wide - width(cell));
                let last = i + 1 == line.len();
                let numbers = !last
                    && self
                        .lines
                        .iter()
                        .all(|l| l[i].starts_with(|c: char| c.is_ascii_digit()));
                let (left, right) = match numbers {
                    true => (fill.as_str(), ""),
                    false => ("", fill.as_str()),
                };
                write!(text, "{left}{cell}{right}  ").expect("a string takes everything");
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
        out
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// `1 block`, `2 blocks`, `1,234 blocks`.
pub(crate) fn count(number: u64, singular: &str) -> String {
    match number {
        1 => format!("1 {singular}"),
        _ => format!("{} {singular}s", thousands(number)),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A span of time with as much precision as says something: `340 ms`, `2.1 s`, `5 min`, `3 h 12 min`,
/// `2 d 4 h`.
pub(crate) fn span(ms: u64) -> String {
    let (s, min, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{s}.{} s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{min} min"),
        3_600_000..86_400_000 => format!("{h} h {} min", min % 60),
        _ => format!("{d} d {} h", h % 24),
    }
}

/// A moment in UTC: `2026-11-22 18:57:03`.
pub(crate) fn moment(at: Timestamp) -> String {
    let days = at.seconds.div_euclid(86_400);
    let second = at.seconds.rem_euclid(86_400);
    let (year, month, day) = date(days);
    let (h, min, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{min:02}:{s:02}")
}

/// Year, month and day of a count of days since 1970-01-01, by the civil calendar. Counts years
/// from March, so that the leap day is the last of a year, in eras of 400 years (146,097 days).
fn date(days: i64) -> (i64, i64, i64) {
    let from_march_0000 = days.saturating_add(719_468);
    let era = from_march_0000.div_euclid(146_097);
    let day_of_era = from_march_0000.rem_euclid(146_097);
    let leaps = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leaps) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The bytes of a name as they can be printed on one line.
pub(crate) fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let mut table = Table::new(&["NAME", "SIZE", "ON"]);
        table.line(vec!["a".into(), "5 B".into(), "1, 2".into()]);
        table.line(vec!["longer".into(), "12 MiB".into(), "3".into()]);
        assert_eq!(
            table.render(),
            "NAME      SIZE  ON\na          5 B  1, 2\nlonger  12 MiB  3\n"
        );
    }

    #[test]
    fn numbers_are_said_as_people_say_them() {
        assert_eq!(count(1, "block"), "1 block");
        assert_eq!(count(0, "block"), "0 blocks");
        assert_eq!(count(1_234_567, "block"), "1,234,567 blocks");
        let spans = [340, 2150, 300_000, 11_520_000, 187_200_000].map(span);
        assert_eq!(spans, ["340 ms", "2.1 s", "5 min", "3 h 12 min", "2 d 4 h"]);
    }

    #[test]
    fn moments_follow_the_calendar() {
        for (seconds, shown) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_210_096, "2024-02-29 12:34:56"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(moment(Timestamp { seconds, nanos: 0 }), shown);
        }
    }
}
