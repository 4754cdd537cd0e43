//! The mount's settings file before damaged bytes.

use crate::hostile;
use dfs_hostile::{Counting, Trial};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn hostile_settings() {
    let seeds: [&[u8]; 3] = [
        b"",
        b"master = ['m:1', 'n:2']\noptions = ['ro', 'noatime']\nop-timeout = '75s'\n",
        b"stop_timeout = '1.5h'\nlog-format = 'json'\n",
    ];
    let trial = Trial {
        name: "mount_settings",
        parser: hostile::settings,
        seeds: seeds.map(<[u8]>::to_vec).to_vec(),
        inputs: 300,
        allocated_max: 4 << 20,
    };
    trial.run();
}
