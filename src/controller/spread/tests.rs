//! Replicas end up where they should, in bounded steps, and never in fewer racks.

use proptest::prelude::*;

use super::*;
use crate::base::ids::TopicPartition;
use crate::controller::moves::complete;
use crate::controller::moves::tests::{add_topic, image_of, nodes};
use crate::controller::placement::tests::{image_with, set_state};

const MOVES: usize = 3;

fn replay(image: &mut Image, records: &[Record]) {
    records.iter().for_each(|record| image.replay(record));
}

/// Ends all moves that are under way.
fn finish(image: &mut Image) {
    let moving: Vec<(TopicPartition, Vec<NodeId>)> = places(image)
        .filter(|(_, _, place)| is_moving(place))
        .map(|(topic, partition, place)| {
            let id = TopicPartition { topic_id: topic.id, partition };
            (id, place.target().collect())
        })
        .collect();
    for (id, voters) in moving {
        let record = complete(image, id, 0, &voters).unwrap();
        image.replay(&record);
    }
}

fn moving(image: &Image) -> usize {
    places(image).filter(|(_, _, place)| is_moving(place)).count()
}

fn loads(image: &Image) -> Vec<usize> {
    Loads::of(image).by_node.values().map(|load| load.replicas).collect()
}

#[test]
fn a_node_is_emptied_into_other_racks() {
    let mut image = image_with(&[Some("a"), Some("b"), Some("b"), Some("a")]);
    add_topic(&mut image, TopicId([1; 16]), &[&[1, 2], &[3, 1], &[2, 4]]);
    set_state(&mut image, 1, (false, true));
    let drained = drain(&image, NodeId(1), MOVES);
    assert_eq!((drained.left_count, drained.stuck_count), (2, 0));
    replay(&mut image, &drained.records);
    let partitions = &image.topic("t1").unwrap().partitions;
    assert!(partitions[&0].target().eq(nodes(&[4, 2])));
    assert!(partitions[&1].target().eq(nodes(&[3, 4])));
}

#[test]
fn a_node_with_few_replicas_is_seen() {
    let full: &[&[i32]] = &[&[1, 2], &[2, 1], &[1, 2]];
    assert!(!has_empty_node(&image_of(2, full)));
    assert!(has_empty_node(&image_of(3, full)));
    assert!(!has_empty_node(&image_of(3, &[&[1, 2], &[2, 3], &[1, 2]])));
    assert!(!has_empty_node(&image_of(3, &[])));
}

#[test]
fn what_has_nowhere_to_go_is_told() {
    let mut image = image_of(2, &[&[1, 2]]);
    set_state(&mut image, 1, (false, true));
    let drained = drain(&image, NodeId(1), MOVES);
    assert_eq!(drained, Drained { records: vec![], left_count: 1, stuck_count: 1 });
}

#[test]
fn a_new_node_is_filled_with_leaders_too() {
    let places: Vec<&[i32]> = vec![&[1, 2], &[2, 1], &[1, 2], &[2, 1], &[1, 2], &[2, 1]];
    let mut image = image_of(3, &places);
    while !balance(&image, MOVES).is_empty() {
        let records = balance(&image, MOVES);
        assert!(records.len() <= MOVES);
        replay(&mut image, &records);
        finish(&mut image);
    }
    assert_eq!(loads(&image), [4, 4, 4]);
    let first: Vec<usize> = Loads::of(&image).by_node.values().map(|load| load.first).collect();
    assert_eq!(first, [2, 2, 2]);
}

#[test]
fn the_offsets_get_their_replicas_when_there_are_brokers() {
    let config = Config::load(None, &[]).unwrap().config;
    let mut image = image_with(&[None; 1]);
    let topic_id = TopicId([7; 16]);
    image.replay(&Record::Topic { topic_id, name: topic_name::CONSUMER_OFFSETS.to_owned() });
    for partition in 0..4 {
        image.replay(&Record::Partition { topic_id, partition, replicas: nodes(&[1]) });
    }
    assert_eq!(raise(&image, &config, 9), []);
    for node in 2..=4 {
        let all = image_with(&[None; 4]);
        let broker = all.brokers[&NodeId(node)].as_ref().clone();
        image.replay(&Record::Broker(broker));
    }
    let records = raise(&image, &config, MOVES);
    assert_eq!(records.len(), MOVES);
    replay(&mut image, &records);
    finish(&mut image);
    let rest = raise(&image, &config, MOVES);
    replay(&mut image, &rest);
    finish(&mut image);
    let topic = image.topic(topic_name::CONSUMER_OFFSETS).unwrap();
    assert!(topic.partitions.values().all(|place| place.replicas.len() == 3));
    assert_eq!(raise(&image, &config, MOVES), []);
}

fn clusters() -> impl Strategy<Value = (Image, usize)> {
    let racks = prop::collection::vec(prop::option::of("[ab]"), 2..6);
    racks.prop_flat_map(|racks| {
        let count = i32::try_from(racks.len()).unwrap();
        let all: Vec<i32> = (1..=count).collect();
        let place = prop::sample::subsequence(all, 1..=racks.len().min(3)).prop_shuffle();
        prop::collection::vec(place, 0..20).prop_map(move |partitions| {
            let racks: Vec<Option<&str>> = racks.iter().map(Option::as_deref).collect();
            let mut image = image_with(&racks);
            let partitions: Vec<&[i32]> = partitions.iter().map(Vec::as_slice).collect();
            add_topic(&mut image, TopicId([1; 16]), &partitions);
            (image, racks.len())
        })
    })
}

fn rack_counts(image: &Image) -> Vec<usize> {
    places(image).map(|(_, _, place)| racks(image, place.target()).len()).collect()
}

proptest! {
    #[test]
    fn draining_ends_with_an_empty_node_or_with_what_is_stuck((mut image, count) in clusters()) {
        set_state(&mut image, 1, (false, true));
        for _ in 0..50 {
            let drained = drain(&image, NodeId(1), MOVES);
            replay(&mut image, &drained.records);
            prop_assert!(moving(&image) <= MOVES);
            finish(&mut image);
        }
        let drained = drain(&image, NodeId(1), MOVES);
        prop_assert_eq!(drained.left_count, drained.stuck_count);
        let full = places(&image).filter(|(_, _, place)| place.replicas.len() == count).count();
        prop_assert_eq!(drained.stuck_count, full);
    }

    #[test]
    fn balancing_ends_and_keeps_racks((mut image, _) in clusters()) {
        let before = rack_counts(&image);
        let mut rounds = 0;
        loop {
            let records = balance(&image, MOVES);
            prop_assert!(records.len() <= MOVES);
            if records.is_empty() {
                break;
            }
            let spread = |image: &Image| loads(image).iter().map(|load| load * load).sum::<usize>();
            let uneven = spread(&image);
            replay(&mut image, &records);
            prop_assert!(spread(&image) < uneven);
            prop_assert_eq!(balance(&image, records.len()), Vec::new(), "moves are bounded");
            finish(&mut image);
            rounds += 1;
            prop_assert!(rounds < 100);
        }
        let racks = rack_counts(&image);
        prop_assert!(racks.iter().zip(&before).all(|(now, then)| now >= then));
    }
}
