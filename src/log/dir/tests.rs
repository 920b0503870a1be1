use super::*;
use crate::base::disk::RealDisk;

fn open(path: &Path) -> LogDir {
    LogDir::open(Arc::new(RealDisk), path).unwrap()
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
    let file = dir.path().join(IDENTITY_FILE);
    std::fs::write(&file, "version=1\ncluster.id=c\nnode.id=3\n").unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.identity().unwrap(), Some(identity(Beginning::Founded)));
    assert_eq!(opened.directory(DIRECTORY).unwrap(), DIRECTORY);
    assert_eq!(opened.identity().unwrap(), Some(identity(Beginning::Founded)));
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, format!("version=1\ncluster.id=c\nnode.id=3\ndirectory.id={DIRECTORY}\n"));
    assert_eq!(DIRECTORY.to_string().len(), 22);
}

#[test]
fn damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    for text in ["", "version=1\n", "cluster.id=c\n", "cluster.id=c\nnode.id=x\n"] {
        std::fs::write(dir.path().join(IDENTITY_FILE), text).unwrap();
        assert!(opened.identity().is_err(), "{text:?}");
    }
    std::fs::write(dir.path().join(IDENTITY_FILE), "directory.id=short\n").unwrap();
    assert!(opened.directory(DIRECTORY).is_err());
}
