//! The process around [`dfs_master::daemon`].

fn main() {}
