//! Every target: the parser that has its name. What must hold the parser asserts itself.
#![no_main]

use std::sync::LazyLock;

type Parser = fn(&[u8]) -> Result<(), String>;

static PARSER: LazyLock<Parser> = LazyLock::new(|| {
    let crates = [
        dfs_proto::hostile::PARSERS,
        dfs_minion::hostile::PARSERS,
        dfs_master::hostile::PARSERS,
        dfs_fuse::hostile::PARSERS,
    ];
    let mut all = crates.into_iter().flatten();
    let named = all.find(|(name, _)| *name == env!("CARGO_BIN_NAME"));
    named.expect("a target is named as its parser").1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = PARSER(bytes);
});
