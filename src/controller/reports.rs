//! Leaders' reports of several nodes, made one change of the metadata; and how they travel.

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
    let reports = records.into_iter().map(|record| match record {
        Record::Leader { topic_id, partition, leader, epoch, in_sync } => {
            let id = TopicPartition { topic_id, partition };
            Ok(Report { id, leader, epoch, in_sync })
        }
        _ => Err("not a report".to_owned()),
    });
    reports.collect()
}

/// Reports travel in the form of the records that they are to become.
pub(super) fn encode(reports: &[Report]) -> Bytes {
    let records = reports.iter().map(|report| Record::Leader {
        topic_id: report.id.topic_id,
        partition: report.id.partition,
        leader: report.leader,
        epoch: report.epoch,
        in_sync: report.in_sync.clone(),
    });
    records::encode(&records.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::TopicId;
    use crate::controller::moves::tests::{image_of, nodes};

    fn said(partition: i32, leader: i32, epoch: i32) -> Report {
        let id = TopicPartition { topic_id: TopicId([1; 16]), partition };
        Report { id, leader: Some(NodeId(leader)), epoch, in_sync: nodes(&[leader]) }
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
        let reports = vec![said(0, 1, 4), Report { leader: None, ..said(3, 2, 9) }];
        assert_eq!(decode(&encode(&reports)), Ok(reports));
        let other = records::encode(&[Record::RemoveBroker { node: NodeId(1) }]);
        assert!(decode(&other).is_err());
        assert!(decode(&[1, 2, 3]).is_err());
    }
}
