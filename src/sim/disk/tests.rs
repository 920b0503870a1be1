//! Tests of the disk: what is synced survives, what is not may not.

use super::*;

fn write(disk: &SimDisk, path: &str, content: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(path), OpenMode::Create).expect("a file");
    file.write_all_at(&[IoSlice::new(content)], 0).expect("written");
    file
}

fn survivors(disk: &SimDisk, path: &str) -> (bool, bool) {
    let (mut with, mut without) = (false, false);
    for _ in 0..64 {
        match disk.image().read(Path::new(path)) {
            Ok(content) if content == b"x" => with = true,
            _ => without = true,
        }
    }
    (with, without)
}

#[test]
fn only_what_is_synced_survives_for_sure() {
    let disk = SimDisk::new(1);
    let file = write(&disk, "/f", b"x");
    assert_eq!(survivors(&disk, "/f"), (true, true));
    let disk = SimDisk::new(1);
    write(&disk, "/f", b"x").sync().expect("synced");
    assert_eq!(survivors(&disk, "/f"), (true, true), "the name is not durable");
    let disk = SimDisk::new(1);
    write(&disk, "/f", b"x").sync().expect("synced");
    disk.sync_dir(Path::new("/")).expect("synced");
    assert_eq!(survivors(&disk, "/f"), (true, false));
    disk.remove_file(Path::new("/f")).expect("removed");
    assert!(!disk.exists(Path::new("/f")));
    assert_eq!(survivors(&disk, "/f"), (true, true), "its removal is not durable");
    drop(file);
}

#[test]
fn writes_are_torn_at_sectors_and_not_in_order() {
    let disk = SimDisk::new(2);
    let file = write(&disk, "/f", &[]);
    file.sync().expect("synced");
    disk.sync_dir(Path::new("/")).expect("synced");
    file.write_all_at(&[IoSlice::new(&[1; 2000])], 100).expect("written");
    file.write_all_at(&[IoSlice::new(&[2; 600])], 2100).expect("written");
    let (mut torn, mut reordered) = (false, false);
    for _ in 0..200 {
        let content = disk.image().read(Path::new("/f")).expect("read");
        let first = content.get(100..512) == Some(&[1; 412]);
        let second = content.get(512..1024) == Some(&[1; 512]);
        torn |= first != second;
        reordered |= !first && content.ends_with(&[2; 500]);
    }
    assert!(torn && reordered);
}

#[test]
fn the_power_fails_between_two_calls() {
    for calls in 0..4 {
        let disk = SimDisk::new(calls);
        disk.crash_in(calls);
        let file = disk.open(Path::new("/f"), OpenMode::Create);
        assert_eq!(file.is_ok(), calls >= 1);
        let written = file.and_then(|file| {
            file.write_all_at(&[IoSlice::new(b"x")], 0)?;
            file.sync()
        });
        assert_eq!((written.is_ok(), disk.is_crashed()), (calls >= 3, calls < 3));
    }
}

#[test]
fn a_sync_fails_once_and_loses_what_it_should_have_written() {
    let disk = SimDisk::new(3);
    let file = write(&disk, "/f", b"x");
    disk.sync_dir(Path::new("/")).expect("synced");
    disk.set_faults(Faults { failing_sync: Some(0), ..Faults::default() });
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok());
    assert_eq!(survivors(&disk, "/f"), (false, true));
}

#[test]
fn a_full_disk_takes_what_fits() {
    let disk = SimDisk::new(4);
    disk.set_faults(Faults { bytes_free: Some(3), ..Faults::default() });
    let file = disk.open(Path::new("/f"), OpenMode::Create).expect("a file");
    let error = file.write_all_at(&[IoSlice::new(b"abcd")], 0).expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    file.write_all_at(&[IoSlice::new(b"xyz")], 0).expect("no more space is needed");
}

#[test]
fn the_hash_tells_runs_apart() {
    let run = |content: &[u8]| {
        let disk = SimDisk::new(5);
        write(&disk, "/f", content).sync().expect("synced");
        disk.image().trace()
    };
    assert_eq!(run(b"a"), run(b"a"));
    assert_ne!(run(b"a"), run(b"b"));
}

#[test]
fn a_folder_is_renamed_with_what_is_in_it() {
    let disk = SimDisk::new(6);
    disk.create_dir_all(Path::new("/a")).expect("a folder");
    write(&disk, "/a/f", b"x");
    disk.rename(Path::new("/a"), Path::new("/b")).expect("renamed");
    assert_eq!(disk.read(Path::new("/b/f")).expect("read"), b"x");
    disk.remove_dir_all(Path::new("/b")).expect("removed");
    assert!(disk.list(Path::new("/")).expect("listed").is_empty());
    let held = disk.lock(Path::new("/.lock")).expect("the lock");
    assert!(disk.lock(Path::new("/.lock")).is_err());
    drop(held);
    assert!(disk.lock(Path::new("/.lock")).is_ok());
}
