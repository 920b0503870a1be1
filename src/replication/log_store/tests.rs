//! openraft's own storage suite, over the partition's log and over the metadata store.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::*;
use crate::base::clock::ManualClock;
use crate::base::disk::{Disk, RealDisk};
use crate::base::kv::KeyValue;
use crate::base::kv::journal::JournalKv;
use crate::base::worker::Threads;
use crate::log::batch::tests::{Sample, batch};
use crate::log::entry::EntryMeta;
use crate::log::flusher;
use crate::log::health::Health;
use crate::log::partition_log::tests::config;
use crate::log::partition_log::{DamageBell, LogSetup};
use crate::log::segment::{file_name, record_position};
use crate::metadata::publisher::Publisher;
use crate::metrics::flush::FlushMetrics;
use crate::replication::member::AppliedTerm;
use crate::replication::metadata_store::{MetadataLogStore, MetadataStateMachine};
use crate::replication::state_machine::PartitionStateMachine;
use crate::replication::types::MetadataTypes;

struct PartitionBuilder;

fn store(dir: &TempDir) -> (Arc<dyn KeyValue>, KvWriter) {
    let kv: Arc<dyn KeyValue> =
        Arc::new(JournalKv::open(&RealDisk, &dir.path().join("kv")).expect("a store"));
    let writer = KvWriter::start(Threads::Os, Arc::clone(&kv)).expect("a thread");
    (kv, writer)
}

fn open_log(dir: &TempDir, kv: Arc<dyn KeyValue>) -> Arc<PartitionLog> {
    let health = Health::new(dir.path());
    let writer = flusher::start(Threads::Os, FlushMetrics::default(), health).expect("a thread");
    PartitionLog::open(LogSetup {
        dir: dir.path().join("t-0"),
        name: "t-0".to_owned(),
        key: b"P".to_vec(),
        disk: Arc::new(RealDisk),
        clock: Arc::new(ManualClock::new(1)),
        kv,
        writer,
        config: config(1 << 20, false),
        clean: false,
        damage_bell: DamageBell::default(),
        salvage: false,
    })
    .expect("a log")
}

impl StoreBuilder<PartitionTypes, PartitionLogStore, PartitionStateMachine, TempDir>
    for PartitionBuilder
{
    async fn build(
        &self,
    ) -> Result<(TempDir, PartitionLogStore, PartitionStateMachine), StorageError<PartitionTypes>>
    {
        let dir = tempfile::tempdir().expect("a folder");
        let (kv, writer) = store(&dir);
        let log = open_log(&dir, kv);
        let machine =
            PartitionStateMachine::open(Arc::clone(&log), writer.clone(), AppliedTerm::default());
        let store =
            PartitionLogStore { begins_anywhere: true, ..PartitionLogStore::new(log, writer) };
        Ok((dir, store, machine.expect("a state machine")))
    }
}

type PartitionSuite =
    Suite<PartitionTypes, PartitionLogStore, PartitionStateMachine, PartitionBuilder, TempDir>;

/// All of the suite but `snapshot_meta` and `transfer_snapshot`, which want a snapshot at the last
/// applied entry: a partition's lies at the log start on purpose.
#[test]
fn the_partition_log_passes_openrafts_suite() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        macro_rules! run {
            ($($test:ident)+) => {$(
                let (_dir, store, machine) = PartitionBuilder.build().await.expect("built");
                PartitionSuite::$test(store, machine).await.expect(stringify!($test));
            )+};
        }
        run! {
            last_membership_in_log_initial
            last_membership_in_log
            last_membership_in_log_multi_step
            get_membership_initial
            get_membership_from_log_and_empty_sm
            get_membership_from_empty_log_and_sm
            get_membership_from_log_le_sm_last_applied
            get_membership_from_log_gt_sm_last_applied_1
            get_membership_from_log_gt_sm_last_applied_2
            get_initial_state_without_init
            get_initial_state_membership_from_empty_log_and_sm
            get_initial_state_membership_from_sm_inlog_is_smaller
            get_initial_state_membership_from_log_insm_is_smaller
            get_initial_state_with_state
            get_initial_state_last_log_gt_sm
            get_initial_state_last_log_lt_sm
            get_initial_state_inverted_log_order
            get_initial_state_conflict_at_same_index
            get_initial_state_log_ids
            get_initial_state_re_apply_committed
            save_vote
            get_log_entries
            limited_get_log_entries
            leader_bounded_stream
            entries_stream
            try_get_log_entry
            log_reader_reads_new_entries
            initial_logs
            get_log_state
            get_log_id
            last_id_in_log
            last_applied_state
            purge_logs_upto_0
            purge_logs_upto_5
            purge_logs_upto_20
            delete_logs_after_11
            delete_logs_after_5
            delete_logs_after_0
            delete_logs_after_none
            append_to_log
            snapshot_meta_optional
            apply_single
            apply_multiple
        }
    });
}

/// Entries 0 to 3, the third of which takes no offsets.
fn four_entries() -> Vec<LogEntry> {
    let batch = || EntryBody::Batch(batch(1, Sample::default()));
    let bodies = [EntryBody::Blank, batch(), EntryBody::VOID, batch()];
    let entry = |(body, index)| LogEntry { id: EntryId { term: 1, index }, body, ticket: None };
    bodies.into_iter().zip(0..).map(entry).collect()
}

#[tokio::test]
async fn an_entry_of_which_nothing_is_known_is_waited_for_where_it_matters() {
    let dir = tempfile::tempdir().expect("a folder");
    let (kv, writer) = store(&dir);
    let log = open_log(&dir, Arc::clone(&kv));
    let (done, written) = completion();
    log.append(four_entries(), done).expect("appended");
    written.await.expect("written");
    let (done, closed) = completion();
    log.close(done);
    closed.await.expect("closed");
    let path = dir.path().join("t-0").join(file_name(0, "raft"));
    let mut raft = RealDisk.read(&path).expect("read");
    raft[usize::try_from(record_position(2)).expect("small") + 9] ^= 1;
    RealDisk.write(&path, &raft).expect("written");

    let log = open_log(&dir, kv);
    let mut store = PartitionLogStore::new(Arc::clone(&log), writer);
    // At the start only memberships are looked for.
    let all = store.try_get_log_entries(0..4).await.expect("read");
    assert_eq!(all.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(matches!(&all[2].payload, EntryPayload::Normal(Command::Stub(_))));
    // What is applied must be known.
    assert_eq!(log.damage(), [2].into());
    let unknown = log.stubs(2, 3).expect("read")[0].meta;
    assert_eq!(unknown.kind, EntryKind::Unknown);
    let applied = async { store.entries_stream(0..4).await.try_collect::<Vec<Entry>>().await };
    let mended = async {
        let (done, mended) = completion();
        log.mend_record(2, EntryMeta { kind: EntryKind::Void, ..unknown }, done);
        mended.await
    };
    let (applied, mended) = tokio::join!(applied, mended);
    mended.expect("mended");
    let applied = applied.expect("all are known");
    let EntryPayload::Normal(Command::Stub(stub)) = &applied[2].payload else { panic!("a stub") };
    assert_eq!(stub.meta.kind, EntryKind::Void);
}

/// openraft takes a snapshot for installed before it is.
#[tokio::test]
async fn entries_behind_a_snapshot_wait_for_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (kv, _writer) = store(&dir);
    let log = open_log(&dir, kv);
    let mut waits = Box::pin(log.comes_to(701));
    assert!(futures_util::poll!(&mut waits).is_pending());
    let (done, begun) = completion();
    log.begin_behind(EntryId { term: 3, index: 700 }, 500, done);
    begun.await.expect("begun");
    waits.await.expect("it is there");
    assert_eq!(log.offsets().log_end, 500);
    // Nothing comes any more when the log is closed.
    let mut waits = Box::pin(log.comes_to(900));
    assert!(futures_util::poll!(&mut waits).is_pending());
    let (done, closed) = completion();
    log.close(done);
    closed.await.expect("closed");
    assert!(waits.await.is_err());
}

#[tokio::test]
async fn memberships_of_removed_entries_are_forgotten() {
    let dir = tempfile::tempdir().expect("a folder");
    let (kv, writer) = store(&dir);
    let log = open_log(&dir, kv);
    let mut store = PartitionLogStore::new(Arc::clone(&log), writer.clone());
    let (done, written) = completion();
    log.append(four_entries(), done).expect("appended");
    written.await.expect("written");
    let memberships = (1..4).map(|index| log.put_membership(index, &Bytes::from_static(b"m")));
    writer.write(memberships.collect()).await.expect("written");
    let last = codec::log_id(EntryId { term: 1, index: 1 });
    store.truncate_after(Some(last)).await.expect("truncated");
    let known = [1, 2, 3].map(|index| log.membership(index).is_ok());
    assert_eq!(known, [true, false, false]);
}

struct MetadataBuilder;

impl StoreBuilder<MetadataTypes, MetadataLogStore, MetadataStateMachine, TempDir>
    for MetadataBuilder
{
    async fn build(
        &self,
    ) -> Result<(TempDir, MetadataLogStore, MetadataStateMachine), StorageError<MetadataTypes>>
    {
        let dir = tempfile::tempdir().expect("a folder");
        let (kv, writer) = store(&dir);
        let store = MetadataLogStore { kv, writer };
        let machine = MetadataStateMachine::new(
            store.clone(),
            Arc::new(Publisher::default()),
            AppliedTerm::default(),
        );
        Ok((dir, store, machine))
    }
}

#[test]
fn the_metadata_store_passes_openrafts_suite() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        Suite::test_all(MetadataBuilder).await.expect("the suite passes");
    });
}
