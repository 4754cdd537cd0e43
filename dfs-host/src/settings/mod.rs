//! Settings: one clap struct for each program, filled from flags, environment and a TOML file.

mod file;
mod load;
mod units;

pub use load::{SettingsError, load, try_load, try_load_text};
pub use units::{UnitError, parse_bytes, parse_duration, show_bytes};
