//! `ottla import` from a hand-made log dir of Apache Kafka.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::cli::text;
use crate::harness::process::ottla;
use crate::harness::records::{Topic, fetch_from};
use crate::harness::{Broker, DEADLINE, batch, run};

const TOPIC: [u8; 16] = [7; 16];
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qk";

/// A broker's log dir with a topic `t` of two partitions, of which it has the first.
struct Kafka {
    dir: tempfile::TempDir,
    /// The batches of partition 0.
    batches: Vec<Bytes>,
}

/// A batch at an offset in a leader epoch.
fn placed(batch: &Bytes, offset: i64, epoch: i32) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes.freeze()
}

/// The value of a metadata record.
fn record(kind: u8, version: u8, fields: &[&[u8]]) -> Vec<u8> {
    [&[1, kind, version][..], &fields.concat(), &[0]].concat()
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len() + 1).unwrap()][..], text.as_bytes()].concat()
}

fn partition(index: i32, epoch: i32) -> Vec<u8> {
    let nodes = [&[2][..], &1i32.to_be_bytes()].concat();
    let number = |number: i32| number.to_be_bytes().to_vec();
    let (none, leader) = (vec![1], number(1));
    let fields = [
        number(index),
        TOPIC.to_vec(),
        nodes.clone(),
        nodes,
        none.clone(),
        none,
        leader,
        number(epoch),
        number(0),
    ];
    record(3, 0, &fields.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn config(key: &str, value: &str) -> Vec<u8> {
    record(4, 0, &[&[2], &short("t"), &short(key), &short(value)])
}

impl Kafka {
    /// Partition 0 has offsets 10 to 19, of which 10 and 11 are deleted and 14 to 16 compacted.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let values: [&[&[u8]]; 3] = [&[b"a", b"b", b"c", b"d"], &[b"e", b"f"], &[b"g"]];
        let places = [(10, 0), (17, 0), (19, 4)];
        let batches: Vec<Bytes> = values
            .iter()
            .zip(places)
            .map(|(values, (offset, epoch))| placed(&batch::of(values), offset, epoch))
            .collect();
        let kafka = Self { dir, batches };
        let meta = format!("version=1\ncluster.id={CLUSTER}\nnode.id=1\n");
        kafka.write("meta.properties", meta.as_bytes());
        kafka.write(".kafka_cleanshutdown", b"{\"version\":0}");
        kafka.write("log-start-offset-checkpoint", b"0\n1\nt 0 12\n");
        kafka.write("t-0/partition.metadata", b"version: 0\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw\n");
        kafka.write("t-0/leader-epoch-checkpoint", b"0\n2\n0 12\n4 19\n");
        kafka.write("t-0/00000000000000000010.log", &kafka.batches[..2].concat());
        kafka.write("t-0/00000000000000000019.log", &kafka.batches[2]);
        kafka.write_metadata(&[
            record(2, 0, &[&short("t"), &TOPIC]),
            partition(0, 5),
            config("retention.ms", "-1"),
            config("some.new.key", "x"),
        ]);
        kafka
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content).unwrap();
    }

    fn write_metadata(&self, records: &[Vec<u8>]) {
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        self.write("__cluster_metadata-0/00000000000000000000.log", &batch::of(&records));
    }

    fn import(&self, target: &Path, options: &[&str]) -> Output {
        let from = self.dir.path().to_str().unwrap();
        let arguments = [&["import", "--from", from], options].concat();
        ottla(&arguments).env("KAFKA_LOG_DIRS", target.join("data")).output().unwrap()
    }
}

#[track_caller]
fn says(output: &Output, code: i32, what: &str) {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(what), "{what:?} in {said}");
}

/// The whole partition in one fetch, from its start.
async fn fetched(broker: &Broker, from: i64) -> (Bytes, i64, i64) {
    let topic = Topic { name: "t", id: Uuid::from_bytes(TOPIC) };
    let mut client = broker.client().await;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let found = client.fetch_as(18, &topic, fetch_from(0, from)).await;
        if found.error_code == 0 {
            let (start, end) = (found.log_start_offset, found.high_watermark);
            return (found.records.unwrap_or_default(), start, end);
        }
        assert!(tokio::time::Instant::now() < deadline, "error {}", found.error_code);
    }
}

#[test]
fn the_same_bytes_are_served_at_the_same_offsets() {
    let (kafka, target) = (Kafka::new(), Arc::new(tempfile::tempdir().unwrap()));
    let done = kafka.import(target.path(), &[]);
    says(&done, 0, "topic t: 1 partitions, ");
    says(&done, 0, "7 records, offsets 0:12-20");
    says(&done, 0, "some.new.key=x is left out: Unknown topic config name: some.new.key");
    says(&done, 0, &format!("cluster.id={CLUSTER} node.id=1"));
    run(async {
        let broker = Broker::start_in(Arc::clone(&target), &[]).await;
        assert_eq!(fetched(&broker, 12).await, (kafka.batches[..2].concat().into(), 12, 20));
        // Offsets 14 to 16 are gone, so the next batch comes.
        assert_eq!(fetched(&broker, 14).await.0, kafka.batches[1]);
        let configs = broker.client().await.topic("t").await;
        assert_eq!(configs.topic_id.as_bytes(), &TOPIC);
        // A client has perhaps seen epoch 5.
        assert!(configs.partitions[0].leader_epoch > 5, "{configs:?}");
        let mut client = broker.client().await;
        let topic = Topic { name: "t", id: Uuid::from_bytes(TOPIC) };
        let produced = client.produce(&topic, batch::of(&[b"new"])).await;
        assert_eq!((produced.error_code, produced.base_offset), (0, 20));
        let broker = broker.restart().await;
        assert_eq!(fetched(&broker, 17).await.0, kafka.batches[1]);
        assert_eq!(fetched(&broker, 19).await.2, 21);
    });
}

#[test]
fn what_is_missing_is_told_and_only_partial_goes_on() {
    let (kafka, target) = (Kafka::new(), Arc::new(tempfile::tempdir().unwrap()));
    kafka.write_metadata(&[
        record(2, 0, &[&short("t"), &TOPIC]),
        partition(0, 5),
        partition(1, 0),
        record(2, 0, &[&short("elsewhere"), &[8; 16]]),
    ]);
    let refused = kafka.import(target.path(), &[]);
    says(&refused, 1, "missing: topic t: partitions 1 are not here; they begin empty");
    says(&refused, 1, "--partial imports the rest");
    assert!(!target.path().join("data/meta.properties").exists());
    says(&kafka.import(target.path(), &["--partial"]), 0, "topic t: 2 partitions");
    run(async {
        let broker = Broker::start_in(target, &[]).await;
        assert_eq!(fetched(&broker, 12).await.2, 20);
        let mut client = broker.client().await;
        assert_eq!(client.topic("t").await.partitions.len(), 2);
        assert_eq!(client.topic("elsewhere").await.error_code, 3);
    });
}

#[test]
fn a_half_import_serves_nobody_and_is_begun_again() {
    let (kafka, target) = (Kafka::new(), Arc::new(tempfile::tempdir().unwrap()));
    let mut damaged = kafka.batches[..2].concat();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    kafka.write("t-0/00000000000000000010.log", &damaged);
    let refused = kafka.import(target.path(), &[]);
    says(&refused, 1, "a batch whose checksum is wrong at position");
    says(&refused, 1, "where offset 14 is due");
    let server = ottla(&["server"])
        .env("KAFKA_LOG_DIRS", target.path().join("data"))
        .env("KAFKA_LISTENERS", "PLAINTEXT://127.0.0.1:0")
        .env("OTTLA_METRICS_LISTENER", "")
        .output()
        .unwrap();
    says(&server, 1, "was cut short: run `ottla import` again");
    kafka.write("t-0/00000000000000000010.log", &kafka.batches[..2].concat());
    says(&kafka.import(target.path(), &[]), 0, "imported 1 topics");
    says(&kafka.import(target.path(), &[]), 1, "is not empty");
    run(async {
        let broker = Broker::start_in(target, &[]).await;
        assert_eq!(fetched(&broker, 12).await.0, kafka.batches[..2].concat());
    });
}

#[test]
fn the_tail_of_a_crash_is_left_out() {
    let (kafka, target) = (Kafka::new(), tempfile::tempdir().unwrap());
    std::fs::remove_file(kafka.path(".kafka_cleanshutdown")).unwrap();
    kafka.write("recovery-point-offset-checkpoint", b"0\n1\nt 0 19\n");
    kafka.write("t-0/00000000000000000019.log", &kafka.batches[2][..60]);
    let done = kafka.import(target.path(), &[]);
    says(&done, 0, "cut: t-0 ends at offset 19: ");
    // Below the recovery point it is damage.
    let other = tempfile::tempdir().unwrap();
    kafka.write("recovery-point-offset-checkpoint", b"0\n1\nt 0 20\n");
    says(&kafka.import(other.path(), &[]), 1, "a batch that is cut off");
}

#[test]
fn other_folders_are_refused() {
    let (kafka, target) = (Kafka::new(), tempfile::tempdir().unwrap());
    let refused = ottla(&["import"]).output().unwrap();
    says(&refused, 2, "usage:");
    std::fs::remove_dir_all(kafka.path("__cluster_metadata-0")).unwrap();
    says(&kafka.import(target.path(), &[]), 1, "there is no __cluster_metadata-0");
    std::fs::remove_file(kafka.path("meta.properties")).unwrap();
    says(&kafka.import(target.path(), &[]), 1, "meta.properties is missing");
    // The source itself is no place for it, and stays as it is.
    let kafka = Kafka::new();
    let itself = ottla(&["import", "--from", kafka.dir.path().to_str().unwrap()])
        .env("KAFKA_LOG_DIRS", kafka.dir.path())
        .output()
        .unwrap();
    says(&itself, 1, "is not empty");
    assert!(kafka.path(".kafka_cleanshutdown").exists());
}
