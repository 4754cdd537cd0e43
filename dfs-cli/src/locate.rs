//! `dfs locate`: where the bytes of a file are: extents, their blocks, the replicas by minion.

use crate::{
    admin::Admin,
    args,
    failure::{Failure, machine},
    place,
    text::{Table, count, printable, thousands},
};
use dfs_host::settings::show_bytes;
use dfs_proto::{
    attr::FileKind,
    block::BlockPlace,
    extent::Extent,
    id::{BlockId, MinionId},
    minion::Liveness,
    service::{MinionStatus, Status},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write,
};

/// Runs `dfs locate`.
pub(crate) async fn run(args: &args::Named, out: &mut dyn Write) -> Result<(), Failure> {
    let place = place::place(&args.master, &args.path)?;
    let admin = Admin::reach(place.masters.clone(), args.master.timeout).await?;
    let status = admin.status().await?;
    let attr = admin.find(&place, true).await?;
    let path = printable(&place.path);
    if attr.kind != FileKind::File {
        let line = format!("{path}: only files have bytes to locate; `dfs stat` describes it");
        return writeln!(out, "{line}").map_err(machine("print"));
    }
    let mut from = 0;
    let mut totals = Totals::default();
    while from < attr.size {
        let Some(layout) = admin.layout(attr.inode, from).await? else {
            let inline = format!(
                "{path}: {}, inline in the log and tables of the master",
                count(attr.size, "byte")
            );
            return writeln!(out, "{inline}").map_err(machine("print"));
        };
        let blocks: BTreeMap<BlockId, &BlockPlace> = layout
            .blocks
            .iter()
            .map(|place| (place.block, place))
            .collect();
        totals.add(&layout.extents, &blocks);
        let table = render(&layout.extents, &blocks, &status);
        write!(out, "{table}").map_err(machine("print"))?;
        if layout.until <= from {
            break;
        }
        from = layout.until;
    }
    let summary = totals.render(&path, attr.size, &status);
    write!(out, "{summary}").map_err(machine("print"))
}

fn render(extents: &[Extent], blocks: &BTreeMap<BlockId, &BlockPlace>, status: &Status) -> String {
    let mut table = Table::new(&[
        "OFFSET", "LENGTH", "BLOCK", "AT", "STATE", "COPIES", "MINIONS",
    ]);
    for extent in extents {
        let place = blocks.get(&extent.block);
        let state = match place.map(|place| place.sealed) {
            Some(Some(_)) => "sealed",
            Some(None) => "open",
            None => "gone",
        };
        let replicas = place.map_or(&[][..], |place| &place.replicas);
        let on: Vec<String> = replicas.iter().map(|id| minion(*id, status)).collect();
        table.line(vec![
            extent.file_offset.to_string(),
            extent.len.to_string(),
            extent.block.to_string(),
            extent.block_offset.to_string(),
            state.to_owned(),
            replicas.len().to_string(),
            on.join(", "),
        ]);
    }
    table.render()
}

/// A minion as it stands in a list: `2 (desk, dead)`.
fn minion(id: MinionId, status: &Status) -> String {
    let known = |minion: &&MinionStatus| minion.minion == id;
    match status.minions.iter().find(known) {
        None => format!("{id} (unknown)"),
        Some(minion) => {
            let state = match minion.liveness {
                Liveness::Alive => "",
                Liveness::Suspect => ", suspect",
                Liveness::Dead => ", dead",
            };
            format!("{id} ({}{state})", minion.host)
        }
    }
}

/// What all parts of a layout add up to.
#[derive(Default)]
struct Totals {
    extents: u64,
    blocks: BTreeSet<BlockId>,
    bytes: u64,
    by_minion: BTreeMap<MinionId, u64>,
}

impl Totals {
    fn add(&mut self, extents: &[Extent], blocks: &BTreeMap<BlockId, &BlockPlace>) {
        for extent in extents {
            let len = u64::from(extent.len);
            self.extents += 1;
            self.bytes += len;
            self.blocks.insert(extent.block);
            for minion in blocks.get(&extent.block).iter().flat_map(|b| &b.replicas) {
                *self.by_minion.entry(*minion).or_default() += len;
            }
        }
    }

    fn render(&self, path: &str, size: u64, status: &Status) -> String {
        let mut text = format!(
            "{path}: {} ({}) in {} of {}, {} of holes\n",
            count(size, "byte"),
            show_bytes(size),
            count(self.extents, "extent"),
            count(self.blocks.len() as u64, "block"),
            show_bytes(size.saturating_sub(self.bytes)),
        );
        for (id, bytes) in &self.by_minion {
            writeln!(
                text,
                "  minion {}: {} bytes ({})",
                minion(*id, status),
                thousands(*bytes),
                show_bytes(*bytes)
            )
            .expect("a string takes everything");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::cluster;
    use dfs_proto::block::Capability;

    #[test]
    fn extents_are_shown_with_their_replicas() {
        let mut status = cluster();
        status.minions[1].liveness = Liveness::Dead;
        let block = BlockPlace {
            block: BlockId(9),
            replicas: [1, 2, 8].map(MinionId).to_vec(),
            sealed: Some(4096),
            placement: 0,
            capability: Capability::default(),
        };
        let blocks = BTreeMap::from([(block.block, &block)]);
        let extent = |file_offset, block| Extent {
            file_offset,
            len: 100,
            block: BlockId(block),
            block_offset: 0,
        };
        let extents = [extent(0, 9), extent(1000, 10)];
        let table = render(&extents, &blocks, &status);
        assert!(
            table.contains("sealed       3  1 (host1), 2 (host2, dead), 8 (unknown)"),
            "{table}"
        );
        assert!(table.contains("gone         0"), "{table}");
        let mut totals = Totals::default();
        totals.add(&extents, &blocks);
        let summary = totals.render("/f", 1100, &status);
        assert!(
            summary.contains("1,100 bytes (1.07 KiB) in 2 extents of 2 blocks, 900 B of holes"),
            "{summary}"
        );
        assert!(summary.contains("minion 1 (host1): 100 bytes"), "{summary}");
    }
}
