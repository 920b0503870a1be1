//! Raft's own small values as bytes: big-endian, fixed fields, counts before lists.

use std::collections::BTreeSet;
use std::io;

use bytes::{Buf, BufMut, Bytes};
use openraft::impls::leader_id_std::LeaderId;

use crate::log::entry::EntryId;
use crate::replication::types::{LogId, Membership, StoredMembership, Vote};

/// More members than any group has.
const MEMBERS_COUNT_MAX: u32 = 1024;

pub(crate) fn log_id(id: EntryId) -> LogId {
    LogId { leader_id: id.term.into(), index: id.index }
}

pub(crate) fn entry_id(id: &LogId) -> EntryId {
    EntryId { term: *id.leader_id, index: id.index }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "damaged Raft value")
}

pub(crate) fn encode_vote(vote: &Vote) -> Vec<u8> {
    let mut out = Vec::with_capacity(17);
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
    out
}

pub(crate) fn decode_vote(mut bytes: &[u8]) -> io::Result<Vote> {
    if bytes.len() != 17 {
        return Err(damaged());
    }
    let leader_id = LeaderId { term: bytes.get_u64(), voted_for: bytes.get_u64() };
    Ok(Vote { leader_id, committed: bytes.get_u8() == 1 })
}

pub(crate) fn put_log_id(out: &mut Vec<u8>, id: Option<&LogId>) {
    out.put_u8(u8::from(id.is_some()));
    out.put_u64(id.map_or(0, |id| *id.leader_id));
    out.put_u64(id.map_or(0, |id| id.index));
}

pub(crate) fn get_log_id(bytes: &mut &[u8]) -> io::Result<Option<LogId>> {
    if bytes.len() < 17 {
        return Err(damaged());
    }
    let present = bytes.get_u8() == 1;
    let id = LogId { leader_id: bytes.get_u64().into(), index: bytes.get_u64() };
    Ok(present.then_some(id))
}

pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    let mut out = Vec::new();
    let sets = membership.get_joint_config();
    put_count(&mut out, sets.len());
    for set in sets {
        put_count(&mut out, set.len());
        set.iter().for_each(|node| out.put_u64(*node));
    }
    let nodes: Vec<u64> = membership.nodes().map(|(node, _)| *node).collect();
    put_count(&mut out, nodes.len());
    nodes.iter().for_each(|node| out.put_u64(*node));
    out.into()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

fn get_count(bytes: &mut &[u8]) -> io::Result<u32> {
    let count = bytes.try_get_u32().map_err(|_| damaged())?;
    if count > MEMBERS_COUNT_MAX { Err(damaged()) } else { Ok(count) }
}

fn get_nodes<C: FromIterator<u64>>(bytes: &mut &[u8]) -> io::Result<C> {
    let count = get_count(bytes)?;
    (0..count).map(|_| bytes.try_get_u64().map_err(|_| damaged())).collect()
}

pub(crate) fn decode_membership(bytes: &mut &[u8]) -> io::Result<Membership> {
    let sets = get_count(bytes)?;
    let sets = (0..sets).map(|_| get_nodes::<BTreeSet<u64>>(bytes)).collect::<io::Result<_>>()?;
    let nodes = get_nodes::<Vec<u64>>(bytes)?;
    Ok(Membership::new_with_defaults(sets, nodes))
}

pub(crate) fn put_stored_membership(out: &mut Vec<u8>, stored: &StoredMembership) {
    put_log_id(out, stored.log_id().as_ref());
    out.extend_from_slice(&encode_membership(stored.membership()));
}

pub(crate) fn get_stored_membership(bytes: &mut &[u8]) -> io::Result<StoredMembership> {
    let id = get_log_id(bytes)?;
    Ok(StoredMembership::new(id, decode_membership(bytes)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_round_trip(
            term: u64, node: u64, committed: bool, index in proptest::option::of(any::<u64>()),
            sets in proptest::collection::vec(proptest::collection::btree_set(0u64..9, 1..5), 1..3),
            learners in proptest::collection::vec(0u64..20, 0..4),
        ) {
            let vote = Vote { leader_id: LeaderId { term, voted_for: node }, committed };
            prop_assert_eq!(decode_vote(&encode_vote(&vote)).expect("a vote"), vote);
            let id = index.map(|index| LogId { leader_id: term.into(), index });
            let membership = Membership::new_with_defaults(sets, learners);
            let stored = StoredMembership::new(id, membership);
            let mut out = Vec::new();
            put_stored_membership(&mut out, &stored);
            let mut bytes = &out[..];
            prop_assert_eq!(get_stored_membership(&mut bytes).expect("a membership"), stored);
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_vote(&bytes);
            let _ = get_stored_membership(&mut &bytes[..]);
        }
    }
}
