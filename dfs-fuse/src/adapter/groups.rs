//! Whether who sets an access-control list may leave set-group-id where it is: a member of the
//! group, or one with the right for it. Requests carry one group only (and fuser 0.18 does not read
//! the flag with which newer kernels tell), so the caller is looked at.

use fuser::Request;

/// The right to leave set-group-id alone.
const CAP_FSETID: u32 = 4;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    uid: u32,
    gid: u32,
    thread: u32,
}

impl Asker {
    pub(super) fn of(request: &Request) -> Asker {
        Asker {
            uid: request.uid(),
            gid: request.gid(),
            thread: request.pid(),
        }
    }

    /// Whether files of this group may keep set-group-id. Asked while the request is not answered:
    /// until then its thread is there.
    pub(super) fn may_set_group(self, group: u32) -> bool {
        if self.gid == group {
            return true;
        }
        // The kernel makes this file up in microseconds: not worth a thread. What cannot be seen, in
        // another PID namespace say, gives no rights.
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.thread));
        let status = status.unwrap_or_default();
        // The rights of a root of its own, in a user namespace, do not count here.
        self.uid == 0 && has_right(&status) || is_member(&status, group)
    }
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let mut lines = status.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_default().trim()
}

fn has_right(status: &str) -> bool {
    let rights = u64::from_str_radix(field(status, "CapEff"), 16).unwrap_or(0);
    rights >> CAP_FSETID & 1 == 1
}

fn is_member(status: &str, group: u32) -> bool {
    let mut groups = field(status, "Groups").split_whitespace();
    groups.any(|member| member.parse() == Ok(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tx\nGid:\t5\t5\t5\t5\nGroups:\t5 20 1000 \nCapEff:\t0000000000000010\n";

    #[test]
    fn members_are_known_by_their_groups() {
        assert!(is_member(STATUS, 20) && is_member(STATUS, 1000));
        assert!(!is_member(STATUS, 2) && !is_member("", 0));
    }

    #[test]
    fn the_right_is_one_bit() {
        assert!(has_right(STATUS) && has_right("CapEff:\t000001ffffffffff\n"));
        assert!(!has_right("CapEff:\t00000000000000ef\n") && !has_right(""));
    }
}
