//! The program `dfs-minion`: settings, logs, the daemon, an exit code.

fn main() {}
