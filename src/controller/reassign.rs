//! Moving replicas because a client wants it, and taking that back.

use crate::base::ids::{NodeId, PartitionIndex};
use crate::controller::RECORDS_COUNT_MAX;
use crate::controller::moves::{self, is_moving};
use crate::controller::placement;
use crate::controller::refusal::{Reason, Refusal};
use crate::controller::service::Decision;
use crate::metadata::image::{Image, Partition};
use crate::metadata::records::Record;

/// Where a partition is to be.
#[derive(Debug, Clone)]
pub struct Wish {
    pub topic: String,
    pub partition: PartitionIndex,
    /// `None`: where it was before the move that is under way.
    pub replicas: Option<Vec<NodeId>>,
}

/// Whether a partition may get more or fewer replicas (KIP-860).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    MayChange,
    Stays,
}

/// Begins moves, and takes back such that are under way; one answer for each wish.
pub fn decide(
    image: &Image,
    factor: Factor,
    wishes: &[Wish],
) -> Decision<Vec<Result<(), Refusal>>> {
    let mut records = Vec::new();
    let answer = wishes.iter().map(|wish| {
        if records.len() >= RECORDS_COUNT_MAX {
            return Err(Refusal::too_many_records());
        }
        records.extend(grant(image, factor, wish)?);
        Ok(())
    });
    let answer = answer.collect();
    Decision { records, answer }
}

fn grant(image: &Image, factor: Factor, wish: &Wish) -> Result<Option<Record>, Refusal> {
    let Wish { topic: name, partition, replicas } = wish;
    let unknown = |message: String| Refusal::new(Reason::UnknownTopic, message);
    let topic = image
        .topic(name)
        .ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let place = topic
        .partitions
        .get(partition)
        .ok_or_else(|| unknown(format!("Unable to find partition {name}:{partition}.")))?;
    let target = match replicas {
        Some(target) => {
            placement::check_manual(image, target, None)?;
            if factor == Factor::Stays {
                check_factor(place, target)?;
            }
            target.clone()
        }
        None => before(place).ok_or_else(|| {
            let message = "No partition reassignment is in progress.";
            Refusal::new(Reason::NoReassignment, message)
        })?,
    };
    if replicas.is_none() && !target.iter().any(|node| place.in_sync.contains(node)) {
        let message = format!(
            "Unable to revert partition assignment for {name}:{partition} because it would require \
             an unclean leader election."
        );
        return Err(Refusal::new(Reason::InvalidReplicaAssignment, message));
    }
    Ok(moves::begin(topic.id, *partition, place, &target))
}

/// The replicas before the move that is under way.
fn before(place: &Partition) -> Option<Vec<NodeId>> {
    let stay = place.members();
    is_moving(place).then(|| stay.collect())
}

fn check_factor(place: &Partition, target: &[NodeId]) -> Result<(), Refusal> {
    let (now, then) = (place.target().count(), target.len());
    if now == then {
        return Ok(());
    }
    let message = format!("The replication factor is changed from {now} to {then}");
    Err(Refusal::new(Reason::InvalidReplicationFactor, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::moves::tests::{image_of, nodes};

    fn wish(partition: i32, replicas: Option<&[i32]>) -> Wish {
        Wish { topic: "t1".to_owned(), partition, replicas: replicas.map(nodes) }
    }

    #[track_caller]
    fn check(image: &Image, factor: Factor, wish: Wish, reason: Reason, message: &str) {
        let Decision { records, answer } = decide(image, factor, &[wish]);
        assert_eq!((records, answer), (Vec::new(), vec![Err(Refusal::new(reason, message))]));
    }

    #[test]
    fn refusals_are_kafkas() {
        let image = image_of(4, &[&[1, 2]]);
        let free = Factor::MayChange;
        let other = Wish { topic: "x".to_owned(), ..wish(0, None) };
        let text = "Unable to find a topic named x.";
        check(&image, free, other, Reason::UnknownTopic, text);
        let text = "Unable to find partition t1:9.";
        check(&image, free, wish(9, None), Reason::UnknownTopic, text);
        let text = "No partition reassignment is in progress.";
        check(&image, free, wish(0, None), Reason::NoReassignment, text);
        let text = "The manual partition assignment includes an empty replica list.";
        check(&image, free, wish(0, Some(&[])), Reason::InvalidReplicaAssignment, text);
        let text = "The manual partition assignment includes broker 9, but no such broker is \
                    registered.";
        check(&image, free, wish(0, Some(&[1, 9])), Reason::InvalidReplicaAssignment, text);
        let text = "The manual partition assignment includes the broker 1 more than once.";
        check(&image, free, wish(0, Some(&[1, 1])), Reason::InvalidReplicaAssignment, text);
        let text = "The replication factor is changed from 2 to 3";
        let more = wish(0, Some(&[1, 2, 3]));
        check(&image, Factor::Stays, more, Reason::InvalidReplicationFactor, text);
    }

    #[test]
    fn a_move_is_taken_back() {
        let mut image = image_of(4, &[&[1, 2]]);
        for (wanted, target) in [(Some(&[3, 4][..]), [3, 4]), (None, [1, 2])] {
            let made = decide(&image, Factor::Stays, &[wish(0, wanted)]);
            assert_eq!(made.answer, vec![Ok(())]);
            made.records.iter().for_each(|record| image.replay(record));
            let place = &image.topic("t1").unwrap().partitions[&0];
            assert!(place.target().eq(nodes(&target)));
            assert!(is_moving(place));
        }
    }

    #[test]
    fn what_only_new_replicas_have_is_not_given_up() {
        let mut image = image_of(4, &[&[1, 2]]);
        let made = decide(&image, Factor::Stays, &[wish(0, Some(&[3, 4]))]);
        made.records.iter().for_each(|record| image.replay(record));
        let topic_id = image.topic("t1").unwrap().id;
        let in_sync = nodes(&[3]);
        let leader = Some(NodeId(3));
        image.replay(&Record::Leader { topic_id, partition: 0, leader, epoch: 3, in_sync });
        let text = "Unable to revert partition assignment for t1:0 because it would require an \
                    unclean leader election.";
        check(&image, Factor::Stays, wish(0, None), Reason::InvalidReplicaAssignment, text);
    }
}
