//! The identity of a log dir.

use super::*;
use crate::base::disk::RealDisk;

fn open(path: &Path) -> LogDir {
    LogDir::open(Arc::new(RealDisk), path).unwrap()
}

fn write(dir: &Path, text: &str) {
    RealDisk.replace(&dir.join(IDENTITY_FILE), text.as_bytes()).unwrap();
}

const DIRECTORY: DirectoryId = DirectoryId([7; 16]);

fn identity(beginning: Beginning) -> Identity {
    Identity { cluster_id: "c".to_owned(), node_id: NodeId(3), beginning }
}

#[test]
fn a_directory_keeps_its_first_identity() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.directory(DIRECTORY).unwrap(), DIRECTORY);
    // It belongs to no cluster yet.
    assert_eq!(opened.identity().unwrap(), None);
    assert_eq!(opened.directory(DirectoryId::ZERO).unwrap(), DIRECTORY);
    for beginning in [Beginning::Founded, Beginning::Joined] {
        opened.set_identity(&identity(beginning)).unwrap();
        assert_eq!(opened.identity().unwrap(), Some(identity(beginning)));
        assert_eq!(opened.directory(DirectoryId::ZERO).unwrap(), DIRECTORY);
    }
}

#[test]
fn a_directory_of_an_earlier_version_gets_an_identity() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "version=1\ncluster.id=c\nnode.id=3\n");
    let opened = open(dir.path());
    assert_eq!(opened.identity().unwrap(), Some(identity(Beginning::Founded)));
    assert_eq!(opened.directory(DIRECTORY).unwrap(), DIRECTORY);
    assert_eq!(opened.identity().unwrap(), Some(identity(Beginning::Founded)));
    let text = String::from_utf8(RealDisk.read(&dir.path().join(IDENTITY_FILE)).unwrap()).unwrap();
    assert_eq!(text, format!("version=1\ncluster.id=c\nnode.id=3\ndirectory.id={DIRECTORY}\n"));
    assert_eq!(DIRECTORY.to_string().len(), 22);
}

#[test]
fn damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    for text in ["", "version=1\n", "cluster.id=c\n", "cluster.id=c\nnode.id=x\n"] {
        write(dir.path(), text);
        assert!(opened.identity().is_err(), "{text:?}");
    }
    write(dir.path(), "directory.id=short\n");
    assert!(opened.directory(DIRECTORY).is_err());
}
