//! Leaders' reports of several nodes, made one change of the metadata; and how they travel.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::ids::{NodeId, TopicPartition};
use crate::controller::leaders::{self, Report};
use crate::metadata::image::Image;
use crate::metadata::records::{self, Record};

/// One change out of the reports of several nodes, each judged after those before it.
pub(super) fn merged<'a>(
    image: &Image,
    reported: impl IntoIterator<Item = (NodeId, &'a [Report])>,
) -> Vec<Record> {
    let mut image = image.clone();
    let mut records = Vec::new();
    for (reporter, reports) in reported {
        let news = leaders::report(&image, reporter, reports);
        news.iter().for_each(|record| image.replay(record));
        records.extend(news);
    }
    records
}

/// The inverse of [`encode`].
pub(super) fn decode(body: &[u8]) -> Result<Vec<Report>, String> {
    let records = records::decode(body).map_err(|error| error.to_string())?;
    let (mut reports, mut lineages) = (Vec::new(), BTreeMap::new());
    for record in records {
        match record {
            Record::Leader { topic_id, partition, leader, epoch, in_sync } => {
                let id = TopicPartition { topic_id, partition };
                let lineage = lineages.remove(&id).unwrap_or(0);
                reports.push(Report { id, leader, epoch, lineage, in_sync });
            }
            Record::Recovery { topic_id, partition, lineage, .. } => {
                lineages.insert(TopicPartition { topic_id, partition }, lineage);
            }
            _ => return Err("not a report".to_owned()),
        }
    }
    Ok(reports)
}

/// Reports travel in the form of the records that they are to become; a lineage goes before.
pub(super) fn encode(reports: &[Report]) -> Bytes {
    let mut records = Vec::with_capacity(reports.len());
    for report in reports {
        let TopicPartition { topic_id, partition } = report.id;
        let (leader, epoch, lineage) = (report.leader, report.epoch, report.lineage);
        if lineage > 0 {
            let replica = leader.unwrap_or(NodeId(0));
            records.push(Record::Recovery { topic_id, partition, replica, lineage });
        }
        let in_sync = report.in_sync.clone();
        records.push(Record::Leader { topic_id, partition, leader, epoch, in_sync });
    }
    records::encode(&records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::TopicId;
    use crate::controller::moves::tests::{image_of, nodes};

    fn said(partition: i32, leader: i32, epoch: i32) -> Report {
        let id = TopicPartition { topic_id: TopicId([1; 16]), partition };
        let (leader, in_sync) = (Some(NodeId(leader)), nodes(&[leader]));
        Report { id, leader, epoch, lineage: 0, in_sync }
    }

    #[test]
    fn reports_of_several_nodes_are_one_change() {
        let image = image_of(3, &[&[1, 2], &[2, 3]]);
        let all = [
            (NodeId(1), vec![said(0, 1, 4)]),
            (NodeId(2), vec![said(1, 2, 7), said(0, 2, 5)]),
            // Older than what is about to be written, and from a node that is no replica.
            (NodeId(1), vec![said(0, 1, 4)]),
            (NodeId(3), vec![said(0, 3, 9)]),
        ];
        let mut after = image.clone();
        let records = merged(&image, all.iter().map(|(node, said)| (*node, said.as_slice())));
        records.iter().for_each(|record| after.replay(record));
        assert_eq!(records.len(), 3);
        let places = &after.topic("t1").unwrap().partitions;
        let leaders = [0, 1].map(|at| (places[&at].leader, places[&at].leader_epoch));
        assert_eq!(leaders, [(Some(NodeId(2)), 5), (Some(NodeId(2)), 7)]);
    }

    #[test]
    fn reports_round_trip_and_nothing_else_is_one() {
        let reports = vec![said(0, 1, 4), Report { leader: None, lineage: 3, ..said(3, 2, 9) }];
        assert_eq!(decode(&encode(&reports)), Ok(reports));
        let other = records::encode(&[Record::RemoveBroker { node: NodeId(1) }]);
        assert!(decode(&other).is_err());
        assert!(decode(&[1, 2, 3]).is_err());
    }
}
