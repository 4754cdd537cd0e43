//! The tables fit together: the tree is a tree, links and space add up, every extent has its block
//! and every block its replicas.

use crate::world::World;
use dfs_master::engine::audit::audit;

/// Goes over all rows as of the last checkpoint.
pub(crate) async fn check(world: &World) {
    let leader = world.leader.borrow().clone();
    let Some(leader) = leader else { return };
    for _ in 0..2 {
        if leader.group.checkpoint().await.is_err() {
            return;
        }
    }
    let found = leader
        .reader
        .stored()
        .map(|rows| audit(&rows, &mut |_| true));
    match found {
        Ok(Ok(faults)) => {
            for fault in faults.told.iter().take(1) {
                world.book().violated(format!("the tables: {}", fault.what));
            }
        }
        other => world.book().violated(format!("the tables: {other:?}")),
    }
}
