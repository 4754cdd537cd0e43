//! File names and paths: any bytes but `/` and NUL, valid by construction.
//!
//! Names are bytes and not text, as POSIX has them: a name that is not UTF-8 is kept as it is and
//! only printed with escapes.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// The longest name, in bytes (NAME_MAX).
pub const NAME_BYTES_MAX: usize = 255;

/// The longest target of a symbolic link, in bytes (PATH_MAX less the terminating NUL).
pub const TARGET_BYTES_MAX: usize = 4095;

/// The name of a directory entry: 1 to 255 bytes, without `/` and NUL, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Why some bytes are no name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NameError {
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("a name of {0} bytes is too long: 255 bytes are allowed")]
    TooLong(usize),
    /// Empty, `.` or `..`, or with a `/` or NUL inside.
    #[error(
        "{0:?} cannot name a file: names have 1 to 255 bytes without '/' and NUL, and are neither '.' nor '..'"
    )]
    Invalid(String),
}

impl Name {
    /// The name of these bytes, if they can be one.
    pub fn new(bytes: &[u8]) -> Result<Name, NameError> {
        if bytes.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong(bytes.len()));
        }
        let reserved = matches!(bytes, b"" | b"." | b"..");
        if reserved || bytes.iter().any(|b| matches!(b, b'/' | 0)) {
            return Err(NameError::Invalid(bytes.escape_ascii().to_string()));
        }
        Ok(Name(bytes.into()))
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        struct NameBytes;
        impl de::Visitor<'_> for NameBytes {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the bytes of a file name")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Name, E> {
                Name::new(bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_bytes(NameBytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_valid_by_construction() {
        assert!(Name::new(&[b'n'; 255]).is_ok());
        assert_eq!(Name::new(&[b'n'; 256]), Err(NameError::TooLong(256)));
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert!(
                matches!(Name::new(bad), Err(NameError::Invalid(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_kept_and_printed_with_escapes() {
        let name = Name::new(b"caf\xe9").expect("a valid name");
        assert_eq!(name.to_string(), "caf\\xe9");
        let wire = postcard::to_allocvec(&name).expect("serialises");
        assert_eq!(
            postcard::from_bytes::<Name>(&wire).expect("reads back"),
            name
        );
    }

    #[test]
    fn the_wire_cannot_bring_a_name_that_new_would_refuse() {
        let wire = postcard::to_allocvec(&serde_bytes_of(b"a/b")).expect("serialises");
        assert!(postcard::from_bytes::<Name>(&wire).is_err());
    }

    fn serde_bytes_of(bytes: &'static [u8]) -> impl Serialize {
        struct Raw(&'static [u8]);
        impl Serialize for Raw {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_bytes(self.0)
            }
        }
        Raw(bytes)
    }
}
