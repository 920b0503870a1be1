//! An import whose power is cut between any two operations of the disk.

use std::path::Path;

use crate::base::clock::ManualClock;
use crate::base::disk::Disk;
use crate::base::env::Store;
use crate::base::ids::TopicId;
use crate::base::net::Net;
use crate::base::net::sim::SimNet;
use crate::base::rng::Rng;
use crate::base::worker::Threads;
use crate::import::records::tests::value_of;
use crate::import::records::{self as kafka};
use crate::import::*;
use crate::log::batch::Batch;
use crate::log::records::build::{NewRecord, batch};
use crate::metadata::image::Image;
use crate::sim::disk::SimDisk;

const TOPIC: TopicId = TopicId([7; 16]);
const DIRS: [&str; 2] = ["/ottla/a", "/ottla/b"];
const PARTITIONS_COUNT: i32 = 3;

fn write(disk: &SimDisk, path: &str, content: &[u8]) {
    let path = Path::new(path);
    disk.create_dir_all(path.parent().expect("a folder")).expect("a folder");
    disk.replace(path, content).expect("written");
    for dir in path.ancestors().skip(1) {
        disk.sync_dir(dir).expect("synced");
    }
}

fn batch_of(values: &[&[u8]], offset: i64) -> Batch {
    let record = |value: &&[u8]| NewRecord {
        key: bytes::Bytes::from_static(b"k"),
        value: Some(value.to_vec().into()),
    };
    let records: Vec<NewRecord> = values.iter().map(record).collect();
    let mut batch = batch(&records, 1_000).expect("a batch");
    batch.assign(offset, 0);
    batch
}

fn bytes_of(batch: &Batch) -> Vec<u8> {
    [&batch.head()[..], batch.records()].concat()
}

/// What a partition has, in two segments.
fn content(partition: i32) -> [(i64, Vec<u8>); 2] {
    let name = format!("value of {partition}");
    let first = batch_of(&[name.as_bytes(), b"b"], 10);
    [(10, bytes_of(&first)), (15, bytes_of(&batch_of(&[name.as_bytes()], 15)))]
}

/// A disk with a broker's log dir.
fn broker() -> SimDisk {
    let disk = SimDisk::new(1);
    write(&disk, "/kafka/meta.properties", b"version=1\ncluster.id=c\nnode.id=3\n");
    write(&disk, "/kafka/.kafka_cleanshutdown", b"");
    let mut records = vec![value_of(&kafka::Record::Topic { name: "t".to_owned(), id: TOPIC })];
    for partition in 0..PARTITIONS_COUNT {
        records.push(value_of(&kafka::Record::Partition {
            topic: TOPIC,
            partition,
            replicas: vec![3],
            epoch: 5,
        }));
        let dir = format!("/kafka/t-{partition}");
        let text = format!("version: 0\ntopic_id: {TOPIC}\n");
        write(&disk, &format!("{dir}/partition.metadata"), text.as_bytes());
        for (base, bytes) in content(partition) {
            write(&disk, &format!("{dir}/{base:020}.log"), &bytes);
        }
    }
    let records: Vec<&[u8]> = records.iter().map(|value| &value[..]).collect();
    let metadata = bytes_of(&batch_of(&records, 0));
    write(&disk, "/kafka/__cluster_metadata-0/00000000000000000000.log", &metadata);
    disk
}

fn env(disk: &SimDisk) -> Env {
    Env {
        clock: Arc::new(ManualClock::new(1_000_000)),
        rng: Arc::new(Rng::seeded(1)),
        disk: Arc::new(disk.clone()),
        net: Net::Sim(SimNet::default()),
        threads: Threads::Inline,
        store: Store::Journal,
        planted: None,
    }
}

fn run_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

fn import(disk: &SimDisk) -> io::Result<()> {
    let settings = [("KAFKA_LOG_DIRS".to_owned(), DIRS.join(","))];
    let config = Config::load(None, &settings).expect("settings").config;
    let request = Request { from: vec!["/kafka".into()], partial: false };
    run_on(run(&env(disk), &config, request, &mut |_| Ok(())))
}

/// Whether a broker would start on what is there.
fn is_whole(disk: &SimDisk) -> bool {
    let open = |path: &str| LogDir::open(Arc::new(disk.clone()), Path::new(path)).expect("opened");
    let first = open(DIRS[0]);
    !first.is_half_imported() && first.identity().expect("read").is_some()
}

fn check(disk: &SimDisk) {
    for path in DIRS {
        let dir = LogDir::open(Arc::new(disk.clone()), Path::new(path)).expect("opened");
        let identity = dir.identity().expect("read").expect("it has one");
        assert_eq!((identity.cluster_id.as_str(), identity.node_id), ("c", NodeId(3)));
    }
    for partition in 0..PARTITIONS_COUNT {
        let places = DIRS.map(|dir| format!("{dir}/t-{partition}"));
        let place = places.iter().find(|place| disk.exists(Path::new(place))).expect("here");
        for (base, bytes) in content(partition) {
            let path = format!("{place}/{base:020}.log");
            assert_eq!(disk.content(Path::new(&path)).expect("read"), bytes, "{path}");
        }
    }
    let image = run_on(image(disk));
    let topic = image.topic("t").expect("the topic");
    assert_eq!(topic.id, TOPIC);
    assert_eq!(topic.partitions.len(), 3);
    for place in topic.partitions.values() {
        assert_eq!((place.leader, place.leader_epoch), (None, 5));
        assert_eq!(place.in_sync, [NodeId(3)]);
    }
}

/// The metadata as a broker finds it.
async fn image(disk: &SimDisk) -> Arc<Image> {
    let env = env(disk);
    let kv = env.open_store(&Path::new(DIRS[0]).join(".ottla")).expect("the store");
    let writer = KvWriter::start(env.threads, Arc::clone(&kv)).expect("a writer");
    let publisher = Arc::new(Publisher::default());
    let images = publisher.images();
    let groups = Groups::new(NodeId(3), Peers::without_identity(env));
    let opened = MetadataGroup::open(Entrance::Found, &groups, kv, writer, publisher).await;
    opened.expect("the group").shutdown().await.expect("stopped");
    images.current()
}

#[test]
fn a_power_cut_leaves_all_of_it_or_nothing() {
    let whole = broker();
    let before = whole.changes();
    import(&whole).expect("imported");
    let changes = whole.changes() - before;
    check(&whole);
    assert!(changes > 100, "{changes}");
    let mut were_whole = 0;
    for calls in 0..changes {
        let disk = broker();
        disk.crash_in(calls);
        let imported = import(&disk);
        let disk = disk.crash();
        if is_whole(&disk) {
            were_whole += 1;
            check(&disk);
            continue;
        }
        assert!(imported.is_err(), "it said so {calls} calls in, and is not");
        import(&disk).unwrap_or_else(|error| panic!("again, after {calls} calls: {error}"));
        check(&disk);
    }
    assert!(were_whole < 10, "{were_whole} of {changes}");
}

#[test]
fn a_folder_with_something_in_it_is_refused() {
    let disk = broker();
    import(&disk).expect("imported");
    let error = import(&disk).expect_err("refused").to_string();
    assert_eq!(error, "/ottla/a is not empty; an import needs empty log dirs");
    check(&disk);
    let disk = broker();
    write(&disk, "/ottla/b/other-0/partition.metadata", b"");
    let error = import(&disk).expect_err("refused").to_string();
    assert_eq!(error, "/ottla/b is not empty; an import needs empty log dirs");
}
