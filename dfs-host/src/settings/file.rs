//! The TOML file of settings: keys with one value or a list of values, all as text.
//!
//! Which keys there are and what their values mean is the command line's to say; here is only what
//! can be wrong with a file.

use super::load::SettingsError;
use std::path::Path;
use toml::Value;

/// A key of the file, in the form of a flag (`log-format`), and its values.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

/// The text of a file.
pub(super) fn read(path: &Path) -> Result<String, SettingsError> {
    std::fs::read_to_string(path).map_err(|source| SettingsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// All settings of a file with this text; none if it is empty.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Setting>, SettingsError> {
    let table: toml::Table = text.parse().map_err(|source| SettingsError::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let setting = |(key, value): (String, Value)| match values(value) {
        Some(values) => Ok(Setting {
            key: key.replace('_', "-"),
            values,
        }),
        None => Err(SettingsError::Table {
            path: path.to_owned(),
            key,
        }),
    };
    table.into_iter().map(setting).collect()
}

fn values(value: Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => values.into_iter().map(scalar).collect(),
        value => Some(vec![scalar(value)?]),
    }
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Datetime(moment) => Some(moment.to_string()),
        Value::Array(_) | Value::Table(_) => None,
    }
}
