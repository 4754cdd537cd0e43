//! Rows, streams of rows, and the small files and values beside them.

use super::Verdict;
use crate::{
    config::Settings,
    engine::{
        apply::{Machine, MemoryTables, Settings as TablesSettings, Storage},
        audit::audit,
        check::check,
    },
    folder,
    namespace::acl::List,
    tables::{
        key::{Counter, Key},
        row::{self, Row},
        rows::{
            AmpleRow, BlockRow, BootsRow, DirentRow, ExtentRow, FilesystemRow, HolesRow, InlineRow,
            InodeRow, ListingRow, LockRow, LockedRow, MinionRow, NumbersRow, OpenRow, PolicyRow,
            PositionRow, ProgressRow, QuotaRow, RecoveredRow, ReplyRow, SessionRow, TotalsRow,
            TrimRow, UncountedRow, UnusedRow, UseRow, WornRow, WritingRow, XattrRow,
        },
    },
};
use dfs_host::{
    disk::{Disk, SimulatedDisk},
    settings::try_load_text,
};
use dfs_proto::{checksum::Crc32c, id::FilesystemId};
use std::{path::Path, sync::Arc};

/// A key, with its length (1 byte) before it, and the row under it.
pub fn rows(bytes: &[u8]) -> Verdict {
    let (len, rest) = bytes.split_first().ok_or("nothing is there")?;
    let (key, value) = rest
        .split_at_checked(usize::from(*len))
        .ok_or("no whole key")?;
    let parsed = Key::parse(key).map_err(|damage| damage.to_string())?;
    assert_eq!(&*parsed.bytes(), key);
    match parsed {
        Key::Inode(_) => row::<InodeRow>(key, value),
        Key::Inline(_) => row::<InlineRow>(key, value),
        Key::Dirent { .. } => row::<DirentRow>(key, value),
        Key::Listing { .. } => row::<ListingRow>(key, value),
        Key::Xattr { .. } => row::<XattrRow>(key, value),
        Key::Extent { .. } => row::<ExtentRow>(key, value),
        Key::Block(_) => row::<BlockRow>(key, value),
        Key::Use { .. } => row::<UseRow>(key, value),
        Key::Writing { .. } => row::<WritingRow>(key, value),
        Key::Unused(_) => row::<UnusedRow>(key, value),
        Key::Worn(_) => row::<WornRow>(key, value),
        Key::Holes(_) => row::<HolesRow>(key, value),
        Key::Session(_) => row::<SessionRow>(key, value),
        Key::Open { .. } => row::<OpenRow>(key, value),
        Key::Lock { .. } => row::<LockRow>(key, value),
        Key::Locked { .. } => row::<LockedRow>(key, value),
        Key::Reply { sequence: 0, .. } => row::<ProgressRow>(key, value),
        Key::Reply { .. } => row::<ReplyRow>(key, value),
        Key::Minion(_) => row::<MinionRow>(key, value),
        Key::Trim(_) => row::<TrimRow>(key, value),
        Key::Quota(_) => row::<QuotaRow>(key, value),
        Key::Uncounted(_) => row::<UncountedRow>(key, value),
        Key::Policy(_) => row::<PolicyRow>(key, value),
        Key::Ample(_) => row::<AmpleRow>(key, value),
        Key::Counter(Counter::Filesystem) => row::<FilesystemRow>(key, value),
        Key::Counter(Counter::Numbers) => row::<NumbersRow>(key, value),
        Key::Counter(Counter::Boots) => row::<BootsRow>(key, value),
        Key::Counter(Counter::Totals) => row::<TotalsRow>(key, value),
        Key::Counter(Counter::Position) => row::<PositionRow>(key, value),
        Key::Counter(Counter::Recovered) => row::<RecoveredRow>(key, value),
    }
}

fn row<R: Row>(key: &[u8], value: &[u8]) -> Verdict {
    let row: R = row::decode(key, value).map_err(|damage| damage.to_string())?;
    let again = row::encode(&row, Vec::new());
    let back: R = row::decode(key, &again).expect("what was written reads back");
    assert_eq!(row::encode(&back, Vec::new()), again);
    Ok(())
}

/// All rows as a stream. In the first byte: whether its end is put right.
pub fn snapshot(bytes: &[u8]) -> Verdict {
    let (mend, stream) = bytes.split_first().ok_or("nothing is there")?;
    let mut stream = stream.to_vec();
    if *mend >= 128 {
        with_end(&mut stream);
    }
    let mut machine = machine();
    let before = machine.position();
    let installed = machine.install(&mut stream.as_slice());
    let reader = machine.reader();
    if let Err(damage) = installed {
        assert_eq!(machine.position(), before);
        let left = written(&machine);
        assert_eq!(left, written(&self::machine()), "a refused one left rows");
        return Err(damage.to_string());
    }
    let first = written(&machine);
    let mut other = self::machine();
    other
        .install(&mut first.as_slice())
        .expect("what was written is whole");
    assert_eq!(written(&other), first);
    // Rows that do not fit together are told, whatever they say.
    let told = audit(&reader.view_tables(), &mut |_| true);
    let found = check(&reader.view_tables()).map_err(|damage| damage.to_string())?;
    let told = told.map_err(|ended| ended.to_string())?;
    let but_locks = found.iter().filter(|rule| !rule.0.contains("lock"));
    let overlooked = told.told.is_empty() && but_locks.count() > 0;
    assert!(!overlooked, "{found:?}");
    Ok(())
}

fn machine() -> Machine {
    let storage = Storage::Memory(Arc::<MemoryTables>::default());
    Machine::open(&storage, TablesSettings::default()).expect("opens")
}

fn written(machine: &Machine) -> Vec<u8> {
    let mut bytes = Vec::new();
    let snapshot = machine.reader().snapshot().expect("readable");
    snapshot.write_to(&mut bytes).expect("memory takes it");
    bytes
}

/// Puts the number of rows and the checksum right behind the rows that are whole.
fn with_end(stream: &mut Vec<u8>) {
    let (mut at, mut rows) = (13, 0u64);
    while let Some(head) = stream.get(at..at + 6) {
        let key = usize::from(u16::from_le_bytes([head[0], head[1]]));
        let value = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        let next = at.saturating_add(6 + key).saturating_add(value);
        if key == 0 || next > stream.len() {
            break;
        }
        (at, rows) = (next, rows + 1);
    }
    stream.truncate(at);
    stream.extend([0; 2]);
    stream.extend(rows.to_le_bytes());
    let crc = Crc32c::of(stream);
    stream.extend(crc.0.to_le_bytes());
}

/// An access-control list, as a client sets it.
pub fn acl(bytes: &[u8]) -> Verdict {
    let Some(list) = List::parse(bytes).map_err(|error| error.to_string())? else {
        return Err("no list".to_owned());
    };
    assert_eq!(
        List::parse(&list.bytes()).ok().flatten(),
        Some(list.clone())
    );
    let mode = list.mode();
    assert_eq!(mode & !0o777, 0);
    let less = list.clone().inherited(0o640);
    assert_eq!(less.mode(), mode & 0o640);
    assert_eq!(list.with_mode(mode).mode(), mode);
    assert!(matches!(List::parse(&less.bytes()), Ok(Some(same)) if same == less));
    Ok(())
}

/// The marker of a master's folder.
pub fn marker(bytes: &[u8]) -> Verdict {
    let disk = SimulatedDisk::new(1, 1 << 20);
    let file = disk.create("dfs-master").expect("room");
    file.write_at(&[bytes], 0).expect("room");
    let new = || unreachable!("a folder with a marker is not made anew");
    let home = folder::open(&*disk, new).map_err(|error| error.to_string())?;
    folder::made(&*disk, home).expect("room");
    let again = folder::open(&*disk, || FilesystemId(0)).expect("our own");
    assert_eq!(again.filesystem, home.filesystem);
    Ok(())
}

/// Settings of a master, as TOML.
pub fn settings(bytes: &[u8]) -> Verdict {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let loaded = try_load_text::<Settings>(["dfs-master".into()], Path::new("its.toml"), text);
    loaded.map(drop).map_err(|error| {
        let said = error.to_string();
        assert!(said.contains("its.toml"), "the file is not named: {said}");
        said
    })
}
