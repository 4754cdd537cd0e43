//! Logs: one line for each event on stderr, for people or for machines.

use clap::ValueEnum;
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// What is logged unless told otherwise. tarpc logs each call at INFO, each deadline that passes at
/// ERROR (on both sides) and each call of a broken connection at WARN: all of that reaches a caller
/// of ours as an error, and is logged where it is handled.
pub const DEFAULT_FILTER: &str = "info,tarpc=off,openraft=error";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// The settings of every program's logs, to be flattened into its own.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct LogSettings {
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// What is logged, as `level` and `module=level`
    #[arg(long, value_name = "FILTER", default_value = DEFAULT_FILTER)]
    pub log: String,
}

impl LogSettings {
    /// Begins to log so.
    pub fn init(&self) {
        init(self.log_format, &self.log);
    }
}

/// Begins to log. A filter that cannot be read is reported and replaced by [`DEFAULT_FILTER`]; a
/// second call changes nothing.
pub fn init(format: LogFormat, filter: &str) {
    let (chosen, error) = match EnvFilter::try_new(filter) {
        Ok(chosen) => (chosen, None),
        Err(error) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
    };
    let stderr = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(chosen);
    let begun = match format {
        LogFormat::Json => registry.with(stderr.json().flatten_event(true)).try_init(),
        LogFormat::Human => {
            let people = stderr
                .with_target(false)
                .with_ansi(std::io::stderr().is_terminal());
            // The journal stamps each line itself.
            match std::env::var_os("JOURNAL_STREAM") {
                Some(_) => registry.with(people.without_time()).try_init(),
                None => registry.with(people).try_init(),
            }
        }
    };
    if let (Ok(()), Some(error)) = (begun, error) {
        tracing::warn!(filter, %error, "cannot read the log filter; logging {DEFAULT_FILTER}");
    }
}
