//! One wrong bit anywhere in the data of a node that was stopped: whatever file it is in, no client
//! ever gets anything else than what was written, and nothing around it is lost.
//!
//! `FLIPS=1000 SEED=7` tries more places and others.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{DescribeConfigsRequest, MetadataRequest};
use ottla::base::rng::Rng;
use tempfile::TempDir;

use crate::harness::cluster::free_ports;
use crate::harness::process::{Process, address_in};
use crate::harness::records::{FETCH, Topic, fetch_from, produce};
use crate::harness::{Broker, Client, batch, eventually, run, text};

/// Small segments, so that there are several files of each kind.
const SMALL: (&str, &str) = ("internal.segment.bytes", "2000");
/// Kept in the metadata.
const RETENTION: (&str, &str) = ("retention.ms", "123456789");
/// The records are of 1970.
const FOR_EVER: (&str, &str) = ("retention.ms", "-1");
const COMPACT: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("internal.segment.bytes", "1000"),
    ("min.cleanable.dirty.ratio", "0.001"),
];
/// What is on disk changes by what clients do only.
const STILL: [(&str, &str); 2] =
    [("KAFKA_LOG_CLEANER_ENABLE", "false"), ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "3")];
const OFTEN: (&str, &str) = ("KAFKA_LOG_CLEANER_BACKOFF_MS", "10");
const BATCHES: i64 = 40;
const PRODUCER: i64 = 7_000;
const GROUP: &str = "g";
const COMMITTED: i64 = 17;
const DEFAULT_FLIPS: u64 = 40;
/// How long a group may take to be served before it counts as refused.
const PATIENCE: Duration = Duration::from_secs(5);

const NOT_LEADER: i16 = 6;
const COORDINATOR_LOADING: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const STORAGE_ERROR: i16 = 56;

/// What a node has, and what clients saw of it.
struct Original {
    dir: Arc<TempDir>,
    topics: Vec<Topic>,
    /// By topic and partition: the base offset and the bytes of each batch.
    batches: BTreeMap<(&'static str, i32), Vec<(i64, Bytes)>>,
    /// All files, with their lengths in bits.
    files: Vec<(PathBuf, u64)>,
}

/// How it went with a flipped bit.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The node did not start, or ended, and said why.
    refused: bool,
    /// Batches that were refused.
    damaged: usize,
    /// Partitions, or the group, that were refused as a whole.
    offline: usize,
}

impl Outcome {
    fn is_whole(&self) -> bool {
        *self == Self::default()
    }
}

impl Original {
    /// Two partitions with the batches of a producer, a compacted topic, a group and a config.
    async fn make() -> Self {
        let broker = Broker::with_groups(&[OFTEN]).await;
        let plain = Topic::create(&broker, "plain", 2, &[SMALL, RETENTION]).await;
        let compact = Topic::create(&broker, "compact", 1, &COMPACT).await;
        let mut client = broker.client().await;
        for number in 0..BATCHES {
            let value = format!("{number} {}", "x".repeat(150));
            let sequence = i32::try_from(number).unwrap();
            let producer = (PRODUCER, 0, sequence);
            let records = batch::with(&[value.as_bytes()], producer, 1_000 + number);
            let both = plain.produce(&[(0, records.clone()), (1, records)]);
            let answer = client.call(13, &produce(vec![both])).await;
            let codes = answer.responses[0].partition_responses.iter().map(|one| one.error_code);
            assert!(codes.into_iter().all(|code| code == 0));
            let key = format!("key {}", number % 4);
            let pair = [(Some(key.as_bytes()), Some(value.as_bytes()))];
            let records = batch::of_records(&pair, batch::NO_PRODUCER, 1_000 + number);
            assert_eq!(client.produce(&compact, records).await.error_code, 0);
            assert_eq!(client.commit(9, GROUP, &plain, &[(0, COMMITTED)]).await, [0]);
        }
        eventually(async || all(&mut client, &compact, 0).await.len() < 12).await;
        let broker = Broker::start_in(broker.stop().await, &STILL).await;
        let mut client = broker.client().await;
        client.coordinator().await;
        let mut batches = BTreeMap::new();
        let offsets = "__consumer_offsets";
        let offsets = Topic { name: offsets, id: client.topic(offsets).await.topic_id };
        let partitions = (0..3).map(|partition| (&offsets, partition));
        for (topic, partition) in
            [(&plain, 0), (&plain, 1), (&compact, 0)].into_iter().chain(partitions)
        {
            let found = all(&mut client, topic, partition).await;
            batches.insert((topic.name, partition), found);
        }
        assert_eq!(batches[&("plain", 1)].len() as i64, BATCHES);
        let dir = broker.stop().await;
        let mut files = Vec::new();
        collect(&dir.path().join("data"), &mut files);
        files.sort();
        Self { dir, topics: vec![plain, compact, offsets], batches, files }
    }

    fn topic(&self, name: &str) -> &Topic {
        self.topics.iter().find(|topic| topic.name == name).unwrap()
    }

    /// A copy of all files.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for (path, _) in &self.files {
            let to = copy.path().join(path.strip_prefix(self.dir.path()).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(path, to).unwrap();
        }
        copy
    }
}

/// The files under a folder, with their lengths in bits.
fn collect(dir: &Path, files: &mut Vec<(PathBuf, u64)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let found = std::fs::metadata(&path).unwrap();
        match found.is_dir() {
            true => collect(&path, files),
            false => files.push((path, found.len() * 8)),
        }
    }
}

/// All batches of a partition that is whole.
async fn all(client: &mut Client, topic: &Topic, partition: i32) -> Vec<(i64, Bytes)> {
    let (mut next, mut found) = (0, Vec::new());
    loop {
        let data = client.fetch_as(FETCH, topic, fetch_from(partition, next)).await;
        if data.error_code == NOT_LEADER {
            continue;
        }
        assert_eq!(data.error_code, 0);
        if next >= data.high_watermark {
            return found;
        }
        found.extend(batch::parts(data.records));
        let (offset, bytes) = found.last().unwrap();
        // The last offset delta stands behind magic, checksum and attributes.
        next = offset + i64::from(i32::from_be_bytes(bytes[7..11].try_into().unwrap())) + 1;
    }
}

/// Reads a partition; whatever is served must be what was written, without a gap.
async fn judge(
    client: &mut Client,
    topic: &Topic,
    partition: i32,
    written: &[(i64, Bytes)],
    outcome: &mut Outcome,
) {
    let (mut at, mut damaged) = (0, 0);
    while at < written.len() {
        let data = client.fetch_as(FETCH, topic, fetch_from(partition, written[at].0)).await;
        match data.error_code {
            0 => {
                let parts = batch::parts(data.records);
                assert!(!parts.is_empty(), "{} is lost", written[at].0);
                assert_eq!(parts, written[at..at + parts.len()]);
                at += parts.len();
            }
            STORAGE_ERROR => {
                damaged += 1;
                at += 1;
            }
            // Its leadership is not taken yet.
            NOT_LEADER => {}
            code => panic!("{code} at {}", written[at].0),
        }
    }
    match damaged > 0 && damaged == written.len() {
        true => outcome.offline += 1,
        false => outcome.damaged += damaged,
    }
}

/// The group's offset: what was committed, or an error that stays.
async fn judge_group(client: &mut Client, topic: &Topic, outcome: &mut Outcome) {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let found = client.fetch_offsets(9, GROUP, Some((topic, &[0]))).await;
        match found.error_code {
            0 => {
                assert_eq!(found.topics[0].partitions[0].committed_offset, COMMITTED);
                return;
            }
            COORDINATOR_LOADING | COORDINATOR_NOT_AVAILABLE | NOT_COORDINATOR => {}
            code => panic!("{code}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    outcome.offline += 1;
}

async fn judge_config(client: &mut Client, topic: &Topic) {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic.name))
        .with_configuration_keys(Some(vec![text(RETENTION.0)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(4, &request).await;
    assert_eq!(answer.results[0].configs[0].value.as_deref(), Some(RETENTION.1));
    assert_eq!(client.topic(topic.name).await.topic_id, topic.id);
}

/// Starts a node on what is in the folder and looks at all that it serves.
fn try_out(original: &Original, dir: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let log = dir.join("stderr");
    let stderr = Stdio::from(File::create(&log).unwrap());
    let mut process = Process::spawn(dir, &STILL, stderr);
    let line = process.ready();
    if line.is_empty() {
        has_refused(&mut process, &log);
        outcome.refused = true;
        return outcome;
    }
    run(async {
        let mut client = Client::connect(address_in(&line)).await;
        for ((name, partition), written) in &original.batches {
            judge(&mut client, original.topic(name), *partition, written, &mut outcome).await;
        }
        judge_group(&mut client, original.topic("plain"), &mut outcome).await;
        judge_config(&mut client, original.topic("plain")).await;
    });
    process.terminate();
    assert_eq!(process.exit_code(), Some(0));
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    outcome
}

/// It has ended by itself, and said why.
fn has_refused(process: &mut Process, log: &Path) {
    assert_ne!(process.exit_code(), Some(0));
    let said = std::fs::read_to_string(log).unwrap();
    assert!(!said.contains("panicked") && said.contains("ottla: "), "{said}");
}

/// What kind of file it is: its extension, or its name.
fn kind(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    let of_store = path.components().any(|part| part.as_os_str() == ".ottla");
    let stem = name.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    let stem = stem.split('-').next().unwrap();
    if of_store { format!("store {stem}") } else { stem.to_owned() }
}

/// Flips one bit of a file.
fn flip(file: &Path, bit: u64) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
    std::fs::write(file, &bytes).unwrap();
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn no_flipped_bit_is_ever_served() {
    let mut made = None;
    run(async { made = Some(Original::make().await) });
    let original = made.unwrap();
    assert!(try_out(&original, original.copy().path()).is_whole());
    let mut kinds: BTreeMap<String, Vec<&(PathBuf, u64)>> = BTreeMap::new();
    for file in original.files.iter().filter(|(_, bits)| *bits > 0) {
        kinds.entry(kind(&file.0)).or_default().push(file);
    }
    let (flips, seed) = (number("FLIPS", DEFAULT_FLIPS), number("SEED", 1));
    let rng = Rng::seeded(seed);
    let mut told: BTreeMap<&str, [u64; 5]> = BTreeMap::new();
    for flip in 0..flips {
        // Each kind as often as the others, whatever its size.
        let at = flip % kinds.len() as u64;
        let (kind, files) = kinds.iter().nth(usize::try_from(at).unwrap()).unwrap();
        let (path, bits) = files[usize::try_from(rng.below(files.len() as u64)).unwrap()];
        let bit = rng.below(*bits);
        println!("SEED={seed} flip {flip}: bit {bit} of {}", path.display());
        let copy = original.copy();
        let target = copy.path().join(path.strip_prefix(original.dir.path()).unwrap());
        self::flip(&target, bit);
        let outcome = try_out(&original, copy.path());
        let row = told.entry(kind).or_default();
        row[0] += 1;
        row[1] += u64::from(outcome.refused);
        row[2] += outcome.damaged as u64;
        row[3] += outcome.offline as u64;
        row[4] += u64::from(outcome.is_whole());
        assert!(kind != ".log" || !outcome.is_whole(), "a damaged batch was not noticed");
    }
    println!("kind: flips, nodes that did not start, batches refused, whole logs refused, no harm");
    for (kind, row) in told {
        println!("{kind}: {row:?}");
    }
}

/// Three processes that form a cluster.
struct Nodes {
    dirs: Vec<TempDir>,
    settings: Vec<Vec<(String, String)>>,
    processes: Vec<Process>,
}

/// The one that is stopped.
const NODE: usize = 2;

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 0..self.dirs.len() {
                println!("node {}:", node + 1);
                println!("{}", std::fs::read_to_string(self.log(node)).unwrap_or_default());
            }
        }
    }
}

impl Nodes {
    fn start() -> (Self, Vec<String>) {
        let ports = free_ports(3);
        let voters: Vec<String> =
            ports.iter().zip(1..).map(|(port, id)| format!("{id}@127.0.0.1:{port}")).collect();
        let own = |(port, id): (&u16, usize)| {
            let listeners = format!("PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{port}");
            let all = [
                ("KAFKA_LISTENERS", listeners),
                ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER".to_owned()),
                ("KAFKA_NODE_ID", id.to_string()),
                ("KAFKA_CONTROLLER_QUORUM_VOTERS", voters.join(",")),
                ("KAFKA_DEFAULT_REPLICATION_FACTOR", "3".to_owned()),
                ("KAFKA_MIN_INSYNC_REPLICAS", "2".to_owned()),
                ("OTTLA_LOG_SCRUB_INTERVAL_MS", "50".to_owned()),
                ("OTTLA_LOG_LEVEL", "info,ottla::partition::mender=debug".to_owned()),
            ];
            all.map(|(key, value)| (key.to_owned(), value)).to_vec()
        };
        let settings: Vec<_> = ports.iter().zip(1..).map(own).collect();
        let dirs: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut nodes = Self { dirs, settings, processes: Vec::new() };
        nodes.processes = (0..3).map(|node| nodes.spawn(node)).collect();
        let lines = nodes.processes.iter_mut().map(Process::ready).collect();
        (nodes, lines)
    }

    fn log(&self, node: usize) -> PathBuf {
        self.dirs[node].path().join("stderr")
    }

    fn spawn(&self, node: usize) -> Process {
        let own = self.settings[node].iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let own: Vec<(&str, &str)> = own.collect();
        let stderr = Stdio::from(File::create(self.log(node)).unwrap());
        Process::spawn(self.dirs[node].path(), &own, stderr)
    }

    fn stop(&mut self) {
        self.processes[NODE].terminate();
        assert_eq!(self.processes[NODE].exit_code(), Some(0));
    }

    /// Starts it again; false if it refuses what it finds.
    fn restart(&mut self) -> bool {
        self.processes[NODE] = self.spawn(NODE);
        if self.processes[NODE].ready().is_empty() {
            let log = self.log(NODE);
            has_refused(&mut self.processes[NODE], &log);
            return false;
        }
        true
    }
}

/// A connection to the leader of partition 0.
async fn leader_of(client: &mut Client, topic: &Topic) -> Client {
    let all = MetadataRequest::default().with_topics(None);
    let mut address = String::new();
    eventually(async || {
        let told = client.call(12, &all).await;
        let found = told.topics.iter().find(|found| found.topic_id == topic.id);
        let leader = found.and_then(|found| found.partitions.first()).map(|one| one.leader_id);
        let broker = told.brokers.iter().find(|broker| Some(broker.node_id) == leader);
        address = broker.map(|at| format!("{}:{}", at.host, at.port)).unwrap_or_default();
        !address.is_empty()
    })
    .await;
    Client::connect(address.parse().unwrap()).await
}

/// What of a file is always the same and matters: not how much of a segment is known to be on disk,
/// and not the four bytes before that, which nobody reads.
fn lasting(file: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(file).unwrap_or_default();
    if file.extension().is_some_and(|extension| extension == "raft") {
        bytes.drain(28..64.min(bytes.len()).max(28));
    }
    bytes
}

#[test]
fn a_flipped_bit_is_mended_in_a_cluster() {
    let (mut nodes, lines) = Nodes::start();
    let address = address_in(&lines[0]);
    let mut topic = Topic { name: "plain", id: uuid::Uuid::nil() };
    run(async {
        let mut client = Client::connect(address).await;
        topic.id = client.create_topic(topic.name, 1, &[SMALL, FOR_EVER]).await;
        let mut leader = leader_of(&mut client, &topic).await;
        for number in 0..BATCHES {
            let value = format!("{number} {}", "x".repeat(150));
            let answer = leader.produce(&topic, batch::of(&[value.as_bytes()])).await;
            assert_eq!(answer.error_code, 0);
        }
    });
    let folder = nodes.dirs[NODE].path().join("data/plain-0");
    let (flips, seed) = (number("FLIPS", DEFAULT_FLIPS) / 4, number("SEED", 1));
    let rng = Rng::seeded(seed);
    for flip in 0..flips {
        nodes.stop();
        let mut files = Vec::new();
        collect(&folder, &mut files);
        files.sort();
        files.retain(|(path, bits)| {
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            *bits > 0 && ["log", "raft", "index", "timeindex"].contains(&&*extension)
        });
        // What the last segment begins with may be told by nothing beside it: `ottla log repair`.
        let last = files.last().and_then(|(path, _)| path.file_stem()).unwrap().to_owned();
        files.retain(|(path, _)| path.file_stem() != Some(&last));
        let (path, bits) = &files[usize::try_from(rng.below(files.len() as u64)).unwrap()];
        let bit = rng.below(*bits);
        println!("SEED={seed} flip {flip}: bit {bit} of {}", path.display());
        let before = lasting(path);
        self::flip(path, bit);
        assert!(nodes.restart(), "other replicas have what is damaged");
        run(async { eventually(async || lasting(path) == before).await });
    }
}
