//! A list: its bytes, what makes one valid, and how it goes with a mode. Pure.
//!
//! The bytes are those of the extended attribute, as the kernel has them: a version (4 bytes, 2),
//! then for each entry a tag (2 bytes), rights (2) and an id (4), little-endian. The nine bits of a
//! mode are three of the entries in other words: owner, group (the mask, where there is one), others.

use bytes::Bytes;
use dfs_proto::{attr::ACL_BYTES_MAX, error::FsError};

/// The version of the format.
const VERSION: u32 = 2;

const HEAD_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;

/// The id of entries that are about nobody in particular.
const NO_ID: u32 = u32::MAX;

/// Read, write, execute.
const ALL_RIGHTS: u16 = 0o7;

/// The bits of a mode that a list speaks of.
pub(super) const PERMISSIONS: u16 = 0o777;

/// Whom an entry is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    /// The owner of the inode.
    Owner,
    /// Another user.
    User(u32),
    /// The group of the inode.
    OwnGroup,
    /// Another group.
    Group(u32),
    /// What the three before may have at the most.
    Mask,
    /// Everyone else.
    Others,
}

impl Who {
    fn of(tag: u16, id: u32) -> Option<Who> {
        Some(match tag {
            0x01 => Who::Owner,
            0x02 if id != NO_ID => Who::User(id),
            0x04 => Who::OwnGroup,
            0x08 if id != NO_ID => Who::Group(id),
            0x10 => Who::Mask,
            0x20 => Who::Others,
            _ => return None,
        })
    }

    /// Tags stand in a list in the order of their numbers.
    fn tag(self) -> u16 {
        match self {
            Who::Owner => 0x01,
            Who::User(_) => 0x02,
            Who::OwnGroup => 0x04,
            Who::Group(_) => 0x08,
            Who::Mask => 0x10,
            Who::Others => 0x20,
        }
    }

    fn id(self) -> u32 {
        match self {
            Who::User(id) | Who::Group(id) => id,
            Who::Owner | Who::OwnGroup | Who::Mask | Who::Others => NO_ID,
        }
    }
}

/// A valid list: one entry each for owner, group and others, and a mask where there are more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct List(Vec<(Who, u16)>);

impl List {
    /// Reads a list; `None` where there is no entry, which says that there is to be no list.
    pub fn parse(bytes: &[u8]) -> Result<Option<List>, FsError> {
        if bytes.len() > usize::try_from(ACL_BYTES_MAX).expect("4096") {
            return Err(FsError::TooLong(ACL_BYTES_MAX));
        }
        let Some((head, entries)) = bytes.split_at_checked(HEAD_BYTES) else {
            return match bytes {
                [] => Ok(None),
                _ => Err(invalid("it ends in its version")),
            };
        };
        if number(head) != VERSION {
            return Err(invalid("its version is not 2"));
        }
        let (entries, []) = entries.as_chunks::<ENTRY_BYTES>() else {
            return Err(invalid("it ends in an entry"));
        };
        let list: Vec<(Who, u16)> = entries.iter().map(entry).collect::<Result<_, _>>()?;
        match () {
            () if list.is_empty() => Ok(None),
            () if is_valid(&list) => Ok(Some(List(list))),
            () => Err(invalid(
                "it needs owner, users, group, groups, mask and others, in this order, and a mask \
                 where there are users or groups",
            )),
        }
    }

    /// The bytes of the list.
    pub fn bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + ENTRY_BYTES * self.0.len());
        bytes.extend(VERSION.to_le_bytes());
        for (who, rights) in &self.0 {
            bytes.extend(who.tag().to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(who.id().to_le_bytes());
        }
        Bytes::from(bytes)
    }

    /// The permission bits of a mode that go with it.
    pub fn mode(&self) -> u16 {
        self.rights(Who::Owner) << 6 | self.rights(self.middle()) << 3 | self.rights(Who::Others)
    }

    /// Whether it says no more than a mode does.
    pub fn is_mode(&self) -> bool {
        self.0.len() == 3
    }

    /// What it is after chmod(2).
    pub fn with_mode(mut self, mode: u16) -> List {
        let middle = self.middle();
        for (who, rights) in &mut self.0 {
            match who {
                Who::Owner => *rights = mode >> 6 & ALL_RIGHTS,
                Who::Others => *rights = mode & ALL_RIGHTS,
                other if *other == middle => *rights = mode >> 3 & ALL_RIGHTS,
                _ => {}
            }
        }
        self
    }

    /// The access list of what is made with these permission bits in a directory of which this is
    /// the default list: no right that the bits do not give.
    pub fn inherited(self, mode: u16) -> List {
        let both = self.mode() & mode;
        self.with_mode(both)
    }

    /// The entry that the middle bits of a mode stand for.
    fn middle(&self) -> Who {
        let masked = self.0.iter().any(|(who, _)| *who == Who::Mask);
        if masked { Who::Mask } else { Who::OwnGroup }
    }

    fn rights(&self, of: Who) -> u16 {
        let entry = self.0.iter().find(|(who, _)| *who == of);
        entry.map_or(0, |(_, rights)| *rights)
    }
}

fn entry(bytes: &[u8; ENTRY_BYTES]) -> Result<(Who, u16), FsError> {
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let who = Who::of(half(0), number(&bytes[4..]));
    let who = who.ok_or_else(|| invalid("an entry is about nobody"))?;
    match half(2) {
        rights if rights & !ALL_RIGHTS == 0 => Ok((who, rights)),
        _ => Err(invalid("there are three rights")),
    }
}

/// As the kernel has it: users and groups may come in any order among themselves, and twice.
fn is_valid(list: &[(Who, u16)]) -> bool {
    let count = |tag: u16| list.iter().filter(|(who, _)| who.tag() == tag).count();
    let in_order = list.is_sorted_by_key(|(who, _)| who.tag());
    let named = count(0x02) + count(0x08) > 0;
    in_order
        && [0x01, 0x04, 0x20].map(count) == [1; 3]
        && (usize::from(named)..=1).contains(&count(0x10))
}

fn number(bytes: &[u8]) -> u32 {
    let low_first = bytes.iter().rev();
    low_first.fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn invalid(what: &str) -> FsError {
    FsError::Invalid(format!("an access-control list: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a list, valid or not.
    fn bytes_of(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    const OWNER: (u16, u16, u32) = (0x01, 6, NO_ID);
    const USER: (u16, u16, u32) = (0x02, 7, 1000);
    const GROUP: (u16, u16, u32) = (0x04, 4, NO_ID);
    const STAFF: (u16, u16, u32) = (0x08, 5, 50);
    const MASK: (u16, u16, u32) = (0x10, 6, NO_ID);
    const OTHERS: (u16, u16, u32) = (0x20, 1, NO_ID);

    fn list(entries: &[(u16, u16, u32)]) -> List {
        let parsed = List::parse(&bytes_of(entries));
        parsed.expect("is valid").expect("has entries")
    }

    #[test]
    fn a_list_comes_back_as_it_went() {
        for entries in [
            &[OWNER, GROUP, OTHERS][..],
            &[OWNER, GROUP, MASK, OTHERS],
            &[OWNER, USER, USER, GROUP, STAFF, MASK, OTHERS],
        ] {
            assert_eq!(list(entries).bytes(), bytes_of(entries));
        }
        assert_eq!(List::parse(&[]), Ok(None));
        assert_eq!(List::parse(&bytes_of(&[])), Ok(None));
        // Ids of entries that need none are not looked at, and come back as the kernel has them.
        let odd = [(0x01, 6, 7), GROUP, OTHERS];
        let plain = bytes_of(&[OWNER, GROUP, OTHERS]);
        assert_eq!(list(&odd).bytes(), plain);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let refused = |bytes: &[u8]| matches!(List::parse(bytes), Err(FsError::Invalid(_)));
        let valid = bytes_of(&[OWNER, USER, GROUP, MASK, OTHERS]);
        for cut in (1..valid.len()).filter(|cut| *cut != HEAD_BYTES) {
            assert!(refused(&valid[..cut]), "{cut} bytes");
        }
        for version in [0_u8, 1, 3] {
            let mut other = valid.clone();
            other[0] = version;
            assert!(refused(&other), "version {version}");
        }
        for entries in [
            &[OWNER, USER, GROUP, OTHERS][..],
            &[OWNER, GROUP, STAFF, OTHERS],
            &[GROUP, OTHERS],
            &[OWNER, OTHERS],
            &[OWNER, GROUP],
            &[OWNER, OWNER, GROUP, OTHERS],
            &[OWNER, GROUP, GROUP, OTHERS],
            &[OWNER, GROUP, OTHERS, OTHERS],
            &[OWNER, USER, GROUP, MASK, MASK, OTHERS],
            &[USER, OWNER, GROUP, MASK, OTHERS],
            &[OWNER, GROUP, USER, MASK, OTHERS],
            &[OWNER, STAFF, GROUP, MASK, OTHERS],
            &[OWNER, USER, GROUP, OTHERS, MASK],
            &[OWNER, (0x02, 7, NO_ID), GROUP, MASK, OTHERS],
            &[OWNER, GROUP, (0x08, 7, NO_ID), MASK, OTHERS],
            &[(0x01, 8, NO_ID), GROUP, OTHERS],
            &[OWNER, GROUP, (0x40, 1, NO_ID), OTHERS],
            &[OWNER, GROUP, (0, 1, NO_ID), OTHERS],
        ] {
            assert!(refused(&bytes_of(entries)), "{entries:?}");
        }
        let many = vec![USER; 507];
        let of = |users: &[(u16, u16, u32)]| {
            bytes_of(&[&[OWNER], users, &[GROUP, MASK, OTHERS]].concat())
        };
        assert!(List::parse(&of(&many)).is_ok_and(|list| list.is_some()));
        let more = vec![USER; 508];
        assert_eq!(
            List::parse(&of(&more)),
            Err(FsError::TooLong(ACL_BYTES_MAX))
        );
    }

    #[test]
    fn a_mode_speaks_of_the_mask_where_there_is_one() {
        let plain = list(&[OWNER, GROUP, OTHERS]);
        assert_eq!((plain.mode(), plain.is_mode()), (0o641, true));
        let masked = list(&[OWNER, USER, GROUP, MASK, OTHERS]);
        assert_eq!((masked.mode(), masked.is_mode()), (0o661, false));
        assert!(!list(&[OWNER, GROUP, MASK, OTHERS]).is_mode());
        let changed = masked.with_mode(0o2750);
        let mask = (0x10, 5, NO_ID);
        let wanted = [(0x01, 7, NO_ID), USER, GROUP, mask, (0x20, 0, NO_ID)];
        assert_eq!(changed.bytes(), bytes_of(&wanted));
        assert_eq!(plain.with_mode(0o170).mode(), 0o170);
    }

    #[test]
    fn what_is_made_gets_no_right_that_was_not_asked_for() {
        let masked = list(&[OWNER, USER, GROUP, MASK, OTHERS]);
        assert_eq!(masked.clone().inherited(0o666).mode(), 0o660);
        assert_eq!(masked.clone().inherited(0o640).mode(), 0o640);
        let made = masked.inherited(0o600);
        let mask = (0x10, 0, NO_ID);
        let wanted = [OWNER, USER, GROUP, mask, (0x20, 0, NO_ID)];
        assert_eq!(made.bytes(), bytes_of(&wanted));
    }
}
