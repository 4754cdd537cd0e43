//! Whom to ask about a path: the master, and the path as it knows it.

use crate::{args, failure::Failure, mounts};
use dfs_proto::wire::Address;
use std::{
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The master of a machine that nobody configured.
const DEFAULT: &str = "127.0.0.1:7400";

/// The masters to ask, and why these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Masters {
    pub(crate) addresses: Vec<Address>,
    /// Completes "asked because ...".
    pub(crate) because: String,
}

/// A path in a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) masters: Masters,
    /// Absolute in the file system.
    pub(crate) path: Vec<u8>,
    /// Where the file system is mounted, if that is how it was found.
    pub(crate) mounted: Option<PathBuf>,
}

/// The masters for a command without a path.
pub(crate) fn masters(named: &args::Master) -> Result<Masters, Failure> {
    if let Some(given) = given(named).or_else(of_environment) {
        return given;
    }
    let mounts = mounts::all().unwrap_or_default();
    let here = std::env::current_dir().ok();
    let mount = here.and_then(|here| mounts::mount_of(&here, &mounts));
    match mount.and_then(|mount| Some((mount, mount.master.as_ref()?))) {
        Some((mount, master)) => of_mount(&mount.point, master),
        None => some(&[DEFAULT.to_owned()], "it is the default".to_owned()),
    }
}

/// Where a path that somebody wrote is.
pub(crate) fn place(named: &args::Master, path: &Path) -> Result<Place, Failure> {
    if let Some(given) = given(named) {
        return rooted(given?, path);
    }
    let not_mounted = || Failure::NotMounted(path.to_owned());
    let absolute = std::path::absolute(path).map_err(|_| not_mounted())?;
    let mounts = mounts::all().unwrap_or_default();
    match mounts::enter(&absolute, &mounts, |at| std::fs::read_link(at).ok()) {
        Some((mount, inside)) => Ok(Place {
            masters: of_mount(&mount.point, mount.master.as_ref().ok_or_else(not_mounted)?)?,
            path: inside.into_os_string().into_vec(),
            mounted: Some(mount.point.clone()),
        }),
        None => rooted(of_environment().ok_or_else(not_mounted)??, path),
    }
}

/// A path from the root of the masters' file system.
fn rooted(masters: Masters, path: &Path) -> Result<Place, Failure> {
    if !path.is_absolute() {
        return Err(Failure::NotAbsolute(path.to_owned()));
    }
    Ok(Place {
        masters,
        path: path.as_os_str().as_bytes().to_vec(),
        mounted: None,
    })
}

fn given(named: &args::Master) -> Option<Result<Masters, Failure>> {
    let because = || "--master names it".to_owned();
    (!named.master.is_empty()).then(|| some(&named.master, because()))
}

fn of_environment() -> Option<Result<Masters, Failure>> {
    let listed = std::env::var("DFS_MASTER").ok().filter(|l| !l.is_empty())?;
    let listed: Vec<String> = listed.split(',').map(str::to_owned).collect();
    Some(some(&listed, "DFS_MASTER names it".to_owned()))
}

fn of_mount(point: &Path, master: &str) -> Result<Masters, Failure> {
    let listed: Vec<String> = master.split(',').map(str::to_owned).collect();
    some(&listed, format!("{} is mounted from it", point.display()))
}

fn some(listed: &[String], because: String) -> Result<Masters, Failure> {
    let addresses: Result<_, _> = listed.iter().map(|text| text.parse()).collect();
    Ok(Masters {
        addresses: addresses?,
        because,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn named(master: &[&str]) -> args::Master {
        args::Master {
            master: master.iter().map(|m| (*m).to_owned()).collect(),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_named_master_has_absolute_paths() {
        let found = place(&named(&["a:1", "b:2"]), Path::new("/x")).expect("is there");
        assert_eq!(found.path, b"/x");
        assert_eq!(found.masters.addresses.len(), 2);
        let relative = place(&named(&["a:1"]), Path::new("x")).expect_err("is refused");
        assert!(matches!(relative, Failure::NotAbsolute(_)));
        assert_eq!(relative.code(), 2);
    }

    #[test]
    fn a_path_in_no_mount_is_refused_with_the_remedy() {
        let error = place(&named(&[]), Path::new("/proc")).expect_err("is in no mount");
        assert!(error.to_string().contains("dfs mounts"), "{error}");
        assert!(masters(&named(&["nonsense"])).is_err());
    }
}
