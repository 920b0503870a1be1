//! Wrong bits on a disk: never served, and mended where another replica has what was written.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ottla::log::batch::HEADER_BYTES;

use crate::harness::cluster::Cluster;
use crate::harness::records::Topic;
use crate::harness::{Broker, Client, batch, eventually, run, value};

const METRICS: (&str, &str) = ("OTTLA_METRICS_LISTENER", "127.0.0.1:0");
const NOT_LEADER: i16 = 6;
const STORAGE_ERROR: i16 = 56;
const BATCHES: i64 = 20;

fn log_file(dir: &Path) -> PathBuf {
    dir.join("data/t-0/00000000000000000000.log")
}

/// Flips a bit in the records of the batch that begins at `position`.
fn flip(file: &Path, position: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let at = position + HEADER_BYTES as u64 + 3;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Where the batches of a file begin.
fn positions(file: &Path) -> Vec<u64> {
    let file = File::open(file).unwrap();
    let (mut at, mut found) = (0, Vec::new());
    let mut length = [0; 4];
    while file.read_exact_at(&mut length, at + 8).is_ok() {
        found.push(at);
        at += 12 + u64::from(u32::from_be_bytes(length));
    }
    found
}

async fn fill(client: &mut Client, topic: &Topic) {
    for number in 0..BATCHES {
        let value = format!("value {number} {}", "x".repeat(100));
        let answer = client.produce(topic, batch::of(&[value.as_bytes()])).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, number));
    }
}

/// The offsets that are served from `from` on, up to the first error.
async fn served(client: &mut Client, topic: &Topic, from: i64) -> (Vec<i64>, i16) {
    let (mut next, mut offsets) = (from, Vec::new());
    while next < BATCHES {
        let data = client.fetch(topic, next).await;
        if data.error_code != 0 {
            return (offsets, data.error_code);
        }
        let parts = batch::parts(data.records);
        offsets.extend(parts.iter().map(|(offset, _)| *offset));
        next = *offsets.last().expect("at least one batch") + 1;
    }
    (offsets, 0)
}

async fn metric(broker: &Broker, name: &str) -> f64 {
    value(&broker.scrape().await, name).unwrap()
}

#[test]
fn a_lone_broker_serves_what_is_around_a_damaged_batch() {
    run(async {
        let broker = Broker::start_with(&[METRICS]).await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        fill(&mut client, &topic).await;
        let file = log_file(broker.dir.path());
        flip(&file, positions(&file)[7]);
        for _ in 0..2 {
            assert_eq!(served(&mut client, &topic, 0).await, ((0..7).collect(), STORAGE_ERROR));
            assert_eq!(served(&mut client, &topic, 8).await, ((8..BATCHES).collect(), 0));
        }
        eventually(async || metric(&broker, "ottla_log_damaged_batches").await == 1.0).await;
        // The same after a restart, and it takes more.
        let broker = broker.restart_with(&[METRICS]).await;
        let mut client = broker.client().await;
        eventually(async || served(&mut client, &topic, 0).await.1 != NOT_LEADER).await;
        assert_eq!(served(&mut client, &topic, 0).await, ((0..7).collect(), STORAGE_ERROR));
        assert_eq!(served(&mut client, &topic, 8).await, ((8..BATCHES).collect(), 0));
        let answer = client.produce(&topic, batch::of(&[b"more"])).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, BATCHES));
        broker.stop().await;
    });
}

#[test]
fn a_damaged_batch_is_mended_from_another_replica() {
    run(async {
        let scrub = ("OTTLA_LOG_SCRUB_INTERVAL_MS", "100");
        let settings = [scrub, ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3")];
        let mut cluster = Cluster::start_with(3, &settings).await;
        let topic = Topic::create(cluster.broker(1), "t", 1, &[]).await;
        let leader = cluster.leader("t", 0).await;
        let mut client = cluster.client(leader).await;
        fill(&mut client, &topic).await;
        for node in 1..=3 {
            let file = log_file(cluster.broker(node).dir.path());
            // A follower has it when it is told what was committed.
            eventually(async || positions(&file).len() == BATCHES as usize).await;
            let written = std::fs::read(&file).unwrap();
            let position = positions(&file)[5 + node];
            flip(&file, position);
            assert_ne!(std::fs::read(&file).unwrap(), written);
            if node == leader {
                // Never served, whoever is quicker.
                let (offsets, code) = served(&mut client, &topic, 0).await;
                assert!(code == 0 || code == STORAGE_ERROR && offsets.len() == 5 + node);
            }
            eventually(async || std::fs::read(&file).unwrap() == written).await;
        }
        eventually(async || served(&mut client, &topic, 0).await.1 == 0).await;
        assert_eq!(served(&mut client, &topic, 0).await.0, (0..BATCHES).collect::<Vec<_>>());
        cluster.stop().await;
    });
}

fn log_command(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.arg("log").args(words).env_clear().env("KAFKA_LOG_DIRS", dir.join("data"));
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn what_cannot_be_mended_is_dropped_when_that_is_asked_for() {
    run(async {
        let broker = Broker::start().await;
        let topic = Topic::create(&broker, "t", 1, &[]).await;
        let mut client = broker.client().await;
        fill(&mut client, &topic).await;
        let dir = broker.stop().await;
        assert_eq!(log_command(dir.path(), &["check"]), (Some(0), sound(1, 0)));
        let file = log_file(dir.path());
        flip(&file, positions(&file)[7]);
        let batch = "t-0: the batch of offsets 7 to 7 (";
        let (code, said) = log_command(dir.path(), &["check"]);
        assert!(
            code == Some(1) && said.starts_with(batch) && said.ends_with(&sound(1, 1)),
            "{said}"
        );
        let (code, said) = log_command(dir.path(), &["repair"]);
        assert!(code == Some(1) && said.contains(": would be dropped\n"), "{said}");
        let (code, said) = log_command(dir.path(), &["repair", "--yes"]);
        assert!(code == Some(0) && said.contains(": dropped\n"), "{said}");
        assert_eq!(log_command(dir.path(), &["check"]), (Some(0), sound(1, 0)));

        let broker = Broker::start_in(dir, &[]).await;
        let mut client = broker.client().await;
        eventually(async || served(&mut client, &topic, 0).await.1 != NOT_LEADER).await;
        let left = (0..BATCHES).filter(|offset| *offset != 7).collect();
        assert_eq!(served(&mut client, &topic, 0).await, (left, 0));
        let answer = client.produce(&topic, batch::of(&[b"more"])).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, BATCHES));
        broker.stop().await;
    });
}

fn sound(partitions: usize, damaged: usize) -> String {
    format!("{partitions} partitions, {damaged} damaged\n")
}
