//! Decisions about what leaders report.

use crate::base::ids::{LeaderEpoch, NodeId, TopicPartition};
use crate::controller::service::Decision;
use crate::metadata::image::{Image, Partition};
use crate::metadata::records::Record;

/// What a leader says of its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub id: TopicPartition,
    pub leader: NodeId,
    pub epoch: LeaderEpoch,
    /// In the order of the replicas.
    pub in_sync: Vec<NodeId>,
}

impl Report {
    /// Whether the metadata says the same.
    pub fn is_known(&self, place: &Partition) -> bool {
        place.leader == Some(self.leader)
            && place.leader_epoch == self.epoch
            && place.in_sync == self.in_sync
    }
}

/// Notes what `node` leads. What an older leader says comes too late; who is no replica says
/// nothing about the partition.
pub fn report(image: &Image, node: NodeId, reports: &[Report]) -> Decision<()> {
    let news = reports.iter().filter(|report| {
        let topic = image.topic_by_id(report.id.topic_id);
        let place = topic.and_then(|topic| topic.partitions.get(&report.id.partition));
        place.is_some_and(|place| {
            place.replicas.contains(&node)
                && report.epoch >= place.leader_epoch
                && !report.is_known(place)
        })
    });
    let records = news.map(|report| Record::Leader {
        topic_id: report.id.topic_id,
        partition: report.id.partition,
        leader: Some(report.leader),
        epoch: report.epoch,
        in_sync: report.in_sync.clone(),
    });
    Decision { records: records.collect(), answer: () }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::TopicId;

    const TOPIC: TopicId = TopicId([7; 16]);
    const ID: TopicPartition = TopicPartition { topic_id: TOPIC, partition: 0 };

    fn image() -> Image {
        let mut image = Image::default();
        let replicas = [1, 2, 3].map(NodeId).to_vec();
        image.replay(&Record::Topic { topic_id: TOPIC, name: "t".to_owned() });
        image.replay(&Record::Partition { topic_id: TOPIC, partition: 0, replicas });
        image
    }

    fn says(leader: i32, epoch: LeaderEpoch, in_sync: &[i32]) -> Report {
        let in_sync = in_sync.iter().copied().map(NodeId).collect();
        Report { id: ID, leader: NodeId(leader), epoch, in_sync }
    }

    fn apply(image: &mut Image, report: &Report) -> usize {
        let decision = super::report(image, report.leader, std::slice::from_ref(report));
        decision.records.iter().for_each(|record| image.replay(record));
        decision.records.len()
    }

    #[test]
    fn the_newest_leader_counts() {
        let mut image = image();
        assert_eq!(apply(&mut image, &says(1, 1, &[1, 2, 3])), 1);
        assert_eq!(apply(&mut image, &says(1, 1, &[1, 2, 3])), 0);
        assert_eq!(apply(&mut image, &says(2, 3, &[2, 3])), 1);
        assert_eq!(apply(&mut image, &says(1, 1, &[1])), 0);
        assert_eq!(apply(&mut image, &says(9, 8, &[9])), 0);
        let place = &image.topic("t").unwrap().partitions[&0];
        assert_eq!((place.leader, place.leader_epoch), (Some(NodeId(2)), 3));
    }
}
