//! What a process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process open as many files and connections as whoever started it allows at all. The
/// limit that counts at first (1024, mostly) is low for the sake of programs that use select(2).
pub fn open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::debug!("the limit of open files stays as it is: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_allowed_may_be_used() {
        open_files();
        let (now, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("is known");
        assert_eq!(now, most);
    }
}
