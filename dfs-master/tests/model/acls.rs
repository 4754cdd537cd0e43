//! The model's extended attributes, and among them its access-control lists: written from acl(5), entry by entry, as slowly as that.

use crate::plain::{Answer, Inode};
use bytes::Bytes;
use dfs_proto::{
    attr::FileKind,
    change::{Change, XattrMode},
    id::InodeId,
    time::Timestamp,
};
use rand::{RngExt, rngs::StdRng};
use std::collections::BTreeMap;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Each entry as "tag", or "tag id" of users and groups, and its three rights.
type Entries = Vec<(String, [bool; 3])>;

/// The list as getfacl(1) would say it; `None` if it is none.
fn read(bytes: &[u8]) -> Option<Entries> {
    let entries = bytes.strip_prefix(&[2, 0, 0, 0])?;
    if entries.len() % 8 != 0 {
        return None;
    }
    let mut list = Vec::new();
    for entry in entries.chunks(8) {
        let id = u32::from_le_bytes(entry[4..].try_into().expect("four"));
        let who = match (entry[0], id) {
            (1, _) => "1 user".to_owned(),
            (2, u32::MAX) | (8, u32::MAX) => return None,
            (2, id) => format!("2 user {id}"),
            (4, _) => "3 group".to_owned(),
            (8, id) => format!("4 group {id}"),
            (16, _) => "5 mask".to_owned(),
            (32, _) => "6 other".to_owned(),
            _ => return None,
        };
        if entry[1] != 0 || entry[2] > 7 || entry[3] != 0 {
            return None;
        }
        list.push((who, [4, 2, 1].map(|right| entry[2] & right != 0)));
    }
    // The digits in front are their order; of users and of groups there may be any number.
    let digits: String = list.iter().map(|(who, _)| &who[..1]).collect();
    let mut once = digits.replace(['2', '4'], "");
    let named = once.len() < digits.len();
    let ordered = digits
        .chars()
        .zip(digits.chars().skip(1))
        .all(|(a, b)| a <= b);
    if !named {
        once = once.replace("356", "36");
    }
    let whole = once == if named { "1356" } else { "136" };
    (ordered && whole).then_some(list)
}

fn write(list: &Entries) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0];
    for (who, rights) in list {
        let tag = [1, 2, 4, 8, 16, 32][usize::from(who.as_bytes()[0] - b'1')];
        let id = who
            .splitn(3, ' ')
            .nth(2)
            .map(|id| id.parse().expect("ours"));
        let number = rights
            .iter()
            .fold(0, |sum, right| sum * 2 + u8::from(*right));
        bytes.extend([tag, 0, number, 0]);
        bytes.extend(id.unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes
}

/// Which entry each of the three parts of a mode is.
fn parts(list: &Entries) -> [usize; 3] {
    let at = |wanted: &str| list.iter().position(|(who, _)| who == wanted);
    let middle = at("5 mask").or(at("3 group"));
    [at("1 user"), middle, at("6 other")].map(|at| at.expect("a valid list has it"))
}

fn bit(part: usize, right: usize) -> u16 {
    1 << ((2 - part) * 3 + (2 - right))
}

fn mode_of(list: &Entries) -> u16 {
    let mut mode = 0;
    for (part, at) in parts(list).into_iter().enumerate() {
        for right in 0..3 {
            if list[at].1[right] {
                mode |= bit(part, right);
            }
        }
    }
    mode
}

/// setxattr(2).
pub(crate) fn set_xattr(
    now: Timestamp,
    inode: &mut Inode,
    (name, value): (&[u8], &[u8]),
    mode: XattrMode,
    kill_set_group: bool,
) -> Answer {
    if [ACCESS, DEFAULT].contains(&name) {
        return set(now, inode, name, value, kill_set_group);
    }
    match (mode, inode.xattrs.contains_key(name)) {
        (XattrMode::Create, true) => return Err("Exists"),
        (XattrMode::Replace, false) => return Err("NoAttribute"),
        _ => {}
    }
    inode.xattrs.insert(name.to_vec(), value.to_vec());
    inode.touch(now);
    Ok(())
}

/// removexattr(2).
pub(crate) fn remove(now: Timestamp, inode: &mut Inode, name: &[u8]) -> Answer {
    match inode.xattrs.remove(name) {
        Some(_) => inode.touch(now),
        None if [ACCESS, DEFAULT].contains(&name) => {}
        None => return Err("NoAttribute"),
    }
    Ok(())
}

/// setxattr(2) of a list; nothing removes it.
fn set(now: Timestamp, inode: &mut Inode, name: &[u8], value: &[u8], kill: bool) -> Answer {
    if value.is_empty() || value == [2, 0, 0, 0] {
        return remove(now, inode, name);
    }
    let list = read(value).ok_or("Invalid")?;
    if inode.kind == FileKind::Symlink {
        return Err("Invalid");
    }
    if name == DEFAULT {
        if inode.kind != FileKind::Directory {
            return Err("NoDefaultAcl");
        }
        inode.xattrs.insert(name.to_vec(), write(&list));
    } else {
        inode.mode = inode.mode / 0o1000 * 0o1000 + mode_of(&list);
        if kill {
            inode.mode &= !0o2000;
        }
        inode.xattrs.remove(name);
        if list.len() > 3 {
            inode.xattrs.insert(name.to_vec(), write(&list));
        }
    }
    inode.touch(now);
    Ok(())
}

/// chmod(2): the entries that the mode speaks of say what it says.
pub(crate) fn after_chmod(inode: &mut Inode) {
    if let Some(bytes) = inode.xattrs.get_mut(ACCESS) {
        let mut list = read(bytes).expect("only valid lists are kept");
        for (part, at) in parts(&list).into_iter().enumerate() {
            for right in 0..3 {
                list[at].1[right] = inode.mode & bit(part, right) != 0;
            }
        }
        *bytes = write(&list);
    }
}

/// What a new inode begins with; its mode is what was asked for.
pub(crate) fn begin(inode: &mut Inode, above: &Inode, umask: u16) {
    if inode.kind == FileKind::Symlink {
        return;
    }
    let Some(default) = above.xattrs.get(DEFAULT) else {
        inode.mode &= !umask;
        return;
    };
    if inode.kind == FileKind::Directory {
        inode.xattrs.insert(DEFAULT.to_vec(), default.clone());
    }
    let mut list = read(default).expect("only valid lists are kept");
    // Both must allow it: the list, and the mode that was asked for.
    for (part, at) in parts(&list).into_iter().enumerate() {
        for right in 0..3 {
            let both = list[at].1[right] && inode.mode & bit(part, right) != 0;
            list[at].1[right] = both;
            if !both {
                inode.mode &= !bit(part, right);
            }
        }
    }
    if list.len() > 3 {
        inode.xattrs.insert(ACCESS.to_vec(), write(&list));
    }
}

/// A list set or removed: mostly a valid one.
pub(crate) fn change(random: &mut StdRng, inode: InodeId) -> Change {
    let name = [ACCESS, DEFAULT][random.random_range(0..2)];
    let name = Bytes::from_static(name);
    if random.random_range(0..6) == 0 {
        return Change::RemoveXattr { inode, name };
    }
    let mut entries = BTreeMap::from([(1, 0), (4, 0), (32, 0)]);
    if random.random_range(0..3) > 0 {
        entries.extend([(2, random.random_range(0..3)), (16, 0)]);
    }
    if random.random_range(0..3) > 1 {
        entries.extend([(8, random.random_range(0..3)), (16, 0)]);
    }
    match random.random_range(0..20) {
        0 => drop(entries.pop_first()),
        1 => drop(entries.remove(&16)),
        2 => entries.clear(),
        3 => drop(entries.insert(64, 0)),
        4 => drop(entries.insert(16, 0)),
        _ => {}
    }
    let mut value = vec![2, 0, 0, 0];
    for (tag, id) in entries {
        let id = if matches!(tag, 2 | 8) { id } else { u32::MAX };
        let rights = random.random_range(0..8);
        value.extend([tag, 0, rights, 0]);
        value.extend(id.to_le_bytes());
    }
    if random.random_range(0..30) == 0 {
        value.truncate(random.random_range(0..value.len()));
    }
    Change::SetXattr {
        inode,
        name,
        value: Bytes::from(value),
        mode: XattrMode::Any,
        kill_set_group: random.random_range(0..2) == 0,
    }
}
