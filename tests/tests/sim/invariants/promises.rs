//! What was promised is there: every byte and every name, read by somebody who knows nothing.

use crate::{
    book::{Expecting, STRIPE},
    client::{numbers, read},
    world::World,
};
use dfs_client::{Dfs, Error, OpenHow};
use dfs_proto::{error::FsError, id::InodeId, name::Name};

/// Reads all of it.
pub(crate) async fn check(world: &World, dfs: &Dfs) {
    for client in 1..=world.clients() {
        let home = world.names(client).home;
        let Some((home, order)) = home else { continue };
        names(world, dfs, client, home).await;
        let cuts = world.book().cuts;
        match numbers(dfs, order).await {
            Ok(seen) => {
                let checked = world.names(client).order.check(&seen, cuts > 0);
                if let Err(wrong) = checked {
                    world
                        .book()
                        .violated(format!("at the end, client {client}: {wrong}"));
                }
            }
            Err(error) => failed(world, "the ordered names", &error),
        }
    }
}

fn failed(world: &World, what: &str, error: &Error) {
    let wrong = format!("at the end, all faults over, {what}: {error}");
    world.book().violated(wrong);
}

async fn names(world: &World, dfs: &Dfs, client: usize, home: InodeId) {
    let all = world.names(client).all();
    for text in all {
        let name = Name::new(text.as_bytes()).expect("short");
        let seen = match dfs.lookup(home, &name).await {
            Ok(attr) => Some(attr.inode),
            Err(Error::Refused(FsError::NotFound)) => None,
            Err(error) => return failed(world, &text, &error),
        };
        let cuts = world.book().cuts;
        let checked = world.names(client).check(&text, seen, cuts);
        if let Err(wrong) = checked {
            world
                .book()
                .violated(format!("at the end, client {client}: {wrong}"));
        }
        if let Some(inode) = seen.filter(|inode| world.book().knows(*inode)) {
            bytes(world, dfs, inode).await;
        }
    }
}

async fn bytes(world: &World, dfs: &Dfs, inode: InodeId) {
    let stripes = world.book().stripes(inode);
    let least = world.book().expect(inode, 0..stripes, Expecting::Promised);
    let all = async {
        let opened = dfs.open(inode, OpenHow::default()).await?;
        let all = read(&opened.file, 0, stripes * STRIPE).await;
        opened.file.release();
        all
    };
    match all.await {
        Ok(all) => world.book().check("at the end", inode, 0, &least, &all),
        Err(error) => failed(world, &format!("inode {inode}"), &error),
    }
}
