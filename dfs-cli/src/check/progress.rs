//! How far a check is: a bar on a terminal, a line now and then elsewhere. On stderr.

use crate::text::thousands;
use indicatif::{ProgressBar, ProgressStyle};
use std::{io::IsTerminal, time::Duration};
use tokio::time::Instant;

/// Between two lines.
const LINES: Duration = Duration::from_secs(10);

/// How far one part of a check is.
pub(super) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    done: u64,
    of: u64,
    said: Instant,
}

impl Progress {
    /// A part begins.
    pub(super) fn begin(what: &'static str, of: u64) -> Progress {
        Progress::of(what, of, " (left: {eta})")
    }

    /// A part begins of which nobody can say how long it takes.
    pub(super) fn begin_waiting(what: &'static str, of: u64) -> Progress {
        Progress::of(what, of, "")
    }

    fn of(what: &'static str, of: u64, eta: &str) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template =
                format!("{{msg}} {{wide_bar}} {{human_pos}}/{{human_len}} {{elapsed}}{eta}");
            let style = ProgressStyle::with_template(&template).expect("a valid template");
            ProgressBar::new(of).with_style(style).with_message(what)
        });
        if bar.is_none() {
            eprintln!("{what}: {} to look at", thousands(of));
        }
        let said = Instant::now();
        Progress {
            what,
            bar,
            done: 0,
            of,
            said,
        }
    }

    /// So much is done.
    pub(super) fn at(&mut self, done: u64) {
        self.done = done;
        // What is new since the beginning is looked at as well.
        self.of = self.of.max(done);
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.of);
                bar.set_position(done);
            }
            None if self.said.elapsed() >= LINES => {
                self.said = Instant::now();
                let (what, done, of) = (self.what, thousands(done), thousands(self.of));
                eprintln!("{what}: {done} of {of}");
            }
            None => {}
        }
    }

    /// So much more is done.
    pub(super) fn more(&mut self, by: u64) {
        self.at(self.done + by);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
