//! `dfs backup`: all that the master knows, as of now, into a file; `dfs restore`: a master's data
//! folder from it.

mod restore;
mod write;

pub(crate) use restore::run as restore;
pub(crate) use write::run as backup;
