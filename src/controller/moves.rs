//! Moving replicas: a move is begun in the metadata, made by the partition's group, and is over
//! when the group's members are those that were wanted.

use std::collections::BTreeSet;

use crate::base::ids::{NodeId, PartitionIndex, TopicId, TopicPartition};
use crate::metadata::image::{Image, Partition};
use crate::metadata::records::Record;

/// Whether a partition's replicas are being changed.
pub fn is_moving(place: &Partition) -> bool {
    !place.adding.is_empty() || !place.removing.is_empty()
}

/// The record that begins to make `target` the partition's replicas; `None` if they are, or if this
/// is on its way. Replicas that are to go stay until the others have the data.
pub(super) fn begin(
    topic_id: TopicId,
    partition: PartitionIndex,
    place: &Partition,
    target: &[NodeId],
) -> Option<Record> {
    // A replica that was to go may be gone already: it is added anew.
    let is_settled = |node: &NodeId| {
        place.replicas.contains(node)
            && !place.adding.contains(node)
            && !place.removing.contains(node)
    };
    let adding: Vec<NodeId> = target.iter().copied().filter(|node| !is_settled(node)).collect();
    let gone = place.replicas.iter().copied().filter(|node| !target.contains(node));
    let removing: Vec<NodeId> = gone.collect();
    if adding.is_empty() && removing.is_empty() {
        let replicas = target.to_vec();
        let is_new = place.replicas != replicas;
        return is_new.then_some(Record::Partition { topic_id, partition, replicas });
    }
    let replicas: Vec<NodeId> = target.iter().chain(&removing).copied().collect();
    let is_under_way =
        place.replicas == replicas && place.adding == adding && place.removing == removing;
    (!is_under_way).then_some(Record::Reassignment {
        topic_id,
        partition,
        replicas,
        adding,
        removing,
    })
}

/// The record that ends a move, when the group's voters are the replicas that were wanted. The
/// group must be of the lineage that the metadata knows.
pub fn complete(
    image: &Image,
    id: TopicPartition,
    lineage: u32,
    voters: &[NodeId],
) -> Option<Record> {
    let place = image.partition(id).filter(|place| is_moving(place) && place.lineage == lineage)?;
    let replicas: Vec<NodeId> = place.target().collect();
    let wanted: BTreeSet<&NodeId> = replicas.iter().collect();
    let TopicPartition { topic_id, partition } = id;
    let is_done = wanted.into_iter().eq(voters.iter().collect::<BTreeSet<_>>());
    is_done.then_some(Record::Partition { topic_id, partition, replicas })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::controller::placement::tests::image_with;

    const T: TopicId = TopicId([1; 16]);

    pub(in crate::controller) fn nodes(ids: &[i32]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// Nodes 1 to `count`, and topic `t` with these partitions.
    pub(in crate::controller) fn image_of(count: usize, partitions: &[&[i32]]) -> Image {
        let mut image = image_with(&vec![None; count]);
        add_topic(&mut image, T, partitions);
        image
    }

    pub(in crate::controller) fn add_topic(
        image: &mut Image,
        topic_id: TopicId,
        places: &[&[i32]],
    ) {
        let name = format!("t{}", topic_id.0[0]);
        image.replay(&Record::Topic { topic_id, name });
        for (partition, ids) in (0..).zip(places) {
            image.replay(&Record::Partition { topic_id, partition, replicas: nodes(ids) });
        }
    }

    fn place(image: &Image) -> &Partition {
        &image.topic_by_id(T).unwrap().partitions[&0]
    }

    fn go(image: &mut Image, target: &[i32]) {
        let record = begin(T, 0, place(image), &nodes(target));
        record.iter().for_each(|record| image.replay(record));
    }

    #[test]
    fn a_move_is_begun_and_ended() {
        let mut image = image_of(4, &[&[1, 2]]);
        let id = TopicPartition { topic_id: T, partition: 0 };
        go(&mut image, &[3, 1]);
        let now = place(&image);
        assert_eq!(now.replicas, nodes(&[3, 1, 2]));
        assert_eq!((&now.adding, &now.removing), (&nodes(&[3]), &nodes(&[2])));
        assert_eq!(begin(T, 0, now, &nodes(&[3, 1])), None);
        assert_eq!(complete(&image, id, 0, &nodes(&[1, 2, 3])), None);
        // Voters of a group that others have gone on from are none.
        assert_eq!(complete(&image, id, 1, &nodes(&[1, 3])), None);
        let done = complete(&image, id, 0, &nodes(&[1, 3])).unwrap();
        image.replay(&done);
        assert_eq!(place(&image).replicas, nodes(&[3, 1]));
        assert!(!is_moving(place(&image)));
        assert_eq!(complete(&image, id, 0, &nodes(&[1, 3])), None);
    }

    #[test]
    fn another_order_needs_no_move() {
        let mut image = image_of(2, &[&[1, 2]]);
        go(&mut image, &[2, 1]);
        assert_eq!(
            (place(&image).replicas.clone(), is_moving(place(&image))),
            (nodes(&[2, 1]), false)
        );
    }

    proptest! {
        /// Whatever is wished for while other moves are under way: no node that may have the only
        /// data is forgotten, and the last wish is where it ends.
        #[test]
        fn the_last_wish_is_what_becomes(
            wishes in prop::collection::vec(
                prop::sample::subsequence(vec![1, 2, 3, 4, 5], 1..=3).prop_shuffle(), 1..6),
        ) {
            let mut image = image_of(5, &[&[1, 2]]);
            let id = TopicPartition { topic_id: T, partition: 0 };
            let mut with_data: BTreeSet<NodeId> = nodes(&[1, 2]).into_iter().collect();
            for wish in &wishes {
                go(&mut image, wish);
                let now = place(&image);
                prop_assert!(now.target().eq(nodes(wish)));
                prop_assert!(with_data.iter().all(|node| now.replicas.contains(node)));
                with_data.extend(now.replicas.iter());
            }
            let wish = wishes.last().unwrap();
            if let Some(record) = complete(&image, id, 0, &nodes(wish)) {
                image.replay(&record);
            }
            prop_assert!(!is_moving(place(&image)));
            prop_assert_eq!(&place(&image).replicas, &nodes(wish));
        }
    }
}
