//! Which errors say that the disk is at fault, and not one file on it or this process.

use std::{error::Error, io};

/// What the kernel says when a device, or the file system on it, does not do what it should.
const OF_THE_DISK: &[i32] = &[
    libc::EIO,
    libc::ENXIO,
    libc::ENODEV,
    libc::EROFS,
    libc::ESHUTDOWN,
    libc::EREMOTEIO,
    libc::ENOTCONN,
    libc::ESTALE,
    // ext4 and others: the structure needs cleaning, a checksum of theirs is wrong.
    libc::EUCLEAN,
    libc::EBADMSG,
];

/// Whether an error says that the disk is not to be trusted any more: one that it cannot read here it
/// may not keep there.
pub fn is_broken(error: &io::Error) -> bool {
    number(error).is_some_and(|number| OF_THE_DISK.contains(&number))
}

/// What the kernel said, below the names that were put around it.
fn number(error: &io::Error) -> Option<i32> {
    let mut below: &(dyn Error + 'static) = error;
    loop {
        if let Some(error) = below.downcast_ref::<io::Error>() {
            match (error.raw_os_error(), error.get_ref()) {
                (Some(number), _) => return Some(number),
                (None, Some(inner)) => below = inner,
                (None, None) => return None,
            }
        } else {
            below = below.source()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn what_the_kernel_says_of_a_disk_is_told_from_what_it_says_of_a_file() {
        let raw = io::Error::from_raw_os_error;
        for number in OF_THE_DISK {
            assert!(is_broken(&raw(*number)));
            let named = io::Error::new(raw(*number).kind(), raw(*number));
            assert!(is_broken(&named), "{named}");
        }
        let others = [libc::ENOENT, libc::ENOSPC, libc::EMFILE, libc::EACCES];
        for number in others {
            assert!(!is_broken(&raw(number)));
        }
        assert!(!is_broken(&io::ErrorKind::NotFound.into()));
    }

    #[test]
    fn the_names_of_files_hide_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = RealDisk::open(folder.path()).expect("is there");
        let Err(error) = disk.open("none") else {
            panic!("it is not there");
        };
        assert_eq!(number(&error), Some(libc::ENOENT));
    }
}
