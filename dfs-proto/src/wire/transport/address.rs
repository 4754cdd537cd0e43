//! Where a daemon listens.

use std::{fmt, path::PathBuf, str::FromStr};

/// Where a daemon listens, as people write it and as minions tell it to the master.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `host:port`, also `[::1]:7400`.
    Tcp(String),
    /// `unix:/run/dfs/master.sock`: a socket on this machine.
    Unix(PathBuf),
    /// `memory:name`: a listener in this process.
    Memory(String),
}

/// The text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address: write host:port, [ipv6]:port, unix:/path or memory:name")]
pub struct NotAnAddress(pub String);

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Address, NotAnAddress> {
        let refused = || NotAnAddress(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(refused()),
                path => Ok(Address::Unix(PathBuf::from(path))),
            };
        }
        if let Some(name) = text.strip_prefix("memory:") {
            return match name {
                "" => Err(refused()),
                name => Ok(Address::Memory(name.to_owned())),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let plain = !host.contains([':', '[', ']', '/']) && !host.is_empty();
        match port.parse::<u16>() {
            Ok(_) if bracketed || plain => Ok(Address::Tcp(text.to_owned())),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(at) => f.write_str(at),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Memory(name) => write!(f, "memory:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_what_they_print() {
        for text in [
            "127.0.0.1:7400",
            "[::1]:7400",
            "minion-3:0",
            "unix:/run/dfs/x.sock",
            "memory:m",
        ] {
            let address: Address = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "host",
            ":7400",
            "host:",
            "host:99999",
            "::1:7400",
            "unix:",
            "memory:",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
