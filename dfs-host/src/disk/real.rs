//! The machine's own file system below one directory.
