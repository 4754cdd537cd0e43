//! What every disk must do, run against the kernel's files and against the simulated disk.

use super::{Disk, RealDisk, SimulatedDisk};
use std::{io::ErrorKind, sync::Arc};

const MIB: u64 = 1 << 20;

/// Runs `check` on an empty disk of each kind.
fn on_each(check: impl Fn(&dyn Disk)) {
    check(&*SimulatedDisk::new(1, 64 * MIB));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = RealDisk::open(folder.path()).expect("a folder that is there");
    check(&*disk);
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

fn bytes_of(disk: &dyn Disk, name: &str) -> Vec<u8> {
    let file = disk.open(name).expect("opens");
    let mut bytes = vec![0; usize::try_from(file.len().expect("has a length")).expect("small")];
    assert_eq!(file.read_at(&mut bytes, 0).expect("reads"), bytes.len());
    bytes
}

#[test]
fn what_is_written_is_read() {
    on_each(|disk| {
        let file = disk.create("f").expect("creates");
        assert!(file.is_empty().expect("has a length"));
        file.write_at(&[b"abc", b"", b"defg"], 3).expect("writes");
        assert_eq!(file.len().expect("has a length"), 10);
        assert_eq!(bytes_of(disk, "f"), b"\0\0\0abcdefg");
        let mut end = [9; 8];
        assert_eq!(file.read_at(&mut end, 8).expect("reads to the end"), 2);
        assert_eq!(&end, b"fg\x09\x09\x09\x09\x09\x09");
        assert_eq!(file.read_at(&mut end, 10).expect("reads at the end"), 0);
        assert_eq!(file.read_at(&mut end, 99).expect("reads beyond"), 0);
        file.sync().expect("syncs");
        assert_eq!(bytes_of(disk, "f"), b"\0\0\0abcdefg");
    });
}

#[test]
fn more_parts_than_one_call_takes_are_written() {
    on_each(|disk| {
        let file = disk.create("f").expect("creates");
        let plain: Vec<u8> = (0..30_000u32).map(|i| i.to_le_bytes()[0]).collect();
        let parts: Vec<&[u8]> = plain.chunks(7).collect();
        file.write_at(&parts, 0).expect("writes");
        file.write_at(&[], 0).expect("writes nothing");
        assert_eq!(bytes_of(disk, "f"), plain);
    });
}

#[test]
fn lengths_are_cut_and_extended_with_zeros() {
    on_each(|disk| {
        let file = disk.create("f").expect("creates");
        file.write_at(&[b"0123456789"], 0).expect("writes");
        file.set_len(4).expect("cuts");
        file.set_len(8).expect("extends");
        assert_eq!(bytes_of(disk, "f"), b"0123\0\0\0\0");
    });
}

#[test]
fn reserving_and_punching_keep_the_length() {
    on_each(|disk| {
        let file = disk.create("f").expect("creates");
        file.reserve(0, MIB).expect("reserves");
        assert_eq!(file.len().expect("has a length"), 0);
        file.write_at(&[&[7; 20_000]], 0).expect("writes");
        file.punch(4096, 8192).expect("punches");
        let mut expected = vec![7; 20_000];
        expected[4096..4096 + 8192].fill(0);
        assert_eq!(bytes_of(disk, "f"), expected);
    });
}

#[test]
fn space_is_told() {
    on_each(|disk| {
        let space = disk.space().expect("has space");
        assert!(0 < space.free && space.free <= space.total);
    });
}

#[test]
fn memory_answers_or_says_that_it_would_wait() {
    on_each(|disk| {
        let file = disk.create("f").expect("creates");
        file.write_at(&[&[5; 10_000]], 0).expect("writes");
        file.sync().expect("syncs");
        let mut bytes = [0; 4096];
        for forget in [false, true] {
            if forget {
                file.forget_cached(0, 10_000);
            }
            match file.read_cached_at(&mut bytes, 8000) {
                Ok(read) => assert_eq!(&bytes[..read], &[5; 2000]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    });
}

#[test]
fn names_are_made_listed_moved_and_removed() {
    on_each(|disk| {
        disk.create_folder("blocks").expect("makes a folder");
        disk.create_folder("blocks").expect("is there already");
        for name in ["b", "a", "blocks/x"] {
            let file = disk.create(name).expect("creates");
            file.write_at(&[name.as_bytes()], 0).expect("writes");
        }
        assert_eq!(disk.list("").expect("lists"), ["a", "b"]);
        assert_eq!(disk.list("blocks").expect("lists"), ["x"]);
        disk.rename("blocks/x", "blocks/y").expect("moves");
        disk.rename("a", "b").expect("moves over another");
        assert_eq!(disk.list("").expect("lists"), ["b"]);
        assert_eq!(bytes_of(disk, "b"), b"a");
        assert_eq!(bytes_of(disk, "blocks/y"), b"blocks/x");
        disk.sync_folder("blocks").expect("syncs");
        disk.remove("b").expect("removes");
        disk.sync_folder("").expect("syncs");
        assert!(disk.list("").expect("lists").is_empty());
    });
}

#[test]
fn names_that_are_wrong_are_refused() {
    on_each(|disk| {
        disk.create("f").expect("creates");
        assert_eq!(kind(disk.create("f")), ErrorKind::AlreadyExists);
        for missing in [
            kind(disk.open("g")),
            kind(disk.remove("g")),
            kind(disk.rename("g", "h")),
            kind(disk.create("nowhere/g")),
            kind(disk.list("nowhere")),
            kind(disk.sync_folder("nowhere")),
        ] {
            assert_eq!(missing, ErrorKind::NotFound);
        }
    });
}

#[test]
fn a_removed_file_serves_whoever_holds_it() {
    on_each(|disk| {
        let file = disk.create("f").expect("creates");
        file.write_at(&[b"still"], 0).expect("writes");
        disk.remove("f").expect("removes");
        disk.sync_folder("").expect("syncs");
        let again = disk.create("f").expect("creates another");
        let mut bytes = [0; 5];
        assert_eq!(file.read_at(&mut bytes, 0).expect("reads"), 5);
        assert_eq!(&bytes, b"still");
        assert_eq!(again.len().expect("has a length"), 0);
    });
}

#[test]
fn an_error_names_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = RealDisk::open(folder.path()).expect("a folder that is there");
    let error = disk.open("absent").err().expect("an error").to_string();
    assert!(
        error.starts_with("cannot open ") && error.contains("absent"),
        "{error}"
    );
    let error = RealDisk::open(&folder.path().join("none"))
        .err()
        .expect("an error");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn handles_go_to_other_threads() {
    on_each(|disk| {
        let file = disk.create("f").expect("creates");
        std::thread::scope(|scope| {
            for part in 0..4u8 {
                let file = Arc::clone(&file);
                scope.spawn(move || {
                    file.write_at(&[&[part; 100]], u64::from(part) * 100)
                        .expect("writes");
                });
            }
        });
        let expected: Vec<u8> = (0..4u8).flat_map(|part| [part; 100]).collect();
        assert_eq!(bytes_of(disk, "f"), expected);
    });
}
