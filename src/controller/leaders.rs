//! Who leads what: what leaders report of themselves, and which partitions are to be led by another
//! replica. The change itself is made by the partition's group.

use std::collections::BTreeMap;

use crate::base::ids::{LeaderEpoch, NodeId, TopicPartition};
use crate::controller::moves::is_moving;
use crate::controller::refusal::{Reason, Refusal};
use crate::controller::unclean::is_fit;
use crate::metadata::image::{Image, Partition, Topic};
use crate::metadata::records::Record;

/// What a replica says of its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub id: TopicPartition,
    /// Who leads in this epoch, as far as the reporter knows.
    pub leader: Option<NodeId>,
    pub epoch: LeaderEpoch,
    /// How often a replica had to go on without a majority, as the reporter knows.
    pub lineage: u32,
    /// The replicas that follow closely.
    pub in_sync: Vec<NodeId>,
}

/// A partition that is to be led by another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transfer {
    pub id: TopicPartition,
    pub to: NodeId,
}

/// The records that a node's reports come to. What is older than the metadata is left out, and what
/// is from a node that is no replica.
pub fn report(image: &Image, reporter: NodeId, reports: &[Report]) -> Vec<Record> {
    let records = reports.iter().filter_map(|report| {
        let place = image.partition(report.id)?;
        if !place.replicas.contains(&reporter)
            || report.epoch < place.leader_epoch
            || report.lineage != place.lineage
        {
            return None;
        }
        let is_leader = |node: &NodeId| place.replicas.contains(node);
        let leader = report.leader.filter(is_leader);
        let is_same_epoch = report.epoch == place.leader_epoch;
        // An epoch has one leader; once it is known the others have nothing to say.
        if is_same_epoch && place.leader.is_some() && leader != place.leader {
            return None;
        }
        let said = |node: &NodeId| report.in_sync.contains(node) || leader == Some(*node);
        let in_sync: Vec<NodeId> = place.replicas.iter().copied().filter(said).collect();
        let is_news = !is_same_epoch || leader != place.leader || in_sync != place.in_sync;
        is_news.then_some(Record::Leader {
            topic_id: report.id.topic_id,
            partition: report.id.partition,
            leader,
            epoch: report.epoch,
            in_sync,
        })
    });
    records.collect()
}

/// Partitions that another than their preferred replica leads, which could lead: all of those
/// brokers of whose partitions more than so many percent are led by others
/// (`leader.imbalance.per.broker.percentage`).
pub fn balance(image: &Image, percentage: u32) -> Vec<Transfer> {
    let mut preferred: BTreeMap<NodeId, (usize, Vec<Transfer>)> = BTreeMap::new();
    for topic in image.topics() {
        for (partition, place) in &topic.partitions {
            let Some(first) = place.target().next() else { continue };
            let (all, away) = preferred.entry(first).or_default();
            *all += 1;
            let id = TopicPartition { topic_id: topic.id, partition: *partition };
            if can_be_led(image, place, first) && place.leader.is_some_and(|now| now != first) {
                away.push(Transfer { id, to: first });
            }
        }
    }
    let is_due = |(all, away): &(usize, Vec<Transfer>)| {
        away.len() * 100 > all * usize::try_from(percentage).unwrap_or(usize::MAX)
    };
    preferred.into_values().filter(is_due).flat_map(|(_, away)| away).collect()
}

/// Partitions that a node leads which is to be emptied, with the replica that leads next.
pub fn leave(image: &Image, node: NodeId) -> Vec<Transfer> {
    let topics = image.topics();
    let transfers = topics.flat_map(|topic| {
        topic.partitions.iter().filter_map(move |(partition, place)| {
            let others = || place.target().filter(|other| *other != node);
            let next = others().find(|other| can_be_led(image, place, *other))?;
            let id = TopicPartition { topic_id: topic.id, partition: *partition };
            (place.leader == Some(node)).then_some(Transfer { id, to: next })
        })
    });
    transfers.collect()
}

fn can_be_led(image: &Image, place: &Partition, by: NodeId) -> bool {
    image.is_alive(by)
        && !image.draining.contains(&by)
        && place.in_sync.contains(&by)
        && !place.adding.contains(&by)
}

/// How a leader is to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// The first replica.
    Preferred,
    /// Any replica that lives, though it may lack records, where there is no leader.
    Unclean,
}

/// The change of the leader that a client asks for.
pub fn elect(
    image: &Image,
    election: Election,
    topic: &Topic,
    partition: i32,
) -> Result<Transfer, Refusal> {
    let place = topic.partitions.get(&partition).ok_or_else(|| {
        let message = format!("No such partition as {}-{partition}", topic.name);
        Refusal::new(Reason::UnknownTopic, message)
    })?;
    let id = TopicPartition { topic_id: topic.id, partition };
    let leader = place.leader.filter(|leader| image.is_alive(*leader));
    // While replicas move, the first one may be one that is still to get the data.
    let first = place.replicas.first().copied();
    let is_there = match election {
        Election::Preferred => leader.is_some() && leader == first,
        Election::Unclean => leader.is_some(),
    };
    if is_there {
        let message = "Leader election not needed for topic partition.";
        return Err(Refusal::new(Reason::ElectionNotNeeded, message));
    }
    match election {
        Election::Preferred => {
            let to = first.filter(|first| leader.is_some() && can_be_led(image, place, *first));
            to.map(|to| Transfer { id, to }).ok_or_else(|| {
                let message = "The preferred leader was not available.";
                Refusal::new(Reason::PreferredLeaderUnavailable, message)
            })
        }
        Election::Unclean => {
            let to = heirs(image, place).first().copied();
            to.map(|to| Transfer { id, to }).ok_or_else(|| {
                let message = "Eligible topic partition leaders are not available.";
                Refusal::new(Reason::EligibleLeadersUnavailable, message)
            })
        }
    }
}

/// Who may go on without a majority, best first: those that were in sync; one that was to go on
/// before and has not led comes last.
fn heirs(image: &Image, place: &Partition) -> Vec<NodeId> {
    let all = place.in_sync.iter().chain(&place.replicas).copied();
    let mut heirs: Vec<NodeId> = all.filter(|node| is_fit(image, place, *node)).collect();
    heirs.sort_by_key(|node| place.recovered_on == Some(*node));
    heirs
}

/// The record by which a replica goes on without a majority, unless there is a leader after all. It
/// is another one than was chosen if one that was in sync has come back meanwhile.
pub fn recover(image: &Image, transfer: Transfer) -> Option<Record> {
    let Transfer { id: TopicPartition { topic_id, partition }, to } = transfer;
    let place = image.topic_by_id(topic_id)?.partitions.get(&partition)?;
    let in_sync = heirs(image, place).into_iter().find(|heir| place.in_sync.contains(heir));
    let replica = if place.in_sync.contains(&to) { to } else { in_sync.unwrap_or(to) };
    let is_led = place.leader.is_some_and(|leader| image.is_alive(leader));
    let is_fit = place.replicas.contains(&replica) && image.is_alive(replica);
    let lineage = place.lineage.saturating_add(1);
    (is_fit && !is_led).then_some(Record::Recovery { topic_id, partition, replica, lineage })
}

/// Whether anything is to be waited for before a node may leave: replicas of it, in how many
/// partitions, and how many of these move already.
pub fn held(image: &Image, node: NodeId) -> (usize, usize) {
    let places = image.topics().flat_map(|topic| topic.partitions.values());
    let held = places.filter(|place| place.replicas.contains(&node));
    held.fold((0, 0), |(all, moving), place| (all + 1, moving + usize::from(is_moving(place))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::ids::TopicId;
    use crate::controller::moves::tests::{image_of, nodes};
    use crate::controller::placement::tests::set_state;

    const T: TopicId = TopicId([1; 16]);

    fn id(partition: i32) -> TopicPartition {
        TopicPartition { topic_id: T, partition }
    }

    fn said(leader: i32, epoch: i32, in_sync: &[i32]) -> Report {
        let (leader, in_sync) = (Some(NodeId(leader)), nodes(in_sync));
        Report { id: id(0), leader, epoch, lineage: 0, in_sync }
    }

    fn replay(image: &mut Image, reporter: i32, reports: &[Report]) -> usize {
        let records = report(image, NodeId(reporter), reports);
        records.iter().for_each(|record| image.replay(record));
        records.len()
    }

    fn leader(image: &Image, partition: i32) -> (Option<NodeId>, i32) {
        let place = &image.topic("t1").unwrap().partitions[&partition];
        (place.leader, place.leader_epoch)
    }

    #[test]
    fn only_newer_reports_of_replicas_count() {
        let mut image = image_of(3, &[&[1, 2]]);
        assert_eq!(replay(&mut image, 1, &[said(1, 4, &[1])]), 1);
        assert_eq!(replay(&mut image, 1, &[said(1, 4, &[1])]), 0);
        assert_eq!(replay(&mut image, 1, &[said(1, 4, &[2, 1, 3])]), 1);
        assert_eq!(image.topic("t1").unwrap().partitions[&0].in_sync, nodes(&[1, 2]));
        assert_eq!(replay(&mut image, 3, &[said(3, 9, &[3])]), 0);
        assert_eq!(replay(&mut image, 2, &[said(2, 3, &[2])]), 0);
        assert_eq!(replay(&mut image, 2, &[said(2, 4, &[2])]), 0);
        assert_eq!(replay(&mut image, 2, &[said(2, 5, &[])]), 1);
        assert_eq!(leader(&image, 0), (Some(NodeId(2)), 5));
    }

    #[test]
    fn leaders_go_back_when_too_many_are_away() {
        let mut image = image_of(3, &[&[1, 2], &[1, 2], &[2, 1]]);
        for (partition, leader) in [(0, 1), (1, 2), (2, 1)] {
            let one = Report { id: id(partition), ..said(leader, 1, &[1, 2]) };
            replay(&mut image, leader, &[one]);
        }
        let away = |partition, to| Transfer { id: id(partition), to: NodeId(to) };
        assert_eq!(balance(&image, 10), [away(1, 1), away(2, 2)]);
        // Half of broker 1's partitions are away, all of broker 2's.
        assert_eq!(balance(&image, 50), [away(2, 2)]);
        set_state(&mut image, 2, (true, false));
        assert_eq!(balance(&image, 10), [away(1, 1)]);
    }

    #[test]
    fn elections_are_answered_as_kafka_does() {
        let mut image = image_of(3, &[&[1, 2]]);
        let elect = |image: &Image, election, partition| {
            let topic = image.topic("t1").unwrap();
            elect(image, election, topic, partition).map_err(|refusal| refusal.reason)
        };
        use Election::{Preferred, Unclean};
        assert_eq!(elect(&image, Preferred, 7), Err(Reason::UnknownTopic));
        assert_eq!(elect(&image, Preferred, 0), Err(Reason::PreferredLeaderUnavailable));
        assert_eq!(elect(&image, Unclean, 0), Ok(Transfer { id: id(0), to: NodeId(1) }));
        replay(&mut image, 2, &[said(2, 1, &[1, 2])]);
        assert_eq!(elect(&image, Unclean, 0), Err(Reason::ElectionNotNeeded));
        assert_eq!(elect(&image, Preferred, 0), Ok(Transfer { id: id(0), to: NodeId(1) }));
        replay(&mut image, 2, &[said(2, 1, &[2])]);
        assert_eq!(elect(&image, Preferred, 0), Err(Reason::PreferredLeaderUnavailable));
        replay(&mut image, 1, &[said(1, 2, &[1])]);
        assert_eq!(elect(&image, Preferred, 0), Err(Reason::ElectionNotNeeded));
        set_state(&mut image, 1, (true, false));
        set_state(&mut image, 2, (true, false));
        assert_eq!(elect(&image, Unclean, 0), Err(Reason::EligibleLeadersUnavailable));
    }

    #[test]
    fn what_was_said_before_a_replica_went_on_counts_no_more() {
        let mut image = image_of(3, &[&[1, 2, 3]]);
        replay(&mut image, 1, &[said(1, 1, &[1, 2, 3])]);
        let to_two = Transfer { id: id(0), to: NodeId(2) };
        assert_eq!(recover(&image, to_two), None);
        for node in [1, 3] {
            set_state(&mut image, node, (true, false));
        }
        let record = recover(&image, to_two).expect("nobody leads");
        image.replay(&record);
        assert!(matches!(record, Record::Recovery { lineage: 1, .. }));
        let recovered_on = |image: &Image| image.partition(id(0)).unwrap().recovered_on;
        assert_eq!(recovered_on(&image), Some(NodeId(2)));
        assert_eq!(replay(&mut image, 1, &[said(1, 9, &[1])]), 0);
        assert_eq!(replay(&mut image, 2, &[Report { lineage: 1, ..said(2, 2, &[2]) }]), 1);
        assert_eq!(leader(&image, 0), (Some(NodeId(2)), 2));
        // It has gone on, and does not do so again.
        assert_eq!(recovered_on(&image), None);
    }

    #[test]
    fn who_was_in_sync_goes_on_and_who_did_not_come_to_it_is_not_tried_again() {
        let mut image = image_of(3, &[&[1, 2, 3]]);
        replay(&mut image, 1, &[said(1, 1, &[1, 3])]);
        for node in [1, 3] {
            set_state(&mut image, node, (true, false));
        }
        let chosen = |image: &Image, to: i32| {
            let to = NodeId(to);
            match recover(image, Transfer { id: id(0), to }) {
                Some(Record::Recovery { replica, .. }) => replica.0,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(chosen(&image, 2), 2);
        set_state(&mut image, 3, (false, false));
        assert_eq!(chosen(&image, 2), 3, "it has come back since 2 was chosen");
        let record = recover(&image, Transfer { id: id(0), to: NodeId(3) }).unwrap();
        image.replay(&record);
        let topic = image.topic("t1").unwrap();
        let next = elect(&image, Election::Unclean, topic, 0);
        assert_eq!(next.unwrap().to, NodeId(2), "3 lives, but does not lead");
    }

    #[test]
    fn a_leaving_node_gives_up_what_another_can_lead() {
        let mut image = image_of(3, &[&[1, 2], &[1], &[2, 1]]);
        for (partition, leader) in [(0, 1), (1, 1), (2, 2)] {
            let one = Report { id: id(partition), ..said(leader, 1, &[1, 2]) };
            replay(&mut image, leader, &[one]);
        }
        assert_eq!(leave(&image, NodeId(1)), [Transfer { id: id(0), to: NodeId(2) }]);
        assert_eq!(held(&image, NodeId(1)), (3, 0));
    }

    proptest! {
        /// Whatever comes in whatever order: epochs never fall, and leaders are replicas.
        #[test]
        fn epochs_never_fall(
            reports in prop::collection::vec((1i32..5, 0i32..6, 1i32..5, any::<bool>()), 0..30),
        ) {
            let mut image = image_of(4, &[&[1, 2, 3]]);
            let mut highest = -1;
            let mut leaders = BTreeMap::new();
            for (reporter, epoch, node, knows) in reports {
                let known = Some(NodeId(node)).filter(|_| knows);
                let one = Report { leader: known, ..said(node, epoch, &[1]) };
                replay(&mut image, reporter, &[one]);
                let (leader, epoch) = leader(&image, 0);
                prop_assert!(epoch >= highest);
                highest = epoch;
                if let Some(leader) = leader {
                    prop_assert!(nodes(&[1, 2, 3]).contains(&leader));
                    prop_assert_eq!(*leaders.entry(epoch).or_insert(leader), leader);
                }
            }
        }
    }
}
