//! Giving topics more partitions.

use crate::base::ids::{NodeId, PartitionIndex};
use crate::controller::NEW_PARTITIONS_COUNT_MAX;
use crate::controller::placement::{self, Placer};
use crate::controller::refusal::{Reason, Refusal};
use crate::controller::service::Decision;
use crate::metadata::image::{Image, Topic};
use crate::metadata::records::Record;

/// How many partitions a topic is to have.
#[derive(Debug, Clone)]
pub struct Growth {
    pub name: String,
    pub count: i32,
    /// The replicas of each new partition; `None`: the controller places them.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// Grows topics with different names; one answer for each.
pub fn decide(image: &Image, growths: &[Growth]) -> Decision<Vec<Result<(), Refusal>>> {
    let mut records = Vec::new();
    let answer = growths.iter().map(|growth| {
        let room = NEW_PARTITIONS_COUNT_MAX - records.len();
        records.extend(grow(image, growth, room)?);
        Ok(())
    });
    let answer = answer.collect();
    Decision { records, answer }
}

fn grow(image: &Image, growth: &Growth, room: usize) -> Result<Vec<Record>, Refusal> {
    let topic = image.topic(&growth.name).ok_or_else(|| Refusal::bare(Reason::UnknownTopic))?;
    let (first, added) = check_count(topic, growth.count)?;
    if added > room {
        return Err(Refusal::too_many_partitions());
    }
    let factor = topic.partitions.values().next().map_or(1, |place| place.target().count());
    let replicas = match &growth.assignments {
        Some(assignments) => {
            check_assignments(image, assignments, added, factor)?;
            (first..)
                .zip(assignments)
                .try_for_each(|(partition, to)| placement::check_alive(image, partition, to))?;
            assignments.clone()
        }
        None => {
            let placer = Placer::new(image, topic.id, factor)?;
            (first..growth.count).map(|partition| placer.place(partition)).collect()
        }
    };
    let records = (first..).zip(replicas).map(|(partition, replicas)| Record::Partition {
        topic_id: topic.id,
        partition,
        replicas,
    });
    Ok(records.collect())
}

/// The first new partition and how many there are.
fn check_count(topic: &Topic, count: i32) -> Result<(PartitionIndex, usize), Refusal> {
    let present = topic.partitions.len();
    let wanted = usize::try_from(count).unwrap_or(0);
    let refuse = |message: String| Err(Refusal::new(Reason::InvalidPartitions, message));
    match (wanted.checked_sub(present), PartitionIndex::try_from(present)) {
        (Some(0), _) if present > 0 => refuse(format!("Topic already has {present} partition(s).")),
        (Some(added), Ok(first)) if added > 0 => Ok((first, added)),
        _ => refuse(format!(
            "The topic {} currently has {present} partition(s); {count} would not be an increase.",
            topic.name
        )),
    }
}

fn check_assignments(
    image: &Image,
    assignments: &[Vec<NodeId>],
    added: usize,
    factor: usize,
) -> Result<(), Refusal> {
    if assignments.len() != added {
        let message = format!(
            "Attempted to add {added} additional partition(s), but only {} assignment(s) were \
             specified.",
            assignments.len()
        );
        return Err(Refusal::new(Reason::InvalidReplicaAssignment, message));
    }
    assignments
        .iter()
        .try_for_each(|replicas| placement::check_manual(image, replicas, Some(factor)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::ids::TopicId;
    use crate::controller::placement::tests::image_with;

    fn image() -> Image {
        let mut image = image_with(&[None]);
        let topic_id = TopicId([1; 16]);
        image.replay(&Record::Topic { topic_id, name: "t".to_owned() });
        for partition in 0..3 {
            image.replay(&Record::Partition { topic_id, partition, replicas: vec![NodeId(1)] });
        }
        image
    }

    fn growth(name: &str, count: i32, assignments: Option<&[&[i32]]>) -> Growth {
        let ids = |ids: &&[i32]| ids.iter().copied().map(NodeId).collect();
        let assignments = assignments.map(|all| all.iter().map(ids).collect());
        Growth { name: name.to_owned(), count, assignments }
    }

    #[track_caller]
    fn check(growth: Growth, reason: Reason, message: Option<&str>) {
        let Decision { records, answer } = decide(&image(), &[growth]);
        assert!(records.is_empty());
        let expected = Refusal { reason, message: message.map(str::to_owned) };
        assert_eq!(answer, vec![Err(expected)]);
    }

    #[test]
    fn refusals_are_kafkas() {
        let (partitions, assignment) =
            (Reason::InvalidPartitions, Reason::InvalidReplicaAssignment);
        check(growth("no", 5, None), Reason::UnknownTopic, None);
        check(growth("t", 3, None), partitions, Some("Topic already has 3 partition(s)."));
        for count in [2, 0, -1] {
            let text = format!(
                "The topic t currently has 3 partition(s); {count} would not be an increase."
            );
            check(growth("t", count, None), partitions, Some(&text));
        }
        check(
            growth("t", 5, Some(&[&[1]])),
            assignment,
            Some(
                "Attempted to add 2 additional partition(s), but only 1 assignment(s) were \
                 specified.",
            ),
        );
        check(
            growth("t", 4, Some(&[&[7]])),
            assignment,
            Some(
                "The manual partition assignment includes broker 7, but no such broker is \
                 registered.",
            ),
        );
        check(
            growth("t", 20_000, None),
            Reason::PolicyViolation,
            Some("Excessively large number of partitions per request."),
        );
    }

    proptest! {
        #[test]
        fn a_topic_grows_to_what_was_asked(count in 4i32..40, manual in any::<bool>()) {
            let mut image = image();
            let added = usize::try_from(count - 3).unwrap();
            let assignments = manual.then(|| vec![vec![NodeId(1)]; added]);
            let growth = Growth { name: "t".to_owned(), count, assignments };
            let Decision { records, answer } = decide(&image, &[growth]);
            prop_assert_eq!(answer, vec![Ok(())]);
            records.iter().for_each(|record| image.replay(record));
            let partitions = &image.topic("t").unwrap().partitions;
            prop_assert!(partitions.keys().copied().eq(0..count));
            prop_assert!(partitions.values().all(|place| place.replicas == [NodeId(1)]));
        }
    }
}
