//! What a settings file may say to a mount, as a function from bytes to a verdict, for tests and for
//! cargo-fuzz.

use crate::settings::Settings;
use dfs_host::settings::try_load_text;
use std::path::Path;

/// Taken, or refused and why.
pub type Verdict = Result<(), String>;

/// What makes one of bytes.
pub type Parser = fn(&[u8]) -> Verdict;

/// All parsers of this crate, by the names of their targets.
pub const PARSERS: &[(&str, Parser)] = &[("mount_settings", settings)];

/// Settings of a mount, as TOML.
pub fn settings(bytes: &[u8]) -> Verdict {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let line = ["dfs-fuse", "/mnt"].map(Into::into);
    let loaded = try_load_text::<Settings>(line, Path::new("its.toml"), text);
    loaded.map(drop).map_err(|error| {
        let said = error.to_string();
        assert!(said.contains("its.toml"), "the file is not named: {said}");
        said
    })
}
