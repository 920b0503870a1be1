//! Messages of both kinds of groups, as they were, cut short, and made up.

use proptest::prelude::*;

use super::*;
use crate::log::batch::tests::{Sample, batch};

const GROUP: Address =
    Address { id: TopicPartition { topic_id: TopicId([3; 16]), partition: 7 }, lineage: 5 };

fn joined(body: &[Bytes]) -> Bytes {
    body.concat().into()
}

/// The message behind the group that it is for.
fn for_group(body: &[Bytes]) -> Bytes {
    let mut message = joined(body);
    assert_eq!(get_group(&mut message).expect("a group"), GROUP);
    message
}

fn any_vote() -> impl Strategy<Value = LogVote> {
    any::<(u64, u64, bool)>().prop_map(|(term, voted_for, committed)| Vote {
        leader_id: LeaderId { term, voted_for },
        committed,
    })
}

fn any_id() -> impl Strategy<Value = Option<LogId>> {
    prop::option::of(any::<(u64, u64)>())
        .prop_map(|id| id.map(|(term, index)| LogId { leader_id: Term::from(term), index }))
}

fn any_membership() -> impl Strategy<Value = Membership> {
    let sets = prop::collection::vec(prop::collection::btree_set(0_u64..9, 1..5), 1..3);
    let learners = prop::collection::vec(0_u64..20, 0..4);
    (sets, learners).prop_map(|(sets, learners)| Membership::new_with_defaults(sets, learners))
}

/// On both sides of the size up to which pieces are copied together.
fn any_batch() -> impl Strategy<Value = Batch> {
    prop_oneof![1_usize..5, 100_usize..200].prop_map(|count| batch(count, Sample::default()))
}

type Entry<C> = <C as RaftTypeConfig>::Entry;

fn any_partition_entry() -> impl Strategy<Value = (u8, Option<Batch>, Membership, i64)> {
    (0_u8..5, prop::option::of(any_batch()), any_membership(), any::<i64>())
}

fn partition_entry(
    log_id: LogId,
    (kind, batch, membership, before): (u8, Option<Batch>, Membership, i64),
) -> Entry<PartitionTypes> {
    let payload = match (kind, batch) {
        (BLANK, _) => EntryPayload::Blank,
        (MEMBERSHIP, _) => EntryPayload::Membership(membership),
        (DATA, Some(batch)) => EntryPayload::Normal(Command::Append { batch, ticket: None }),
        (DELETE_RECORDS, _) => EntryPayload::Normal(Command::DeleteRecords { before }),
        _ => EntryPayload::Normal(Command::Compacted { end_offset: before }),
    };
    Entry::<PartitionTypes> { log_id, payload }
}

fn metadata_entry(
    log_id: LogId,
    (kind, membership, records): (u8, Membership, Vec<u8>),
) -> Entry<MetadataTypes> {
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        MEMBERSHIP => EntryPayload::Membership(membership),
        _ => EntryPayload::Normal(MetadataCommand(records.into())),
    };
    Entry::<MetadataTypes> { log_id, payload }
}

fn some_id(index: usize) -> LogId {
    LogId { leader_id: Term::from(5), index: index as u64 }
}

type Head = (LogVote, Option<LogId>, Option<LogId>);

/// Sends an append and compares what arrives: by its fields, and by what it would be sent on as.
fn check_append<C: GroupTypes>(head: Head, entries: Vec<C::Entry>) {
    let (vote, prev_log_id, leader_commit) = head;
    let request = AppendEntriesRequest::<C> { vote, prev_log_id, entries, leader_commit };
    let pieces = put_append(GROUP, &request);
    let size = pieces.size();
    let body = pieces.finish();
    assert_eq!(size, joined(&body).len());
    let message = for_group(&body);
    let found = get_append::<C>(message.clone()).expect("an append");
    assert_eq!((found.vote, found.prev_log_id, found.leader_commit), head);
    let ids = |entries: &[C::Entry]| entries.iter().map(C::entry_id).collect::<Vec<_>>();
    assert_eq!(ids(&found.entries), ids(&request.entries));
    assert_eq!(joined(&put_append(GROUP, &found).finish()), joined(&body));
    // What is cut off is noticed.
    for size in [0, message.len() / 2, message.len() - 1] {
        assert!(get_append::<C>(message.slice(..size)).is_err(), "{size}");
    }
}

proptest! {
    #[test]
    fn appends_of_partitions_round_trip(
        head in (any_vote(), any_id(), any_id()),
        entries in prop::collection::vec(any_partition_entry(), 0..6),
    ) {
        let entries = entries.into_iter().enumerate();
        let entries = entries.map(|(index, entry)| partition_entry(some_id(index), entry));
        check_append::<PartitionTypes>(head, entries.collect());
    }

    #[test]
    fn appends_of_metadata_round_trip(
        head in (any_vote(), any_id(), any_id()),
        entries in prop::collection::vec(
            (0_u8..3, any_membership(), prop::collection::vec(any::<u8>(), 0..1500)), 0..6),
    ) {
        let entries = entries.into_iter().enumerate();
        let entries = entries.map(|(index, entry)| metadata_entry(some_id(index), entry));
        check_append::<MetadataTypes>(head, entries.collect());
    }

    #[test]
    fn votes_and_transfers_round_trip(
        vote in any_vote(), id in any_id(), flag: bool, to: u64,
    ) {
        let mut request = VoteRequest::<PartitionTypes>::new(vote, id);
        request.leadership_transfer = flag;
        let message = for_group(&put_vote_request(GROUP, &request));
        let found = get_vote_request::<PartitionTypes>(message).expect("a request");
        prop_assert_eq!(
            (found.vote, found.last_log_id, found.leadership_transfer),
            (vote, id, flag)
        );
        let response = VoteResponse::<PartitionTypes>::new(vote, id, flag);
        let message = joined(&put_vote_response(&response));
        let found = get_vote_response::<PartitionTypes>(message).expect("a response");
        prop_assert_eq!((found.vote, found.last_log_id, found.vote_granted), (vote, id, flag));
        let request = TransferLeaderRequest::<PartitionTypes>::new(vote, to, id);
        let message = for_group(&put_transfer(GROUP, &request));
        let found = get_transfer::<PartitionTypes>(message).expect("a transfer");
        prop_assert_eq!(
            (*found.from_leader(), *found.to_node_id(), found.last_log_id().copied()),
            (vote, to, id)
        );
        prop_assert_eq!(get_vote_alone(joined(&put_vote_alone(&vote))).expect("a vote"), vote);
    }

    #[test]
    fn answers_to_appends_round_trip(vote in any_vote(), id in any_id()) {
        for answer in [
            AppendEntriesResponse::<PartitionTypes>::Success,
            AppendEntriesResponse::PartialSuccess(id),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(vote),
        ] {
            let message = joined(&put_append_response(&answer));
            let found = get_append_response::<PartitionTypes>(message).expect("an answer");
            prop_assert_eq!(format!("{found:?}"), format!("{answer:?}"));
        }
    }

    #[test]
    fn snapshots_round_trip(
        vote in any_vote(), ids in (any_id(), any_id()), membership in any_membership(),
        data in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let last_membership =
            crate::replication::types::StoredMembership::new(ids.1, membership);
        let meta = SnapshotMeta { last_log_id: ids.0, last_membership };
        let snapshot = Snapshot { meta: meta.clone(), snapshot: data.clone().into() };
        let message = for_group(&put_snapshot(GROUP, &vote, &snapshot));
        let (found_vote, found) = get_snapshot(message).expect("a snapshot");
        prop_assert_eq!((found_vote, found.meta), (vote, meta));
        prop_assert_eq!(&found.snapshot[..], &data[..]);
    }

    #[test]
    fn garbage_never_panics(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(garbage);
        let _ = get_group(&mut body.clone());
        let _ = get_append::<PartitionTypes>(body.clone());
        let _ = get_append::<MetadataTypes>(body.clone());
        let _ = get_append_response::<PartitionTypes>(body.clone());
        let _ = get_vote_request::<PartitionTypes>(body.clone());
        let _ = get_vote_response::<PartitionTypes>(body.clone());
        let _ = get_transfer::<PartitionTypes>(body.clone());
        let _ = get_snapshot(body.clone());
        let _ = get_vote_alone(body);
    }

    /// Garbage behind a good head gets further.
    #[test]
    fn entries_of_garbage_never_panic(
        count: u32, kind in 0_u8..6, size: u32,
        garbage in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut message = head_of_append();
        message.put_u32(count);
        message.put_u64(1);
        message.put_u64(1);
        message.put_u8(kind);
        message.put_u32(size % 300);
        message.put_slice(&garbage);
        let message = message.freeze();
        for entries in [
            get_append::<PartitionTypes>(message.clone()).map(|found| found.entries.len()),
            get_append::<MetadataTypes>(message.clone()).map(|found| found.entries.len()),
        ].into_iter().flatten() {
            // Each entry takes at least 21 bytes: a count alone makes nothing.
            prop_assert!(entries * 21 <= message.len());
        }
    }
}

/// An append up to the count of its entries.
fn head_of_append() -> BytesMut {
    let request = AppendEntriesRequest::<PartitionTypes> {
        vote: Vote { leader_id: LeaderId { term: 1, voted_for: 1 }, committed: true },
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    let head = for_group(&put_append(GROUP, &request).finish());
    BytesMut::from(&head[..head.len() - 4])
}

#[test]
fn a_count_without_entries_is_refused() {
    let mut message = head_of_append();
    message.put_u32(u32::MAX);
    assert!(get_append::<PartitionTypes>(message.freeze()).is_err());
}

#[test]
fn a_large_batch_stays_a_piece_of_its_own() {
    let large = batch(200, Sample::default());
    let records = large.records().clone();
    let entry = partition_entry(
        some_id(1),
        (DATA, Some(large), Membership::new_with_defaults(vec![], []), 0),
    );
    let request = AppendEntriesRequest::<PartitionTypes> {
        vote: Vote { leader_id: LeaderId { term: 1, voted_for: 1 }, committed: true },
        prev_log_id: None,
        entries: vec![entry],
        leader_commit: None,
    };
    let body = put_append(GROUP, &request).finish();
    assert!(records.len() >= PIECE_BYTES_MIN);
    assert!(body.iter().any(|piece| piece.as_ptr() == records.as_ptr()));
}
